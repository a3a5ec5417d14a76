"""What one hub says to this gateway, checked and acted upon.

Owns the verification of everything that arrives from a hub, under the genesis and what was verified before, and
what it changes in the store and the keeper. It does not own sending (`gateway.region.sync`), nor who belongs to
the chain (`gateway.region.federation`).

Invariants:
* Nothing is believed for where it came from: answers, states and requests are signed by the hub, receipts and
  finality prove themselves, grants and commands are an authority's. One hub may hand on what another has signed.
* In a federation no single hub's word for standing, epoch or head is enough: an answer proves them.
* An answer counts only for this boot's latest birth; a hub's state never goes back in version.
* One part of a message that does not hold takes nothing from the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.chain.block import Header
from gateway.chain.custody import CustodyBatch
from gateway.chain.custody import Receipt as CustodyReceipt
from gateway.chain.entries import GatewayEntry, gateway_key
from gateway.chain.errors import BadProof, BadRecord, ChainError, UnknownSigner
from gateway.chain.genesis import EMBEDDED, Genesis
from gateway.chain.governance import MEMBER_GOOD, Member
from gateway.chain.keys import ALARM_RECEIPT, ANSWER, HUB_STATE, REQUEST, Signed
from gateway.chain.leaf import HEADERS, LogLeaf
from gateway.chain.messages import (
    AlarmReceipt,
    Answer,
    HeaderFinality,
    HubState,
    Receipts,
    Request,
    Successor,
)
from gateway.chain.tenure import NOWHERE
from gateway.errors import StoreError
from gateway.region.federation import Federation
from gateway.region.keeper import Identity, Keeper
from gateway.region.orders import Orders
from gateway.region.succession import check_successor
from gateway.region.topics import read_receipt
from gateway.storage.holdings import Holdings, Receipt
from gateway.storage.store import Store, Stored
from gateway.synchrony import Synchrony

__all__ = ["Heard", "Hearing"]

_log = logging.getLogger(__name__)

_UNKNOWN: Final = 255  # the standing of a gateway that is not enrolled
_BEHIND: Final = 16  # receipts may overtake an answer by some final blocks


@dataclass(slots=True)
class Heard:
    """What a message changed, for whoever sends.

    Attributes:
        answered: an answer to the latest birth came.
        online: what the hub's state says.
        received: numbers of blocks that now have a receipt, by the name of the hub that keeps them.
        alarms: hashes of transitions that the hub has on its disk.
        forgotten: that could not be kept in the store.
        resend: heights asked for again.
        rebirth: a birth is asked for.
    """

    answered: bool = False
    online: bool | None = None
    received: Mapping[str, Sequence[int]] = field(default_factory=dict)
    alarms: Sequence[bytes] = ()
    forgotten: bool = False
    resend: tuple[int, int] | None = None
    rebirth: bool = False


class Hearing:
    """Reads what one hub says; one thread calls it. Raises StoreError as the store does.

    Args:
        name: of the hub; the roster may come to know it only later.
        succeeded: told of this chain's genesis and of the one that takes it over.
        time: takes up a hub's time where it cannot be an old one.
    """

    def __init__(
        self,
        identity: Identity,
        federation: Federation,
        name: str,
        store: Store,
        keeper: Keeper,
        orders: Orders,
        succeeded: Callable[[Genesis, Genesis], None],
        time: Synchrony,
    ) -> None:
        self._identity, self._federation, self._genesis = identity, federation, federation.genesis
        self._name, self._succeeded, self._time = name, succeeded, time
        self._asked = 0, 0
        self._store, self._holdings, self._keeper, self._orders = store, Holdings(store), keeper, orders
        self._state_version: tuple[bytes, int] = b"", -1
        self._trouble = ""

    @property
    def is_trusted(self) -> bool:
        """Whether the hub is a member in good standing."""
        member = self._federation.member(self._name)
        return member is not None and member.standing == MEMBER_GOOD

    @property
    def trouble(self) -> str:
        """What is wrong with the hub or its chain, for people; empty while nothing is."""
        member = self._federation.member(self._name)
        if member is None:
            return f"hub {self._name} is no member of the chain as far as it is known here: it waits"
        if member.standing != MEMBER_GOOD:
            return f"hub {self._name} is suspended: its word does not count"
        return self._trouble

    def asked(self, birth: int) -> None:
        """Take note that a birth of a version is sent now: what answers it is signed later."""
        self._asked = birth, self._time.monotonic_ms()

    def hear(self, kind: str, payload: bytes, birth: int) -> Heard:
        """Act on a message of a kind of topic.

        Args:
            birth: version of the latest birth that this hub was sent.

        Raises:
            ChainError: it is refused. What becomes of grants and commands is recorded instead.
        """
        match kind:
            case "receipt":
                return self._receipt(payload, birth)
            case "state":
                return self._state(Signed.decode(payload))
            case "request":
                return self._request(Signed.decode(payload))
            case "contract":
                self._orders.grant(payload)
            case "command":
                self._orders.command(payload)
            case "successor":
                self._successor(payload)
        return Heard()

    def _receipt(self, payload: bytes, birth: int) -> Heard:
        match read_receipt(payload):
            case Receipts() as receipts:
                return self._receipts(receipts)
            case ("answer", Signed() as signed):
                return self._answer(signed, birth)
            case (_, Signed() as signed):
                return self._alarm_receipt(signed)
        raise AssertionError("read_receipt returns one of three")

    def _answer(self, signed: Signed, birth: int) -> Heard:
        key = self._speaker().key
        answer = Answer.decode(signed.verify(ANSWER, key))
        self._require(answer.genesis, answer.gateway, "the answer")
        if answer.hub != key:
            raise BadRecord(f"hub {self._name} answers in another hub's name")
        if (answer.boot, answer.version) != (self._identity.boot, birth):
            return Heard()
        sealed = self._federation.verify(answer.checkpoint)
        self._check_entry(answer)
        version, since = self._asked
        if version == answer.version:
            self._time.hear(answer.time, since)
        self._watch(answer.standing, sealed.height)
        self._keeper.see(answer.checkpoint, sealed)
        self._keeper.consider(answer, sealed.height, alone=self._genesis.engine == EMBEDDED)
        return Heard(answered=True)

    def _check_entry(self, answer: Answer) -> None:
        """Check that an answer says what the state under its checkpoint says. Raises BadProof."""
        if answer.entry is None:
            if self._genesis.engine != EMBEDDED:
                raise BadProof(f"hub {self._name} answers without proof, and is not the only one")
            return
        value = answer.entry.holds(answer.checkpoint.app, gateway_key(self._identity.gateway))
        said = answer.standing, answer.epoch, answer.head
        entry = GatewayEntry.decode(value) if value else None
        if said != ((entry.standing, entry.epoch, entry.head) if entry else (_UNKNOWN, 0, NOWHERE)):
            raise BadProof(f"hub {self._name} says of this gateway what the state beside it does not show")

    def _receipts(self, receipts: Receipts) -> Heard:
        rows, final = [], None
        for each in receipts.custody:
            try:
                rows += self._custody(each)
            except ChainError as error:
                _log.warning("a receipt from hub %s is refused: %s", self._name, error)
        try:
            final = self._final(receipts.finality) if receipts.finality else None
        except ChainError as error:
            _log.warning("finality from hub %s is refused: %s", self._name, error)
        if rows or final is not None:
            self._holdings.add_receipts(rows, final)
        hubs = {row.hub for row in rows}
        return Heard(received={hub: [row.number for row in rows if row.hub == hub] for hub in hubs})

    def _custody(self, receipt: CustodyReceipt) -> list[Receipt]:
        """Return the row of a receipt, whichever hub it is of; none where it is for no block of ours."""
        promise, hub = receipt.verify(self._genesis, self._federation.roster)
        self._federation.speaker(hub.key)
        stored = self._store.at(promise.height)
        if promise.gateway != self._identity.gateway or stored is None or stored.hash != promise.hash:
            return []
        self._learn_time(receipt, stored)
        kept = promise.classes, promise.keep_until, receipt.encode(), hub.key
        return [Receipt(stored.number, hub.name, hub.agency, *kept)]

    def _learn_time(self, receipt: CustodyReceipt, stored: Stored) -> None:
        """Take up when a receipt was signed: after its block ended, which no older receipt can name."""
        header = Header.decode(stored.header)
        if header.boot == self._identity.boot:
            self._time.hear(CustodyBatch.decode(receipt.batch.body).time, header.mono + header.span)

    def _final(self, finality: HeaderFinality) -> int | None:
        at, proof = finality.position, finality.proof
        leaf = LogLeaf(HEADERS, self._identity.gateway, at.epoch, at.height, at.hash)
        self._keeper.see(proof.checkpoint, self._federation.verify_final(proof, leaf))
        stored = self._store.at(at.height)
        return stored.number if stored and stored.position == at else None

    def _alarm_receipt(self, signed: Signed) -> Heard:
        receipt = AlarmReceipt.decode(signed.verify(ALARM_RECEIPT, self._speaker().key))
        self._require(receipt.genesis, receipt.gateway, "the alarm receipt")
        try:
            self._store.acknowledge(self._name, receipt.alarms)
        except StoreError as error:  # on a full disk they are sent once more after a restart, no worse
            _log.error("acknowledgement of %d alarms cannot be kept: %s", len(receipt.alarms), error)
            return Heard(alarms=receipt.alarms, forgotten=True)
        return Heard(alarms=receipt.alarms)

    def _state(self, signed: Signed) -> Heard:
        """Take up what a hub's state proves, whoever says it, and then what the hub says of itself."""
        state = HubState.decode(signed.body)
        self._genesis.require(state.genesis, "the hub's state")
        try:
            self._keeper.see(state.checkpoint, self._federation.learn(state.checkpoint, state.roster))
        except ChainError as error:
            _log.warning("checkpoint in the state of hub %s is refused: %s", self._name, error)
        key = self._speaker().key
        signed.verify(HUB_STATE, key)
        if self._state_version > (key, state.version) and self._state_version[0] == key:
            return Heard()
        self._state_version = key, state.version
        return Heard(online=bool(state.online))

    def _request(self, signed: Signed) -> Heard:
        request = Request.decode(signed.verify(REQUEST, self._speaker().key))
        self._require(request.genesis, request.gateway, "the request")
        if request.boot != self._identity.boot:
            return Heard()
        if request.first == 0:
            return Heard(rebirth=True)
        return Heard(resend=(request.first, request.last))

    def _successor(self, payload: bytes) -> None:
        if not payload:  # a retained message that was taken back
            return
        said = Successor.decode(payload)
        if said.genesis.hash != self._genesis.hash:
            check_successor(said.genesis, self._genesis, self._keeper.seen.height)
            said.checkpoint.verify(said.genesis)  # whoever brings it may have put other takeovers beside ours
            self._succeeded(self._genesis, said.genesis)

    def _watch(self, standing: int, height: int) -> None:
        """Hold a hub's fresh answer against what it has sealed before; one hub makes all final blocks of its chain."""
        seen, trouble = self._keeper.seen.height, ""
        if self._genesis.engine == EMBEDDED and height + _BEHIND < seen:
            trouble = f"is at final block {height} and has sealed {seen} before: its chain went back"
        elif standing == _UNKNOWN and seen and self._genesis.engine == EMBEDDED:
            trouble = "does not know this gateway, whose blocks it has made final"
        trouble = trouble and f"hub {self._name} {trouble}"
        if trouble and trouble != self._trouble:
            _log.error("%s", trouble)
        self._trouble = trouble

    def _speaker(self) -> Member:
        """Return the hub as the roster has it, once its word counts. Raises UnknownSigner, RevokedKey."""
        member = self._federation.member(self._name)
        if member is None:
            raise UnknownSigner(f"hub {self._name} is in no roster that this gateway has verified")
        return self._federation.speaker(member.key)

    def _require(self, genesis: bytes, gateway: bytes, what: str) -> None:
        self._genesis.require(genesis, what)
        if gateway != self._identity.gateway:
            raise BadRecord(f"{what} is for another gateway")
