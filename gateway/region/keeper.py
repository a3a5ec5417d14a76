"""The gateway's place in its chain: which epoch and height a block gets, and what may be signed at all.

Owns the key's use on headers, the position of the head, the highest seal seen, and the rule by which an epoch is
continued or changed. It does not own messages (`gateway.region.sync`) nor the leaves
(`gateway.recording.openblock`).

Invariants:
* (epoch, height) is signed at most once. After each start nothing is signed until a hub's answer to this boot's
  birth has named what the chain knows (`consider`); until then blocks are kept as drafts. Of several hubs one is
  enough, after a while in which the others may name more.
* The epoch goes on only if the store recovered whole, is of that epoch, and lacks nothing the chain knows.
  Otherwise a change is signed, which owns up to every signed block above the final head; when it is in force,
  those blocks are signed anew above that head, their leaves and segments as they were.
* What was found not whole stays so, over restarts, until a new epoch is in force; what the chain knew then and
  the store lacks is forgone, and no reason for another epoch.
* The seal seen never goes back in a chain.
* A gateway that its chain's successor has imported closes its old head under the new genesis; what was never final
  is signed anew there, and what was belongs to the earlier chain: it is sent to nobody any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, cast

from gateway.chain.block import NOTHING_SEEN, Header, Seen, header_hash
from gateway.chain.canonical import decode, encode
from gateway.chain.entries import GOOD
from gateway.chain.finality import Checkpoint, Sealed
from gateway.chain.keys import BLOCK, EPOCH, NO_HASH, SUITE, SigningKey
from gateway.chain.leaf import IMPORT
from gateway.chain.messages import Answer
from gateway.chain.tenure import MAX_ORPHANS, NOWHERE, EpochChange, EpochChangeBody, Position
from gateway.recording.openblock import Draft
from gateway.region.answers import Answers
from gateway.storage.store import MOVED, Signature, Store, Stored

__all__ = ["EPOCH_STATE", "Identity", "Keeper"]

_NOT_WHOLE, _LACKING, _ASKED, _MOVED = 1, 2, 3, 4

EPOCH_STATE: Final = ("change",)
"""Small values that are of one chain: the next begins without them."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this gateway is in which chain, in this boot."""

    genesis: bytes
    gateway: bytes
    key: SigningKey
    boot: bytes


class Keeper:
    """Signs headers. Methods may be called from any thread; they raise `StoreError` as the store does."""

    def __init__(
        self, identity: Identity, store: Store, *, whole: bool, hubs: Callable[[], int] = lambda: 1
    ) -> None:
        """`hubs` says how many hubs may answer a birth."""
        self._identity = identity
        self._store = store
        self._answers = Answers(hubs)
        self._lock = threading.RLock()
        if not whole and store.is_writable:
            store.put({"whole": b"\0"})
        self._whole = whole and store.get("whole") != b"\0"
        self._epoch = int.from_bytes(store.get("epoch") or b"\1", "big")
        self._change = _read_change(store.get("change"))
        self._base = _read_position(store.get("base"))
        self._forgone = frozenset(_read_hashes(store.get("forgone")))
        self._asked = self._renewed = self._closed = self._confirmed = False
        head = store.head()
        # The seal seen needs no row: the head's header names it, and the next answer brings a newer one.
        header = Header.decode(head.header) if head else None
        self._seen = header.seen if header and header.genesis == identity.genesis else NOTHING_SEEN
        self._head = head.position if head and head.height > self._base.height else self._base

    @property
    def whole(self) -> bool:
        """Whether everything that was signed is known here."""
        return self._whole

    @property
    def epoch(self) -> int:
        """The epoch that blocks are signed in."""
        return self._epoch

    @property
    def head(self) -> Position:
        """The highest block signed."""
        return self._head

    @property
    def seen(self) -> Seen:
        """The highest seal verified."""
        return self._seen

    @property
    def is_confirmed(self) -> bool:
        """Whether blocks are being signed and may be published."""
        return self._confirmed

    @property
    def change(self) -> EpochChange | None:
        """The epoch change that waits to be ordered."""
        return self._change

    def keep(self, draft: Draft, values: Mapping[str, bytes | None]) -> None:
        """Store a block, signed where that is allowed, together with small values."""
        with self._lock:
            if not self._confirmed:
                self._store.add_block(draft, None, values)
                return
            signed = self._sign(draft.number, draft.header, self._head, self._epoch)
            self._store.add_block(draft, signed, values)
            self._head = signed.position

    def see(self, checkpoint: Checkpoint, sealed: Sealed) -> None:
        """Take note of a verified checkpoint; headers from now on name it if it is the highest."""
        with self._lock:
            if sealed.height > self._seen.height:
                self._seen = Seen(sealed.height, checkpoint.app.log_size, sealed.hash)

    def ask_for_epoch(self) -> None:
        """Let the next answer lead to a new epoch, because an operator wants one."""
        self._asked = True

    def close(self) -> None:
        """Sign nothing any more: another chain takes this one over."""
        with self._lock:
            self._closed, self._confirmed = True, False

    def consider(self, answer: Answer, height: int = 0, *, alone: bool = False) -> EpochChange | None:
        """Act on a verified answer to this boot's birth, whose checkpoint, of this height, was `see`n.

        Args:
            alone: it is of the only hub that the chain has.

        Returns:
            The epoch change to send, and to send again until an answer names its epoch; None when the epoch
            goes on (`is_confirmed`), when another hub has to be heard, or when nothing may be sent because the
            gateway is not in good standing.
        """
        with self._lock:
            final = self._store.final_height()
            taken = self._answers.take(answer, height, self._epoch, final, alone=alone)
            return self._change if taken is None else self._heed(taken)

    def _heed(self, answer: Answer) -> EpochChange | None:
        if answer.standing not in (GOOD, IMPORT) or not self._store.is_writable or self._closed:
            self._confirmed = False  # what cannot be kept is not signed either
            return None
        if self._is_in_force(answer):
            self._adopt(answer)
            return None
        if not (self._confirmed or self._answers.is_complete):
            return self._change
        reason = self._reason(answer)
        if reason is None:
            self._confirm()
            return None
        self._confirmed = False
        if self._change is None or not self._fits(self._change, answer):
            change = self._sign_change(answer, reason)
            self._store.put({"change": change.encode()})
            self._change = change
        return self._change

    def _reason(self, answer: Answer) -> int | None:
        """Say why the epoch cannot go on."""
        if answer.standing == IMPORT:
            return _MOVED
        if not self._whole:
            return _NOT_WHOLE
        if answer.epoch != self._epoch or self._lacks(answer):
            return _LACKING
        return _ASKED if self._asked else None

    def _lacks(self, answer: Answer) -> bool:
        if answer.head.height and answer.head != self._base and not self._store.has_hash(answer.head.hash):
            return True
        if (
            self._renewed
        ):  # an epoch that began in this boot began with all there was: the rest is one hub's word
            return False
        known = [each for each in answer.known if each.epoch == answer.epoch]
        return any(not self._store.has_hash(each.hash) for each in known) or bool(self._missing(answer))

    def _missing(self, answer: Answer) -> frozenset[bytes]:
        return frozenset(
            each
            for each in answer.alarms
            if each not in self._forgone and not self._store.has_transition(each)
        )

    def _confirm(self) -> None:
        self._confirmed = True
        if self._change is not None:
            self._change = None
            self._store.put({"change": None})
        drafts = self._store.drafts()
        if drafts:
            signatures = self._place(drafts, self._head, self._epoch)
            self._store.sign_blocks(signatures, (), {})
            self._head = signatures[-1].position

    def _is_in_force(self, answer: Answer) -> bool:
        if self._change is None or answer.standing == IMPORT:
            return False
        body = EpochChangeBody.decode(self._change.body)
        if body.epoch != answer.epoch or body.closes != answer.head:
            return False
        return all(each.epoch < answer.epoch for each in answer.known)

    def _adopt(self, answer: Answer) -> None:
        """Begin the epoch that was ordered: sign anew what lies above the head that it closed at."""
        orphans = [each for each in self._store.above(answer.head.height) if not each.final]
        blocks = sorted([*orphans, *self._store.drafts()], key=lambda each: each.number)
        signatures = self._place(blocks, answer.head, answer.epoch)
        forgone = self._forgone | self._missing(answer)
        values: dict[str, bytes | None] = {
            "epoch": answer.epoch.to_bytes(4, "big"),
            "base": answer.head.encode(),
            "forgone": encode(sorted(forgone)),
            "change": None,
            "whole": None,
        }
        left = self._left_behind(answer.head)
        if left is not None:
            values[MOVED] = left.to_bytes(8, "big")
        at_head = self._store.at(answer.head.height)
        is_final = left is not None and at_head is not None and at_head.position == answer.head
        self._store.sign_blocks(signatures, orphans, values, final=left if is_final and left else 0)
        self._epoch, self._base, self._forgone = answer.epoch, answer.head, forgone
        self._whole, self._change, self._asked, self._confirmed, self._renewed = True, None, False, True, True
        self._head = signatures[-1].position if signatures else answer.head

    def _left_behind(self, head: Position) -> int | None:
        """Return the number of the last block that stays with an earlier chain, where the change came from one."""
        assert self._change is not None
        if EpochChangeBody.decode(self._change.body).reason != _MOVED:
            return None
        return self._store.last_up_to(head.height)

    def _fits(self, change: EpochChange, answer: Answer) -> bool:
        body = EpochChangeBody.decode(change.body)
        return (
            (body.reason == _MOVED) == (answer.standing == IMPORT)
            and body.epoch == answer.epoch + 1
            and body.closes == answer.head
            and set(answer.known) <= set(body.orphans)
        )

    def _sign_change(self, answer: Answer, reason: int) -> EpochChange:
        identity, known = self._identity, set(answer.known)
        above = self._store.above(answer.head.height)
        own = [each.position for each in above if each.epoch == answer.epoch and each.position not in known]
        orphans = sorted([*known, *own[: MAX_ORPHANS - len(known)]], key=lambda at: (at.height, at.hash))
        body = EpochChangeBody(
            identity.genesis,
            identity.gateway,
            identity.boot,
            answer.epoch + 1,
            answer.head,
            tuple(orphans),
            reason,
        ).encode()
        return EpochChange(SUITE, body, identity.key.sign(EPOCH, body), b"", b"")

    def _place(self, blocks: Iterable[Stored], head: Position, epoch: int) -> list[Signature]:
        signatures = []
        for each in blocks:
            signed = self._sign(each.number, Header.decode(each.header), head, epoch)
            signatures.append(signed)
            head = signed.position
        return signatures

    def _sign(self, number: int, header: Header, after: Position, epoch: int) -> Signature:
        height = after.height + 1
        previous = after.hash if after.height else NO_HASH
        genesis = self._identity.genesis
        data = replace(
            header, genesis=genesis, epoch=epoch, height=height, previous=previous, seen=self._seen
        ).encode()
        position = Position(epoch, height, header_hash(data))
        return Signature(number, position, data, self._identity.key.sign(BLOCK, data))


def _read_position(data: bytes | None) -> Position:
    return NOWHERE if data is None else Position.decode(data)


def _read_hashes(data: bytes | None) -> Iterable[bytes]:
    return () if data is None else cast(list[bytes], decode(data))


def _read_change(data: bytes | None) -> EpochChange | None:
    return None if data is None else EpochChange.decode(data)
