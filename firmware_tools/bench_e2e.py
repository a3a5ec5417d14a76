"""How soon an alarm at a gateway is final at its hub, through the hub's own broker: three real processes.

Beside it stands what cannot be left out: the same payload once through the same broker with QoS 1, and one SQLite
row that is durable, on the same disk, after it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from firmware_tools.bench_config import PERIOD_MS
from firmware_tools.bench_database import Table
from firmware_tools.bench_figure import Figure, percentile
from firmware_tools.bench_site import Child, RunningRegion, region
from firmware_tools.errors import ProcessFailed

__all__ = ["measure_e2e"]

_ONSETS: Final = 60  # each is two transitions
_LIMIT_MS: Final = 250.0
_DHT_MS: Final = 5000
_SEAL: Final = 30  # so that the first block is soon final
_SEED: Final = 3
_PATIENCE_S: Final = 5.0
_SETTLE_S: Final = 15.0
_MAX_ALARMS: Final = 1000  # what the hub shows at once
_TOPIC: Final = "bench/round-trip"


def measure_e2e(onsets: int = _ONSETS) -> Iterator[Figure]:
    """Measure; about 200 ms an onset. Raises ToolError."""
    with region() as running:
        config = running.write_gateway("gateway", gas=1, dht_ms=_DHT_MS, seal=_SEAL)
        with Child(running.directory / "log", "gateway", config) as gateway:
            running.wait(lambda: _is_known(running), "the gateway's first block did not become final", 90.0)
            gateway.ask("toggle", onsets, PERIOD_MS, _SEED)
            ours = _settled(running, 2 * onsets)
            payload = bytes(gateway.ask("alarm-bytes"))
            bare = _round_trips(running, payload, 2 * onsets)
    yield Figure("e2e-p50", percentile(ours, 50), "ms", peer=percentile(bare, 50))
    yield Figure("e2e-p99", percentile(ours, 99), "ms", _LIMIT_MS, percentile(bare, 99))


def _is_known(running: RunningRegion) -> bool:
    return any(each["head"] for each in running.ask("/v1/gateways") or ())


def _settled(running: RunningRegion, count: int) -> list[float]:
    end = time.monotonic() + _SETTLE_S
    while len(found := _final(running)) < count:
        if time.monotonic() > end:
            raise ProcessFailed(f"{len(found)} of {count} alarms became final within {_SETTLE_S:.0f} s")
        time.sleep(0.1)
    return found


def _final(running: RunningRegion) -> list[float]:
    """Return the milliseconds from transition to finality of every alarm that is final."""
    alarms = running.ask(f"/v1/alarms?limit={_MAX_ALARMS}") or ()
    return [each["final_ms"] - each["wall_ms"] for each in alarms if each["final_ms"] is not None]


def _round_trips(running: RunningRegion, payload: bytes, count: int) -> list[float]:
    """Return the milliseconds that the bare way takes, at random instants like those of the alarms."""
    random, took = Random(_SEED), []
    with ExitStack() as stack:
        table = Table(running.directory / "bare.db")
        stack.callback(table.close)
        listener = _Listener(table)
        here, there = (_connected(running.broker, stack, listener) for _ in range(2))
        there.subscribe(_TOPIC, qos=1)
        running.wait(listener.subscribed.is_set, "the broker took no subscription")
        for _ in range(count):
            time.sleep(random.uniform(0, PERIOD_MS / 1000))
            listener.stored.clear()
            begun = time.perf_counter()
            here.publish(_TOPIC, payload, qos=1)
            if not listener.stored.wait(_PATIENCE_S):
                raise ProcessFailed(f"the broker brought nothing back within {_PATIENCE_S:.0f} s")
            took.append((time.perf_counter() - begun) * 1000)
    return took


class _Listener:
    """Stores what arrives, and says so."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.subscribed, self.stored = threading.Event(), threading.Event()

    def take(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self._table.add(bytes(message.payload))
        self.stored.set()

    def note_subscribed(self, *_: Any) -> None:
        self.subscribed.set()


def _connected(url: str, stack: ExitStack, listener: _Listener) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_socket_open = _send_at_once
    client.on_message, client.on_subscribe = listener.take, listener.note_subscribed
    parts = urlsplit(url)
    client.connect(parts.hostname or "", parts.port or 1883)
    client.loop_start()
    stack.callback(client.loop_stop)
    stack.callback(client.disconnect)
    return client


def _send_at_once(_client: Any, _data: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
