"""The hub as a process that is killed at any moment: nothing is lost after its receipt, and nothing is twisted."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Fleet, FleetGateway
from hubs import PATIENCE, Caller, HubProcess, Rest, eventually, new_fleet

from gateway.chain.alarm import Alarm
from gateway.chain.block import Block, Header
from gateway.chain.custody import Promise
from gateway.chain.messages import Receipts
from gateway.chain.tenure import Position
from gateway.mqtt.config import LinkDown
from hub.auditing.audit import audit
from hub.storage.store import Store


class Sender:
    """A gateway that sends until it has receipts, as the daemon does, and keeps every receipt."""

    def __init__(self, fleet: Fleet, gateway: FleetGateway, broker: str) -> None:
        self.gateway = gateway
        self.caller = Caller(fleet, gateway, broker)
        self.blocks: dict[int, Block] = {}
        self.alarms: dict[bytes, Alarm] = {}
        self.promised: dict[int, Promise] = {}
        self.final = 0
        self.kept: list[Receipts] = []
        self.acknowledged: set[bytes] = set()

    def make(self) -> None:
        if self.gateway.head.height % 3 == 0:
            alarm = self.gateway.alarm()
            self.alarms[alarm.hash] = alarm
        block = self.gateway.block(20)
        self.blocks[Header.decode(block.header).height] = block

    def send(self) -> None:
        """Send whatever lacks a receipt, alarms first."""
        with contextlib.suppress(LinkDown):
            for identity, alarm in self.alarms.items():
                if identity not in self.acknowledged:
                    self.caller.say("alarm", alarm.encode())
            for height, block in self.blocks.items():
                if height > self.final or height not in self.promised:
                    self.caller.say("block", block.encode())

    def listen(self) -> None:
        """Take up what the hub has said."""
        with contextlib.suppress(queue.Empty):
            while not self.caller.queue("receipt3").empty():
                self.acknowledged |= set(self.caller.alarm_receipt().alarms)
            while not self.caller.queue("receipt1").empty():
                receipts = self.caller.receipts()
                self.kept.append(receipts)
                self.promised |= {each.promise.height: each.promise for each in receipts.custody}
                if receipts.finality:
                    self.final = max(self.final, receipts.finality.position.height)

    @property
    def done(self) -> bool:
        self.listen()
        return (
            self.final == self.gateway.head.height
            and set(self.promised) == set(self.blocks)
            and self.acknowledged == set(self.alarms)
        )


@pytest.fixture
def process(tmp_path: Path) -> Iterator[HubProcess]:
    found = HubProcess(tmp_path / "hub", new_fleet())
    yield found
    found.kill()


def enrolled(process: HubProcess, rest: Rest, name: str) -> FleetGateway:
    gateway = process.fleet.gateway(name)
    assert rest.post("/v1/enrolment", gateway.enrol().encode())[0] == 201
    return gateway


def check_kept(process: HubProcess, sender: Sender) -> None:
    """Audit the directory, also against receipts, and look up every promise in it."""
    assert audit(process.directory).verdict == "ok"
    for receipts in sender.kept[:: max(len(sender.kept) // 5, 1)]:
        assert audit(process.directory, receipts.encode()).verdict == "ok"
    store = Store(process.directory / "ledger.db", read_only=True)
    try:
        for promise in sender.promised.values():
            at = Position(promise.epoch, promise.height, promise.hash)
            assert store.block(promise.gateway, at) == sender.blocks[promise.height]
        stored = {each.hash for each in store.alarms(gateway=sender.gateway.id, limit=10_000)}
        assert stored == sender.acknowledged
    finally:
        store.close()


def survive(process: HubProcess, kills: int) -> None:
    dice = random.Random(0)
    rest = process.start()
    sender = Sender(process.fleet, enrolled(process, rest, "a"), process.endpoints["broker"])
    sender.caller.birth()
    for _ in range(kills):
        for _ in range(dice.randrange(1, 5)):
            sender.make()
        sender.send()
        time.sleep(dice.uniform(0.0, 0.08))
        process.kill()
        sender.listen()
        process.start()
        time.sleep(dice.uniform(0.0, 0.3))

    def catches_up() -> bool:
        sender.send()
        time.sleep(0.3)
        return sender.done

    try:
        eventually(catches_up, "the last receipt", 60)
        assert process.stop() == 0
    finally:
        sender.caller.close()
    check_kept(process, sender)


def test_a_hub_that_is_killed_at_random_loses_nothing_that_has_a_receipt(process: HubProcess) -> None:
    survive(process, kills=6)


@pytest.mark.soak
def test_fifty_kills_lose_nothing_either(process: HubProcess) -> None:
    survive(process, kills=50)


def test_a_broker_that_is_killed_comes_back_and_alarms_go_on(process: HubProcess) -> None:
    rest = process.start()
    sender = Sender(process.fleet, enrolled(process, rest, "a"), process.endpoints["broker"])
    broker = broker_pid(process)
    os.kill(broker, signal.SIGKILL)
    sender.make()

    def sent() -> bool:
        sender.send()
        time.sleep(0.2)
        return sender.done

    try:
        eventually(sent, "receipts", 60)
    finally:
        sender.caller.close()
    assert broker_pid(process) != broker


def broker_pid(process: HubProcess) -> int:
    """The process id of the hub's only child."""
    assert process.process is not None
    children = Path(f"/proc/{process.process.pid}/task").glob("*/children")
    return next(int(pid) for file in children for pid in file.read_text().split())


def test_a_stopped_hub_ends_cleanly_and_leaves_nothing_running(process: HubProcess) -> None:
    process.start()
    broker = broker_pid(process)
    assert process.stop() == 0
    assert not (process.directory / "endpoints.json").exists()
    assert not Path(f"/proc/{broker}").exists()


def test_a_killed_hub_takes_its_broker_with_it(process: HubProcess) -> None:
    process.start()
    broker = broker_pid(process)
    process.kill()
    eventually(lambda: not Path(f"/proc/{broker}").exists(), "the broker's end", PATIENCE)


def test_a_second_hub_in_one_directory_is_refused(process: HubProcess) -> None:
    process.start()
    second = HubProcess.__new__(HubProcess)
    second.directory, second.fleet, second.process = process.directory, process.fleet, None
    with pytest.raises(AssertionError, match="another hub runs"):
        second.start()
