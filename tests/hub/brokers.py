"""Both brokers a link must work with, started for a test: nats-server as the hub embeds it, and Mosquitto."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from hubs import free_port

from hub.broker import EmbeddedBroker
from hub.broker_config import BrokerConfig, BrokerTls, BrokerUser

START_SECONDS = 60.0


class Broker(Protocol):
    """What a test does to a broker. Its port stays the same over `kill` and `revive`."""

    store_seconds: float  # after so long, SIGKILL takes no message it has accepted

    @property
    def url(self) -> str: ...
    def kill(self) -> None: ...
    def revive(self) -> None: ...
    def stop(self) -> None: ...


BrokerFactory = Callable[..., Broker]


class Nats:
    """The embedded broker, revived by its own supervision after SIGKILL."""

    store_seconds = 1.0

    def __init__(
        self,
        directory: Path,
        *,
        users: Sequence[BrokerUser] = (),
        tls: BrokerTls | None = None,
        redeliver: int = 10,
    ) -> None:
        config = BrokerConfig(directory, users=tuple(users), tls=tls, redeliver_seconds=redeliver)
        self.broker = EmbeddedBroker(config)
        self.broker.start()

    @property
    def url(self) -> str:
        return self.broker.url

    def kill(self) -> None:
        pid = self.broker.pid
        assert pid is not None
        subprocess.run(["kill", "-KILL", str(pid)], check=True)
        wait_until(lambda: self.broker.pid != pid, "the server's end")

    def revive(self) -> None:
        wait_until(lambda: is_listening(self.url), "the server's return")

    def stop(self) -> None:
        self.broker.stop()


class Mosquitto:
    """Mosquitto with persistence, configured as in production but for the addresses."""

    store_seconds = 1.5

    def __init__(
        self,
        directory: Path,
        program: Path,
        *,
        users: Sequence[BrokerUser] = (),
        tls: BrokerTls | None = None,
        redeliver: int = 10,
    ) -> None:
        self.program = program
        self.directory = directory
        directory.mkdir(parents=True)
        self.port = free_port()
        self.scheme = "mqtts" if tls else "mqtt"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "user root" if Path("/proc/self").owner() == "root" else "",
            "persistence true",
            f"persistence_location {directory}/",
            "autosave_on_changes true",
            "autosave_interval 1",
            "max_inflight_messages 64",
            "max_packet_size 262144",
            f"log_dest file {directory / 'log'}",
            f"allow_anonymous {'false' if users else 'true'}",
        ]
        if users:
            lines += [f"password_file {directory / 'passwords'}", f"acl_file {directory / 'acl'}"]
            self._write_users(users)
        if tls:
            lines += [f"certfile {tls.cert_file}", f"keyfile {tls.key_file}"]
            if tls.client_ca_file:
                lines += [f"cafile {tls.client_ca_file}", "require_certificate true"]
        (directory / "conf").write_text("\n".join(lines) + "\n")
        self.revive()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def revive(self) -> None:
        command = [str(self.program), "-c", str(self.directory / "conf")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: is_listening(self.url), "mosquitto's start")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def _write_users(self, users: Sequence[BrokerUser]) -> None:
        acl, passwords = [], []
        for user in users:
            acl += [f"user {user.name}"]
            acl += [f"topic write {topic}" for topic in user.publish]
            acl += [f"topic read {topic}" for topic in user.subscribe]
            passwords += [f"{user.name}:{user.password_file.read_text().strip()}"]
        (self.directory / "acl").write_text("\n".join(acl) + "\n")
        file = self.directory / "passwords"
        file.write_text("\n".join(passwords) + "\n")
        subprocess.run(["mosquitto_passwd", "-U", str(file)], check=True)


def is_listening(url: str) -> bool:
    host, _, port = url.rpartition("//")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within {seconds:g} s"
        time.sleep(0.01)
