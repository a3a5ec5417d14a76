"""The shipped Mosquitto configuration, run by Mosquitto: who may connect, publish and read what."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import Authority
from hubs import free_port
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from region import PATIENCE

SHIPPED = Path(__file__).resolve().parents[2] / "systemd" / "mosquitto"
GATEWAY, OTHER, HUB = "11" * 16, "22" * 16, "hub-1"
ROOT = "tocsin/v1/north"


class Site:
    """A broker with the shipped configuration, and an authority that makes certificates for it."""

    def __init__(self, directory: Path, openssl: Path) -> None:
        self.directory, self._authority = directory, Authority(directory, openssl)
        self.port = free_port()
        for name in ("broker", GATEWAY, OTHER, HUB):
            self._authority.certify(name)
        self._authority.file.rename(directory / "tocsin-ca.pem")
        acl = directory / "tocsin.acl"
        acl.write_text((SHIPPED / "tocsin.acl").read_text())
        acl.chmod(0o600)
        text = (SHIPPED / "tocsin.conf").read_text()
        text = text.replace("/etc/mosquitto/certs", str(directory)).replace("/etc/mosquitto", str(directory))
        text = text.replace("listener 8883", f"listener {self.port} 127.0.0.1")
        (directory / "mosquitto.conf").write_text(f"user root\n{text}")

    def tls(self, name: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.directory / "tocsin-ca.pem"))
        if name:
            context.load_cert_chain(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        return context

    def wait_until_open(self) -> None:
        for _ in range(1200):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"Mosquitto does not listen: {(self.directory / 'log').read_text()}")


class Client:
    """One connected client that remembers what it hears."""

    def __init__(self, site: Site, name: str, *filters: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._changed = threading.Condition()
        self.granted: list[int] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"{name}-test")
        self._client.tls_set_context(site.tls(name))
        self._client.on_message = lambda _c, _u, message: self._note(message.topic, message.payload)
        self._client.on_subscribe = lambda _c, _u, _i, codes, _p: self._grant([code.value for code in codes])
        self._client.connect("127.0.0.1", site.port)
        self._client.loop_start()
        if filters:
            self._client.subscribe([(topic, 1) for topic in filters])
            assert self.wait_for(lambda: bool(self.granted))

    def _note(self, topic: str, payload: bytes) -> None:
        with self._changed:
            self.heard.append((topic, payload))
            self._changed.notify_all()

    def _grant(self, codes: list[int]) -> None:
        with self._changed:
            self.granted += codes
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout=PATIENCE)

    def publish(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(PATIENCE)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, require: Callable[[str], Path]) -> Iterator[Site]:
    mosquitto, openssl = require("mosquitto"), require("openssl")
    site = Site(tmp_path_factory.mktemp("mosquitto"), openssl)
    with (site.directory / "log").open("wb") as log:
        command = [mosquitto, "-c", str(site.directory / "mosquitto.conf")]
        broker = subprocess.Popen(command, stdout=log, stderr=log, cwd=site.directory)
        try:
            site.wait_until_open()
            yield site
        finally:
            broker.terminate()
            broker.wait(PATIENCE)


@pytest.fixture
def connect(site: Site) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def connect(name: str, *filters: str) -> Client:
        clients.append(Client(site, name, *filters))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def test_a_gateway_is_heard_under_its_own_name_and_no_other(connect: Callable[..., Client]) -> None:
    hub = connect(HUB, f"{ROOT}/+/alarm", f"{ROOT}/+/block", f"{ROOT}/+/birth")
    gateway = connect(GATEWAY)
    gateway.publish(f"{ROOT}/{OTHER}/alarm", b"in another's name")  # acknowledged, and dropped
    gateway.publish(f"{ROOT}/{GATEWAY}/receipt", b"to itself")
    gateway.publish(f"{ROOT}/{GATEWAY}/block", b"b" * 131_000)
    gateway.publish(f"{ROOT}/{GATEWAY}/alarm", b"own")
    assert hub.wait_for(lambda: len(hub.heard) >= 2)
    assert hub.heard == [(f"{ROOT}/{GATEWAY}/block", b"b" * 131_000), (f"{ROOT}/{GATEWAY}/alarm", b"own")]


def test_a_gateway_reads_what_is_meant_for_it_and_the_hubs_states(connect: Callable[..., Client]) -> None:
    gateway = connect(
        GATEWAY, f"{ROOT}/+/receipt", f"{ROOT}/+/command", f"{ROOT}/+/alarm", f"{ROOT}/hub/+/state"
    )
    hub = connect(HUB)
    connect(OTHER).publish(f"{ROOT}/{OTHER}/alarm", b"a neighbour's")
    hub.publish(f"{ROOT}/{OTHER}/receipt", b"a neighbour's")
    hub.publish(f"{ROOT}/{GATEWAY}/receipt", b"own")
    hub.publish(f"{ROOT}/{GATEWAY}/command", b"own")
    hub.publish(f"{ROOT}/hub/hub-2/state", b"in another hub's name")
    hub.publish(f"{ROOT}/hub/{HUB}/state", b"online")
    assert gateway.wait_for(lambda: len(gateway.heard) >= 3)
    assert gateway.heard == [
        (f"{ROOT}/{GATEWAY}/receipt", b"own"),
        (f"{ROOT}/{GATEWAY}/command", b"own"),
        (f"{ROOT}/hub/{HUB}/state", b"online"),
    ]


def test_a_client_without_a_certificate_of_the_authority_gets_no_answer(site: Site) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="stranger")
    client.tls_set_context(site.tls(None))
    accepted = threading.Event()
    client.on_connect = lambda *_: accepted.set()
    with pytest.raises((ssl.SSLError, OSError)):  # noqa: PT012 - TLS 1.3 refuses after the handshake
        client.connect("127.0.0.1", site.port)
        for _ in range(600):
            if client.loop(0.1) != paho.MQTT_ERR_SUCCESS:
                raise OSError("refused")
    assert not accepted.is_set()
