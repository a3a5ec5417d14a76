"""An honest hub of one thread, written from the format alone: what a gateway may expect, and no more.

Alone, or with others on one `TestChain`, it accepts blocks, alarms and epoch changes by `gateway.chain.verify` and
answers over a real broker. Switches make it absent-minded; `lies` alone makes it dishonest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from testchain import AUTHORITY, DAY_MS, HUB_KEY, REGION, TestChain, View, make_genesis

from gateway.chain.alarm import Alarm
from gateway.chain.block import Block, Header, header_hash
from gateway.chain.canonical import decode, encode
from gateway.chain.custody import Promise, issue_receipts
from gateway.chain.entries import GOOD, GatewayEntry, gateway_key, roster_key
from gateway.chain.errors import BackDated, BadHeader, ChainError
from gateway.chain.genesis import Genesis
from gateway.chain.keys import (
    ALARM_RECEIPT,
    ANSWER,
    BIRTH,
    COMMAND,
    GRANT,
    HEARTBEAT,
    HUB_STATE,
    REQUEST,
    Signed,
    SigningKey,
)
from gateway.chain.leaf import ALARMS, CHANGE_EPOCH, HEADERS, LogLeaf
from gateway.chain.messages import (
    AlarmReceipt,
    Answer,
    Birth,
    Command,
    HeaderFinality,
    Heartbeat,
    HubState,
    Receipts,
    Request,
)
from gateway.chain.tenure import NOWHERE, ContractGrant, EpochChange, Position
from gateway.chain.trees import LogTree, leaf_hash
from gateway.chain.verify import (
    check_header_signature,
    check_successor,
    open_block,
    read_header,
    read_transition,
    verify_epoch_change,
)
from gateway.mqtt.config import LinkConfig
from gateway.mqtt.link import Link

__all__ = [
    "AUTHORITY",
    "DAY_MS",
    "HUB_KEY",
    "REGION",
    "TestChain",
    "TestHub",
    "make_genesis",
    "wait_until",
]

PATIENCE = 60.0  # seconds; machines are slow at times; nothing waits that long on one that is well


class TestHub:
    """One region's hub. Attributes are read by tests; `deaf`, `hold` and `mute` by the hub itself."""

    __test__ = False

    def __init__(
        self, chain: Genesis | TestChain, url: str, name: str = "hub", key: SigningKey = HUB_KEY
    ) -> None:
        self.chain = TestChain(chain) if isinstance(chain, Genesis) else chain
        self.genesis, self.url, self.name, self.key = self.chain.genesis, url, name, key
        self.deaf = False  # acknowledges at the broker and drops everything
        self.hold = False  # keeps blocks without finality
        self.mute = False  # takes blocks and gives no receipts
        self.relays = False  # hands on the others' receipts
        self.lag: View | None = None  # stands still there
        self.lies: Callable[[Answer], Answer] = lambda answer: answer
        self.births: list[Birth] = []
        self.heartbeats: list[Heartbeat] = []
        self.blocks: dict[tuple[int, int], Block] = {}
        self.arrivals: list[tuple[str, float]] = []
        self.dropped: list[str] = []  # kinds that came while it was deaf
        self.alarms: dict[bytes, Alarm] = {}
        self.changes: list[EpochChange] = []
        self.equivocations: list[tuple[Header, Header]] = []
        self.refusals: list[str] = []
        self._held: dict[bytes, list[Block]] = {}
        self._catalogues: dict[bytes, list[int]] = {}
        self._versions = 0
        self._lock = self.chain.lock
        self._is_up = threading.Event()
        self.link = self._make_link()

    @property
    def entry(self) -> dict[bytes, GatewayEntry]:
        return self.chain.entry

    def _make_link(self) -> Link:
        topics = tuple(
            f"tocsin/v1/{REGION}/+/{kind}" for kind in ("birth", "heartbeat", "alarm", "block", "record")
        )
        return Link(LinkConfig(self.url, self.name, topics), self._take, on_up=self._say_state)

    def start(self) -> None:
        """Connect; what tests say afterwards comes after the hub's own first word, which is that it is online."""
        self.link.start()
        assert self._is_up.wait(PATIENCE), "the hub's connection"

    def stop(self) -> None:
        self.link.close()

    def enrol(self, gateway: bytes, key: bytes) -> None:
        self.chain.enrol(gateway, key)

    # what tests say through it

    def say_state(self, *, online: bool) -> None:
        topic = f"tocsin/v1/{REGION}/hub/{self.name}/state"
        with self._lock:
            self._versions += 1
            roster = self.chain.prove(roster_key(), self.lag)
            shown, at = roster if roster.value else None, self.chain.checkpoint(self.lag)
            body = HubState(self.genesis.hash, self.key.public, self._versions, int(online), at, shown)
            self.link.publish(topic, self.key.signed(HUB_STATE, body.encode()).encode(), retain=True)

    def say_successor(self, payload: bytes) -> None:
        self.link.publish(f"tocsin/v1/{REGION}/hub/{self.name}/successor", payload, retain=True)

    def say_request(self, gateway: bytes, boot: bytes, first: int, last: int) -> None:
        body = Request(self.genesis.hash, self.key.public, gateway, boot, first, last)
        self._say(gateway, "request", self.key.signed(REQUEST, body.encode()).encode())

    def say_command(
        self, gateway: bytes, boot: bytes, action: int, key: SigningKey = AUTHORITY, **changes: object
    ) -> None:
        now = time.time_ns() // 1_000_000
        command = Command(
            self.genesis.hash, key.public, gateway, boot, bytes(16), action, "gas-ch4", now + 60_000
        )
        command = replace(command, **changes)  # type: ignore[arg-type]
        self._say(gateway, "command", key.signed(COMMAND, command.encode()).encode())

    def say_grant(self, gateway: bytes, version: int, documents: tuple[bytes, ...], key: SigningKey) -> None:
        body = ContractGrant(self.genesis.hash, key.public, gateway, version, documents)
        self._say(gateway, "contract", key.signed(GRANT, body.encode()).encode())

    def release(self, gateway: bytes) -> None:
        """Make final what was held."""
        with self._lock:
            self.hold = False
            for block in self._held.pop(gateway, []):
                self._accept(gateway, block, Header.decode(block.header))

    # what arrives

    def _take(self, topic: str, payload: bytes) -> bool:
        name, _, kind = topic.removeprefix(f"tocsin/v1/{REGION}/").partition("/")
        if self.deaf:
            self.dropped.append(kind)
            return True
        with self._lock:
            self.arrivals.append((kind, time.monotonic()))
            try:
                getattr(self, f"_{kind}")(bytes.fromhex(name), payload)
            except ChainError as error:
                self.refusals.append(f"{type(error).__name__}: {error}")
        return True

    def _birth(self, gateway: bytes, payload: bytes) -> None:
        signed = Signed.decode(payload)
        birth = Birth.decode(signed.body)
        entry = self.entry.get(gateway)
        if entry:
            signed.verify(BIRTH, entry.key_at(birth.head.height + 1))
        self.births.append(birth)
        listing = LogTree([leaf_hash(each.encode()) for each in birth.catalogue]).root()
        self._catalogues[listing] = [each.klass for each in birth.catalogue]
        self._answer(gateway, birth)

    def _heartbeat(self, gateway: bytes, payload: bytes) -> None:
        signed = Signed.decode(payload)
        signed.verify(HEARTBEAT, self.entry[gateway].keys[0].key)
        self.heartbeats.append(Heartbeat.decode(signed.body))

    def _alarm(self, gateway: bytes, payload: bytes) -> None:
        alarm = Alarm.decode(payload)
        read_transition(alarm, self.genesis)
        alarm.verify(self.entry[gateway].keys[0].key)
        self.alarms[alarm.hash] = alarm
        if alarm.hash not in self.chain.index:
            self.chain.append(LogLeaf(ALARMS, gateway, 0, alarm.mark, alarm.hash))
        body = AlarmReceipt(self.genesis.hash, self.key.public, gateway, (alarm.hash,))
        item = self.key.signed(ALARM_RECEIPT, body.encode()).to_item()
        self._say(gateway, "receipt", encode([3, item]))

    def _block(self, gateway: bytes, payload: bytes) -> None:
        block = Block.decode(payload)
        header = read_header(block.signed, self.genesis)
        entry = self.entry[gateway]
        check_header_signature(block.signed, entry.key_at(header.height))
        known = self.blocks.get(header.position)
        if known is not None and known.hash != block.hash:
            self.equivocations.append((Header.decode(known.header), header))
            return
        classes = self._catalogues.get(header.catalogue.root)
        if classes is None:  # the broker keeps no order between topics
            self.say_request(gateway, self.births[-1].boot, 0, 0)
            return
        open_block(block, header, classes, self.genesis)
        if known is None:
            if not self.hold and block.hash not in self.chain.index:
                check_successor(header, entry)
            self.blocks[header.position] = block
            if self.hold:
                self._held.setdefault(gateway, []).append(block)
            else:
                self._accept(gateway, block, header)
        self._receipt(gateway, block, header)

    def _record(self, gateway: bytes, payload: bytes) -> None:
        item = decode(payload)
        assert isinstance(item, list)
        assert item[0] == 1
        change, entry = EpochChange.from_item(item[1]), self.entry[gateway]
        now = time.time_ns() // 1_000_000
        try:
            body = verify_epoch_change(change, self.genesis, self.chain.roster, entry, now)
            self.changes.append(change)
            self.chain.append(LogLeaf(CHANGE_EPOCH, gateway, 0, 0, change.hash))
            opened = len(self.chain.log) - 1
            epochs = (*entry.epochs, now)
            moved = replace(entry, standing=GOOD, epoch=body.epoch, opened_at=opened, epochs=epochs)
            self.chain.put(gateway, moved)
        finally:
            self._answer(gateway, self.births[-1])

    # the chain

    def _accept(self, gateway: bytes, block: Block, header: Header) -> None:
        entry = self.entry[gateway]
        if block.hash in self.chain.index:
            return
        try:
            check_successor(header, entry)
        except (BadHeader, BackDated) as error:
            self.refusals.append(f"{type(error).__name__}: {error}")
            return
        at = Position(header.epoch, header.height, header_hash(block.header))
        self.chain.append(LogLeaf(HEADERS, gateway, at.epoch, at.height, at.hash))
        end = header.mono + header.span
        self.chain.put(gateway, replace(entry, head=at, boot=header.boot, mono=end, seen=header.seen.height))

    # what it says

    def _say_state(self) -> None:
        self.say_state(online=True)
        self._is_up.set()

    def _answer(self, gateway: bytes, birth: Birth) -> None:
        view = self.lag or self.chain.view()
        entry = view.entries.get(gateway)
        epoch, head = (entry.epoch, entry.head) if entry else (0, NOWHERE)
        known = [
            Position(*at, block.hash)
            for at, block in sorted(self.blocks.items())
            if at[0] == epoch and at[1] > head.height
        ]
        answer = Answer(
            self.genesis.hash,
            self.key.public,
            gateway,
            birth.boot,
            birth.version,
            entry.standing if entry else 255,
            epoch,
            head,
            tuple(known),
            tuple(list(self.alarms)[-64:]),
            self.chain.checkpoint(view, birth.seen.height),
            time.time_ns() // 1_000_000,
            self.chain.prove(gateway_key(gateway), view),
        )
        answer = self.lies(answer)
        self._say(gateway, "receipt", encode([2, self.key.signed(ANSWER, answer.encode()).to_item()]))

    def _receipt(self, gateway: bytes, block: Block, header: Header) -> None:
        classes = sum(
            1 << each.klass for each, data in zip(header.segments, block.segments, strict=True) if data
        )
        keep = time.time_ns() // 1_000_000 + 365 * DAY_MS
        promise = Promise(gateway, header.epoch, header.height, block.hash, classes, keep)
        receipts = issue_receipts(self.key, self.genesis.hash, [promise], keep - 365 * DAY_MS)
        kept = self.chain.receipts.setdefault(block.hash, [])
        others = list(kept) if self.relays else []
        kept += receipts
        body = Receipts(self.genesis.hash, self.key.public, (*receipts, *others), self._finality(gateway))
        if not self.mute:
            self._say(gateway, "receipt", encode([1, body.to_item()]))

    def _finality(self, gateway: bytes) -> HeaderFinality | None:
        view = self.lag or self.chain.view()
        head = view.entries[gateway].head
        proof = self.chain.finality(head.hash, self.births[-1].seen.height, self.lag)
        return HeaderFinality(head, proof) if proof else None

    def _say(self, gateway: bytes, kind: str, payload: bytes) -> None:
        self.link.publish(f"tocsin/v1/{REGION}/{gateway.hex()}/{kind}", payload)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within {seconds:g} s"
        time.sleep(0.01)
