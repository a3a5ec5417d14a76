"""The embedded broker as a process: start, death, restart, reload, and what it refuses to be."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from brokers import START_SECONDS, is_listening, wait_until

import hub.broker
from gateway.mqtt.config import LinkConfig, LinkDown
from gateway.mqtt.link import Link
from hub.broker import EmbeddedBroker, find_server
from hub.broker_config import BrokerConfig, BrokerTls, BrokerUser, gateway_user, hub_user, render
from hub.errors import BrokerError


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("a secret of the test\n")
    return file


@pytest.fixture
def config(tmp_path: Path) -> BrokerConfig:
    return BrokerConfig(tmp_path / "broker")


@pytest.fixture
def broker(config: BrokerConfig) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(config) as started:
        yield started


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def users_of(broker: EmbeddedBroker) -> list[str]:
    document = json.loads((broker._config.data_dir / "broker.conf").read_text())
    return [user["user"] for user in document["authorization"]["users"]]


def test_started_means_listening_and_stopped_means_gone(config: BrokerConfig) -> None:
    broker = EmbeddedBroker(config)
    broker.start()
    pid = broker.pid
    assert pid is not None
    assert broker.url.startswith("mqtt://127.0.0.1:")
    assert is_listening(broker.url)
    broker.stop()
    broker.stop()
    assert broker.pid is None
    assert not is_running(pid)
    assert not is_listening(broker.url)


def test_it_comes_back_on_the_same_port_after_sigkill(broker: EmbeddedBroker) -> None:
    url, pid = broker.url, broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: broker.restarts == 1 and is_listening(url), "the restart")
    assert broker.url == url
    assert broker.pid not in (None, pid)


def test_many_brokers_started_at_once_do_not_take_each_others_ports(tmp_path: Path) -> None:
    brokers = [EmbeddedBroker(BrokerConfig(tmp_path / str(number))) for number in range(6)]
    threads = [threading.Thread(target=broker.start) for broker in brokers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    urls = {broker.url for broker in brokers}
    assert len(urls) == 6
    assert all(is_listening(url) for url in urls)
    for broker in brokers:
        broker.stop()


def test_it_dies_with_its_hub_even_by_sigkill(tmp_path: Path) -> None:
    program = (
        "import pathlib, time\n"
        "from hub.broker import EmbeddedBroker\n"
        "from hub.broker_config import BrokerConfig\n"
        f"broker = EmbeddedBroker(BrokerConfig(pathlib.Path({str(tmp_path / 'b')!r})))\n"
        "broker.start()\n"
        "print(broker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    wait_until(lambda: not is_running(pid), "the broker's end")


def test_a_taken_port_is_named_and_nothing_is_left_running(config: BrokerConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broker = EmbeddedBroker(replace(config, port=taken.getsockname()[1]))
        with pytest.raises(BrokerError, match="address already in use"):
            broker.start()
    assert broker.pid is None


def test_a_damaged_certificate_is_named(config: BrokerConfig, tmp_path: Path) -> None:
    (tmp_path / "pem").write_text("no certificate")
    with pytest.raises(BrokerError, match="certificate"):
        EmbeddedBroker(replace(config, tls=BrokerTls(tmp_path / "pem", tmp_path / "pem"))).start()


def test_a_gateway_added_while_running_may_connect_and_the_others_stay_connected(
    config: BrokerConfig, secret: Path
) -> None:
    first, second = gateway_user("r", "a", secret), gateway_user("r", "b", secret)
    events: queue.Queue[str] = queue.Queue()

    def link(name: str) -> Link:
        url = broker.url.replace("//", f"//{name}@")
        return Link(
            LinkConfig(url, name, password_file=secret),
            lambda topic, payload: True,
            on_up=lambda: events.put(f"{name} up"),
            on_down=lambda: events.put(f"{name} down"),
        )

    with EmbeddedBroker(replace(config, users=(first,))) as broker, link("a") as connected:
        assert events.get(timeout=START_SECONDS) == "a up"
        broker.set_users((first, second))
        with link("b"):
            assert events.get(timeout=START_SECONDS) == "b up"
        assert connected.is_connected
        assert events.get(timeout=START_SECONDS) == "b down"
        broker.set_users((second,))
        assert events.get(timeout=START_SECONDS) == "a down"
        with pytest.raises(LinkDown):
            connected.publish("tocsin/v1/r/a/block", b"")


def test_users_that_cannot_be_used_leave_the_old_ones_in_force(config: BrokerConfig, secret: Path) -> None:
    good = gateway_user("r", "a", secret)
    with EmbeddedBroker(replace(config, users=(good,))) as broker:
        with pytest.raises(BrokerError, match="cannot be read"):
            broker.set_users((good, gateway_user("r", "b", secret.with_name("missing"))))
        assert users_of(broker) == ["a"]


def test_queues_that_fill_the_store_are_thrown_away_rather_than_shutting_everybody_out(
    config: BrokerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.broker, "_LOOK_SECONDS", 0.2)
    up = threading.Event()
    with EmbeddedBroker(replace(config, max_store_bytes=4 << 20)) as broker:
        absent = Link(LinkConfig(broker.url, "absent", ("t/#",)), lambda *_: True, on_up=up.set)
        absent.start()
        assert up.wait(START_SECONDS)
        absent.close()
        ups: list[None] = []
        config = LinkConfig(broker.url, "writer")
        with Link(config, lambda *_: True, on_up=lambda: ups.append(None)) as writer:

            def is_full() -> bool:
                with contextlib.suppress(LinkDown):
                    writer.publish("t/block", bytes(128 * 1024))
                return broker.restarts > 0

            wait_until(is_full, "the full store")
            wait_until(lambda: len(ups) > 1 and writer.is_connected, "the writer's return")
            writer.publish("t/block", bytes(128 * 1024))


def test_its_files_show_passwords_to_the_owner_alone(config: BrokerConfig, secret: Path) -> None:
    with EmbeddedBroker(replace(config, users=(gateway_user("r", "a", secret),))) as broker:
        holders = [
            file
            for file in config.data_dir.rglob("*")
            if file.is_file() and b"a secret of the test" in file.read_bytes()
        ]
        assert [file.name for file in holders] == ["broker.conf"]
        assert holders[0].stat().st_mode & 0o077 == 0
        command = Path(f"/proc/{broker.pid}/cmdline").read_bytes()
        assert b"secret" not in command


def test_the_network_is_served_only_with_users_and_tls(config: BrokerConfig, secret: Path) -> None:
    tls, users = BrokerTls(secret, secret), (gateway_user("r", "a", secret),)
    for open_door in ({"tls": tls}, {"users": users}, {}):
        with pytest.raises(BrokerError, match="needs users and TLS"):
            render(replace(config, host="0.0.0.0", **open_door), port=0)  # type: ignore[arg-type]
    render(replace(config, host="0.0.0.0", tls=tls, users=users), port=0)


def test_topics_become_subjects_without_widening_a_right(config: BrokerConfig, secret: Path) -> None:
    user = BrokerUser("x", secret, publish=("a.b/c", "t/#"), subscribe=("t/+/block",))
    document = json.loads(render(replace(config, users=(user,)), port=0))
    rights = document["authorization"]["users"][0]["permissions"]
    assert rights == {
        "publish": {"allow": ["a//b.c", "t", "t.>"]},
        "subscribe": {"allow": ["t.*.block"]},
    }


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "*", ">", "a b", "a\n", "a\0", "hub"])
def test_a_gateways_name_cannot_widen_its_rights(name: str, secret: Path) -> None:
    with pytest.raises(BrokerError):
        gateway_user("r", name, secret)


def test_two_users_of_one_name_are_refused(config: BrokerConfig, secret: Path) -> None:
    twice = (hub_user("r", "a", secret), hub_user("r", "a", secret))
    with pytest.raises(BrokerError, match="two of"):
        render(replace(config, users=twice), port=0)


def test_a_missing_server_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise hub.broker.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(hub.broker.importlib.metadata, "files", missing)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BrokerError, match=r"install tocsin\[hub\]"):
        find_server()
