"""One contract for the link over both brokers, and the rules that need no broker."""

from __future__ import annotations

import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import Broker, BrokerFactory, Mosquitto, Nats, wait_until
from certificates import Authority

from gateway.mqtt import link as mqtt_link
from gateway.mqtt.config import LinkConfig, LinkDown, LinkUrlError, PayloadTooLarge, Will
from gateway.mqtt.link import MAX_PAYLOAD, Link
from hub.broker_config import BrokerTls, BrokerUser, gateway_user, hub_user

PATIENCE = 60.0


class Client:
    """A link that keeps what happened; `verdicts` are the handler's answers, True when there are none left."""

    def __init__(
        self,
        url: str,
        name: str,
        *topics: str,
        gate: threading.Event | None = None,
        **settings: Any,
    ) -> None:
        self.gate = gate
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.events: queue.Queue[str] = queue.Queue()
        self.verdicts: queue.Queue[bool | Exception] = queue.Queue()
        config = LinkConfig(url=url, client_id=name, subscriptions=topics, **settings)
        self.link = Link(
            config, self.handle, on_up=lambda: self.events.put("up"), on_down=lambda: self.events.put("down")
        )
        self.link.start()

    def handle(self, topic: str, payload: bytes) -> bool:
        if self.gate:
            self.gate.wait(PATIENCE)
        self.messages.put((topic, payload))
        try:
            verdict = self.verdicts.get_nowait()
        except queue.Empty:
            return True
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    def await_acknowledgement(self) -> None:
        """Wait until the broker has taken over everything that was published."""
        session = self.link._session
        assert session is not None
        wait_until(lambda: session._on_the_way == 0, "the last acknowledgement")

    def up(self) -> Client:
        assert self.events.get(timeout=PATIENCE) == "up"
        return self

    def down(self) -> Client:
        assert self.events.get(timeout=PATIENCE) == "down"
        return self

    def next(self) -> tuple[str, bytes]:
        return self.messages.get(timeout=PATIENCE)

    def topics(self, count: int) -> list[str]:
        """Of the next so many messages in the order of their arrival; what comes again counts once."""
        heard: dict[str, None] = {}
        while len(heard) < count:
            heard[self.next()[0]] = None
        return list(heard)

    def hears(self, payload: bytes) -> None:
        while self.next()[1] != payload:
            pass

    def hears_nothing(self, seconds: float = 0.3) -> bool:
        time.sleep(seconds)
        return self.messages.empty()


@pytest.fixture(params=[Mosquitto, Nats], ids=["mosquitto", "nats"])
def kind(request: pytest.FixtureRequest) -> type[Mosquitto] | type[Nats]:
    """Each broker that the link must get along with."""
    chosen: type[Mosquitto] | type[Nats] = request.param
    return chosen


@pytest.fixture
def start_broker(
    kind: type[Mosquitto] | type[Nats], tmp_path: Path, require: Callable[[str], Path]
) -> Iterator[BrokerFactory]:
    started: list[Broker] = []

    def start(**settings: Any) -> Broker:
        if kind is Mosquitto:
            settings["program"] = require("mosquitto")
        started.append(kind(tmp_path / "broker", **settings))
        return started[-1]

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def connect() -> Iterator[Any]:
    clients: list[Client] = []

    def open_client(broker: Broker, name: str, *topics: str, **settings: Any) -> Client:
        clients.append(Client(settings.pop("url", broker.url), name, *topics, **settings))
        return clients[-1]

    yield open_client
    for client in clients:
        client.link.close()


def test_a_message_passes_with_its_topic_and_bytes(start_broker: BrokerFactory, connect: Any) -> None:
    broker = start_broker()
    reader = connect(broker, "reader", "t/+/block").up()
    writer = connect(broker, "writer").up()
    writer.link.publish("t/a/block", b"\x00\xff")
    assert reader.next() == ("t/a/block", b"\x00\xff")


def test_messages_of_an_absent_reader_survive_the_brokers_sigkill(
    start_broker: BrokerFactory, connect: Any
) -> None:
    broker = start_broker()
    connect(broker, "reader", "t/#").up().link.close()
    writer = connect(broker, "writer").up()
    for number in range(20):
        writer.link.publish(f"t/{number}", b"kept")
    writer.await_acknowledgement()
    time.sleep(broker.store_seconds)
    broker.kill()
    broker.revive()
    assert connect(broker, "reader", "t/#").topics(20) == [f"t/{number}" for number in range(20)]


def test_both_ends_return_by_themselves_after_a_broker_restart(
    start_broker: BrokerFactory, connect: Any
) -> None:
    broker = start_broker()
    reader = connect(broker, "reader", "t/#").up()
    writer = connect(broker, "writer").up()
    broker.kill()
    reader.down()
    writer.down()
    broker.revive()
    reader.up()
    writer.up()
    writer.link.publish("t/x", b"again")
    assert reader.next() == ("t/x", b"again")


def test_publishing_while_the_broker_is_away_is_refused_and_leaves_nothing_behind(
    start_broker: BrokerFactory, connect: Any
) -> None:
    broker = start_broker()
    reader = connect(broker, "reader", "t/#").up()
    writer = connect(broker, "writer").up()
    broker.kill()
    writer.down()
    assert not writer.link.is_connected
    with pytest.raises(LinkDown, match="not connected"):
        writer.link.publish("t/lost", b"")
    broker.revive()
    writer.up()
    reader.down().up()
    writer.link.publish("t/next", b"")
    assert reader.next() == ("t/next", b"")


def test_retained_state_reaches_a_later_reader_also_after_a_restart(
    start_broker: BrokerFactory, connect: Any
) -> None:
    broker = start_broker()
    writer = connect(broker, "writer").up()
    writer.link.publish("t/state", b"old", retain=True)
    writer.link.publish("t/state", b"new", retain=True)
    connect(broker, "first", "t/state").hears(b"new")  # perhaps after the old one: they are racing it
    time.sleep(broker.store_seconds)
    broker.kill()
    broker.revive()
    assert connect(broker, "second", "t/state").next() == ("t/state", b"new")


def test_a_message_not_taken_comes_again_and_nothing_after_it_is_lost(
    start_broker: BrokerFactory, connect: Any
) -> None:
    broker = start_broker(redeliver=1)
    reader = connect(broker, "reader", "t/#").up()
    reader.verdicts.put(False)
    writer = connect(broker, "writer").up()
    writer.link.publish("t/1", b"")
    writer.link.publish("t/2", b"")
    assert reader.next() == ("t/1", b"")
    assert set(reader.topics(2)) == {"t/1", "t/2"}
    reader.down().up()


def test_a_link_falling_under_the_handler_leaves_the_message_unacknowledged(
    start_broker: BrokerFactory, connect: Any
) -> None:
    broker = start_broker(redeliver=1)
    reader = connect(broker, "reader", "t/#").up()
    reader.verdicts.put(LinkDown("no receipt can be sent"))
    connect(broker, "writer").up().link.publish("t/1", b"")
    assert [reader.next(), reader.next()] == [("t/1", b"")] * 2


def test_a_defect_in_the_handler_costs_one_message_and_not_the_link(
    start_broker: BrokerFactory, connect: Any
) -> None:
    broker = start_broker()
    reader = connect(broker, "reader", "t/#").up()
    reader.verdicts.put(KeyError("defect"))
    writer = connect(broker, "writer").up()
    writer.link.publish("t/bad", b"")
    writer.link.publish("t/good", b"")
    assert [reader.next()[0], reader.next()[0]] == ["t/bad", "t/good"]
    assert reader.hears_nothing()
    assert reader.link.counts() == {"handler-error": 1}


def test_a_full_inbox_loses_nothing(start_broker: BrokerFactory, connect: Any) -> None:
    broker = start_broker(redeliver=1)
    gate = threading.Event()
    reader = connect(broker, "reader", "t/#", inbox_bytes=12 * 1024, gate=gate).up()
    writer = connect(broker, "writer").up()
    for number in range(30):
        writer.link.publish(f"t/{number}", b"")
    time.sleep(0.3)
    gate.set()
    assert reader.topics(30) == [f"t/{number}" for number in range(30)]
    reader.down()


def test_a_message_repeated_while_it_waits_is_handled_once(start_broker: BrokerFactory, connect: Any) -> None:
    broker = start_broker(redeliver=3)
    gate = threading.Event()
    reader = connect(broker, "reader", "t/#", gate=gate).up()
    writer = connect(broker, "writer").up()
    writer.link.publish("t/1", b"")
    writer.link.publish("t/2", b"")
    time.sleep(3.5)  # nats-server has repeated by now, and does so next in a while
    gate.set()
    assert [reader.next()[0], reader.next()[0]] == ["t/1", "t/2"]
    assert reader.hears_nothing(0.2)


def test_a_callback_may_publish_and_may_close_its_link(start_broker: BrokerFactory) -> None:
    broker = start_broker()
    done = threading.Event()

    def answer(topic: str, payload: bytes) -> bool:
        link.close()
        done.set()
        return True

    def greet() -> None:
        link.publish("t/birth", b"")

    config = LinkConfig(broker.url, "self", ("t/birth",))
    link = Link(config, answer, on_up=greet)
    link.start()
    assert done.wait(PATIENCE)


def test_a_killed_clients_will_is_published(start_broker: BrokerFactory, connect: Any) -> None:
    broker = start_broker()
    reader = connect(broker, "reader", "t/#").up()
    program = (
        "import time\nfrom gateway.mqtt.config import LinkConfig, Will\nfrom gateway.mqtt.link import Link\n"
        f"config = LinkConfig({broker.url!r}, 'mortal', will=Will('t/death', b'gone'))\n"
        "Link(config, lambda *_: True, on_up=lambda: print('up', flush=True)).start()\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as mortal:
        assert mortal.stdout is not None
        assert mortal.stdout.readline() == b"up\n"
        mortal.send_signal(signal.SIGKILL)
    assert reader.next() == ("t/death", b"gone")


def test_a_closed_clients_will_is_not_published(start_broker: BrokerFactory, connect: Any) -> None:
    broker = start_broker()
    reader = connect(broker, "reader", "t/#").up()
    connect(broker, "leaver", will=Will("t/death", b"gone")).up().link.close()
    assert reader.hears_nothing()


def test_the_largest_payload_passes_and_a_larger_one_is_refused_at_the_source(
    start_broker: BrokerFactory, connect: Any
) -> None:
    broker = start_broker()
    reader = connect(broker, "reader", "t/#").up()
    writer = connect(broker, "writer").up()
    payload = bytes(range(256)) * (MAX_PAYLOAD // 256)
    writer.link.publish("t/block", payload)
    assert reader.next() == ("t/block", payload)
    with pytest.raises(PayloadTooLarge, match="at most 135168"):
        writer.link.publish("t/block", payload + b"\0")


def test_a_strangers_oversized_message_is_dropped_counted_and_not_sent_again(
    start_broker: BrokerFactory, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = start_broker()
    reader = connect(broker, "reader", "t/#").up()
    writer = connect(broker, "writer").up()
    limit = MAX_PAYLOAD
    monkeypatch.setattr(mqtt_link, "MAX_PAYLOAD", limit + 1)
    writer.link.publish("t/huge", bytes(limit + 1))
    monkeypatch.setattr(mqtt_link, "MAX_PAYLOAD", limit)
    writer.link.publish("t/small", b"")
    assert reader.next() == ("t/small", b"")
    assert reader.link.counts() == {"oversized": 1}


def test_many_messages_pass_a_small_window_in_order(start_broker: BrokerFactory, connect: Any) -> None:
    broker = start_broker()
    reader = connect(broker, "reader", "t/#").up()
    writer = connect(broker, "writer", window=2).up()
    for number in range(300):
        writer.link.publish("t/n", b"%d" % number)
    assert [int(reader.next()[1]) for _ in range(300)] == list(range(300))


def _users(tmp_path: Path) -> tuple[BrokerUser, ...]:
    (tmp_path / "password").write_text("a secret of the test\n")
    secret = tmp_path / "password"
    everything = BrokerUser("watcher", secret, ("tocsin/#",), ("tocsin/#",))
    return (
        gateway_user("r", "a", secret),
        gateway_user("r", "b", secret),
        hub_user("r", "h", secret),
        everything,
    )


def test_a_gateway_cannot_publish_under_anothers_name_nor_overhear_it(
    start_broker: BrokerFactory, connect: Any, tmp_path: Path
) -> None:
    broker = start_broker(users=_users(tmp_path))
    secret = tmp_path / "password"

    def user(name: str, *topics: str, **settings: Any) -> Client:
        url = broker.url.replace("//", f"//{name}@")
        client: Client = connect(broker, name, *topics, url=url, password_file=secret, **settings)
        return client

    watcher = user("watcher", "tocsin/#").up()
    honest = user("b", "tocsin/v1/r/b/receipt").up()
    attacker = user("a", "tocsin/v1/r/a/receipt").up()
    attacker.link.publish("tocsin/v1/r/a/block", b"own")
    assert watcher.next() == ("tocsin/v1/r/a/block", b"own")
    for topic in ("tocsin/v1/r/b/block", "tocsin/v1/r/b/receipt", "tocsin/v1/r/hub/h/state"):
        attacker.link.publish(topic, b"forged", retain=True)
        assert watcher.hears_nothing(0.2)
    hub_link = user("hub-h").up()
    hub_link.link.publish("tocsin/v1/r/b/receipt", b"for b")
    assert honest.next() == ("tocsin/v1/r/b/receipt", b"for b")
    assert attacker.hears_nothing()


def test_a_wrong_password_is_refused(start_broker: BrokerFactory, connect: Any, tmp_path: Path) -> None:
    broker = start_broker(users=_users(tmp_path))
    (tmp_path / "wrong").write_text("guess")
    url = broker.url.replace("//", "//a@")
    client = connect(broker, "a", url=url, password_file=tmp_path / "wrong")
    time.sleep(0.5)
    assert client.events.empty()
    (tmp_path / "wrong").write_text((tmp_path / "password").read_text())
    client.up()  # the file is read again at every attempt


@pytest.mark.filterwarnings(
    "ignore:unclosed <ssl.SSLSocket:ResourceWarning"
)  # paho's, when a handshake fails
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_proves_both_ends(
    start_broker: BrokerFactory, connect: Any, tmp_path: Path, require: Callable[[str], Path]
) -> None:
    authority = Authority(tmp_path, require("openssl"))
    cert, key = authority.certify("client")
    own = {"cert_file": cert, "key_file": key}
    broker = start_broker(tls=BrokerTls(*authority.certify("server"), authority.file))
    unknown_authority = connect(broker, "x", **own)
    no_certificate = connect(broker, "y", ca_file=authority.file)
    reader = connect(broker, "reader", "t/#", ca_file=authority.file, **own).up()
    reader.link.publish("t/1", b"sealed")
    assert reader.next() == ("t/1", b"sealed")
    assert unknown_authority.events.empty()
    assert no_certificate.events.empty()


def test_a_broker_that_never_answers_ends_in_linkdown_and_a_prompt_close() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        client = Client(f"mqtt://127.0.0.1:{deaf.getsockname()[1]}", "x")
        connection, _ = deaf.accept()
        with connection, pytest.raises(LinkDown):
            client.link.publish("t", b"")
        began = time.monotonic()
        client.link.close()
        assert time.monotonic() - began < PATIENCE / 2


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"url": "http://h"}, "must begin with mqtt:// or mqtts://"),
        ({"url": "broker:1883"}, "must begin with mqtt:// or mqtts://"),
        ({"url": "mqtt://"}, "names no host"),
        ({"url": "mqtt://h:0"}, "names no host, or port 0"),
        ({"url": "mqtt://h:70000"}, "cannot be read"),
        ({"url": "mqtt://h:x"}, "cannot be read"),
        ({"url": "mqtt://h/topic"}, "must end after host and port"),
        ({"url": "mqtts://u:secret@h"}, "must not hold a password"),
        ({"url": "mqtts://u@h"}, "needs a user and a password_file together"),
        ({"url": "mqtts://h", "password_file": Path("p")}, "needs a user and a password_file together"),
        ({"url": "mqtt://u@h", "password_file": Path("p")}, "shows a password to the network"),
        ({"url": "mqtt://h", "ca_file": Path("c")}, "must begin with mqtts:// for certificates"),
        ({"url": "mqtts://h", "cert_file": Path("c")}, "needs cert_file and key_file together"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_its_remedy(
    settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(LinkUrlError, match=complaint) as refusal:
        Link(LinkConfig(client_id="x", **settings), lambda *_: True)
    assert "secret" not in str(refusal.value)
