"""Births, heartbeats, deaths and records: how gateways introduce themselves and what they ask to have ordered.

Owned: one queue and its thread, the boot and birth each gateway was last heard with. Not owned: what the hub says
(`hub.outbox`), what is shown (`hub.view`).

Invariants:
- Nothing unsigned changes more than a hint; a retained birth that is replayed never takes a gateway back.
- Every birth is answered, also one of a gateway that is unknown or barred: the answer says so.
- A record is offered only when it holds now; whatever becomes of it, the gateway gets a fresh answer.
"""

from __future__ import annotations

import logging
import queue
from dataclasses import dataclass
from typing import Final

from gateway.chain.entries import ContractsEntry, GatewayEntry, contracts_key
from gateway.chain.errors import BadRecord, BadSignature, ChainError, UnknownGateway
from gateway.chain.keys import BIRTH, HEARTBEAT, Signed
from gateway.chain.messages import Birth, Heartbeat
from gateway.chain.ordered import EpochOrder, Grant, Rotate, decode_transaction, encode_transaction
from gateway.chain.tenure import EpochChange, EpochChangeBody, RotationBody
from gateway.chain.verify import verify_epoch_change, verify_rotation
from hub.core import Core, Misdirected, Refusals, check_region
from hub.errors import StoreError
from hub.outbox import Outbox
from hub.topics import read_record
from hub.view import View
from hub.worker import Worker

_log = logging.getLogger(__name__)

_QUEUE: Final = 1024
_MAX_BOOTS: Final = 64


@dataclass(frozen=True, slots=True)
class _Boot:
    """The boot a gateway is in, as far as it was heard, and those before it."""

    nonce: bytes
    version: int = -1
    counter: int = -1
    earlier: tuple[bytes, ...] = ()


class HailLane:
    """Takes in all that is neither alarm nor block. `offer` is for any thread."""

    def __init__(self, core: Core, outbox: Outbox, refusals: Refusals, view: View) -> None:
        self._core, self._outbox, self._refusals, self._view = core, outbox, refusals, view
        self._queue: queue.Queue[tuple[bytes, str, bytes] | None] = queue.Queue(_QUEUE)
        self.worker = Worker("hails", self._run, lambda: self._queue.put(None))
        self._boots: dict[bytes, _Boot] = {}

    def start(self) -> None:
        """Begin to work."""
        self.worker.start()

    def offer(self, gateway: bytes, kind: str, payload: bytes) -> None:
        """Queue a message from a gateway's topic of this kind."""
        self._queue.put((gateway, kind, payload))

    def answer_again(self, gateway: bytes) -> None:
        """Answer a gateway's latest birth once more, because the chain has moved on."""
        known = self._boots.get(gateway) or self._stored_boot(gateway)
        if known is not None:
            self._outbox.say_answer(gateway, known.nonce, known.version)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self.take_in(*item)
            except StoreError as error:
                _log.error("a message of %s is not kept: %s", item[0].hex(), error)
            except Exception:
                _log.exception("a %s of %s is lost to a defect", item[1], item[0].hex())

    def take_in(self, gateway: bytes, kind: str, payload: bytes) -> None:
        """Deal with one message. Raises StoreError."""
        try:
            match kind:
                case "birth":
                    self._birth(gateway, payload)
                case "heartbeat":
                    self._heartbeat(gateway, payload)
                case "record":
                    self._record(gateway, payload)
                case "death":
                    self._view.gone(gateway, self._core.now_ms())
        except ChainError as error:
            self._refusals.note(gateway, error, payload)

    def _birth(self, gateway: bytes, payload: bytes) -> None:
        core, signed = self._core, Signed.decode(payload)
        birth = Birth.decode(signed.body)
        core.genesis.require(birth.genesis, "the birth")
        self._check_own(gateway, birth.gateway)
        try:
            entry = _known(core, gateway)
        except UnknownGateway:
            self._outbox.say_answer(gateway, birth.boot, birth.version)
            raise
        _verify(signed, BIRTH, entry, birth.head.height + 1)
        if not self._is_current(gateway, birth.boot, birth.version):
            _log.debug("an old birth of %s is passed over", gateway.hex())
            return
        received = core.now_ms()
        core.store.library.add_catalogue(birth.catalogue)
        core.store.library.add_contracts(birth.contracts)
        core.store.library.set_birth(gateway, signed, received, self._boots[gateway].earlier)
        self._view.born(gateway, birth, received)
        self._outbox.greeted(gateway, birth)
        self._outbox.say_answer(gateway, birth.boot, birth.version)
        if (grant := self._granted(gateway)) is not None:
            self._outbox.say_grant(gateway, grant)  # the broker may have lost it

    def _granted(self, gateway: bytes) -> Signed | None:
        """Return the contract set that is granted to a gateway, None where there is none."""
        core = self._core
        value = core.ledger.committed.tree.get(contracts_key(gateway))
        found = core.store.chain.record(ContractsEntry.decode(value).record) if value else None
        transaction = decode_transaction(found.tx) if found else None
        return transaction.grant if isinstance(transaction, Grant) else None

    def _heartbeat(self, gateway: bytes, payload: bytes) -> None:
        core, signed = self._core, Signed.decode(payload)
        beat = Heartbeat.decode(signed.body)
        core.genesis.require(beat.genesis, "the heartbeat")
        self._check_own(gateway, beat.gateway)
        entry = _known(core, gateway)
        _verify(signed, HEARTBEAT, entry, beat.head.height + 1)
        known = self._boots.get(gateway, _Boot(beat.boot))
        if beat.boot in known.earlier or (beat.boot == known.nonce and beat.counter <= known.counter):
            return
        if beat.boot != known.nonce or gateway not in self._boots:
            self._outbox.say_request(gateway, beat.boot, 0, 0)
        if beat.boot == known.nonce:
            self._boots[gateway] = _Boot(known.nonce, known.version, beat.counter, known.earlier)
        self._view.beat(gateway, beat, core.now_ms())

    def _record(self, gateway: bytes, payload: bytes) -> None:
        core, record = self._core, read_record(payload)
        try:
            entry = _known(core, gateway)
            if isinstance(record, EpochChange):
                # A chain whose time is ahead of the clock, for a clock that was, must still change epochs.
                now = max(core.now_ms(), core.ledger.committed.time + 1)
                self._check_own(gateway, EpochChangeBody.decode(record.body).gateway)
                self._check_epoch_change(gateway, record, entry, now)
                core.offer(encode_transaction(EpochOrder(record, now)))
            else:
                self._check_own(gateway, RotationBody.decode(record.body).gateway)
                verify_rotation(record, core.genesis, entry)
                core.offer(encode_transaction(Rotate(record)))
        except ChainError:
            self.answer_again(gateway)
            raise

    def _check_epoch_change(self, gateway: bytes, change: EpochChange, entry: GatewayEntry, now: int) -> None:
        """Check an epoch change, and note the signed blocks on disk that it does not own up to."""
        core = self._core
        body = verify_epoch_change(
            change, core.genesis, core.ledger.committed.roster(core.genesis), entry, now
        )
        known = core.store.headers_after(gateway, entry.epoch, entry.head.height)
        hidden = [each.position for each in known if each.position not in body.orphans]
        if hidden:
            raise BadRecord(
                f"the change to epoch {body.epoch} leaves out block {hidden[0].epoch}/{hidden[0].height}, which"
                " the gateway signed: it has to list every block of the answer to its birth"
            )

    def _is_current(self, gateway: bytes, boot: bytes, version: int) -> bool:
        """Tell whether a birth is not older than what was heard, and take it up."""
        known = self._boots.get(gateway) or self._stored_boot(gateway)
        if known is None or boot not in (known.nonce, *known.earlier):
            earlier = (known.nonce, *known.earlier)[:_MAX_BOOTS] if known else ()
            self._boots[gateway] = _Boot(boot, version, -1, earlier)
            return True
        if boot != known.nonce or version < known.version:
            return False
        self._boots[gateway] = _Boot(boot, version, known.counter, known.earlier)
        return True

    def _stored_boot(self, gateway: bytes) -> _Boot | None:
        found = self._core.store.library.birth(gateway)
        if found is None:
            return None
        birth = Birth.decode(found[0].body)
        return _Boot(birth.boot, birth.version, -1, self._core.store.library.earlier_boots(gateway))

    @staticmethod
    def _check_own(gateway: bytes, named: bytes) -> None:
        if named != gateway:
            raise Misdirected(f"a message of gateway {named.hex()[:16]} on another's topic")


def _known(core: Core, gateway: bytes) -> GatewayEntry:
    entry = core.entry(gateway)
    if entry is None:
        raise UnknownGateway(f"gateway {gateway.hex()[:16]} was never enrolled in this chain")
    check_region(entry, core.region)
    return entry


def _verify(signed: Signed, domain: str, entry: GatewayEntry, height: int) -> None:
    """Check a greeting under the key of its sender's next block, or, around a rotation, under the latest."""
    try:
        signed.verify(domain, entry.key_at(height))
    except BadSignature:
        signed.verify(domain, entry.keys[-1].key)
