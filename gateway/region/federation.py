"""Who may speak in the chain, as far as this gateway has verified it: the voters, and the roster.

Owns both, over restarts, and the verification that rests on them. It does not own how they arrive
(`gateway.region.hearing`) nor what follows for bodies that others keep (`gateway.storage.holdings`, which is told
the keys).

Invariants:
* Every set of voters was decided by the one before; the first stands in the genesis.
* A roster is taken from the state under a verified seal only, and never goes back in version. Until there is one,
  the genesis' own holds.
* What cannot be written down holds all the same, until the end of this boot.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final

from gateway.chain.cometbft import MAX_VALIDATORS, CometSeal, Known
from gateway.chain.entries import roster_key
from gateway.chain.errors import ChainError, RevokedKey
from gateway.chain.finality import Checkpoint, Entry, FinalityProof, Sealed
from gateway.chain.genesis import COMETBFT, Genesis, Validator
from gateway.chain.governance import MEMBER_GOOD, Member, Roster, founding_roster
from gateway.chain.leaf import LogLeaf
from gateway.chain.record import Many, Record, UInt
from gateway.errors import StoreError
from gateway.storage.holdings import Holdings
from gateway.storage.store import Store

__all__ = ["ROSTER", "VOTERS", "Federation"]

_log = logging.getLogger(__name__)

ROSTER: Final = "roster"
VOTERS: Final = "voters"
_SETS: Final = 32  # a seal from before so many changes of the voters has to show them itself


@dataclass(frozen=True, slots=True)
class _Set(Record):
    """The voters that decide header `height` + 1, and later ones until the next set."""

    height: UInt
    validators: Annotated[tuple[Validator, ...], Many(1, MAX_VALIDATORS)]


@dataclass(frozen=True, slots=True)
class _Sets(Record):
    sets: Annotated[tuple[_Set, ...], Many(0, _SETS)]


class Federation:
    """The chain's voters and members. Methods may be called from any thread; they raise ChainError for what fails."""

    def __init__(self, genesis: Genesis, store: Store) -> None:
        self.genesis, self._store = genesis, store
        self._lock = threading.Lock()
        self._sets, self.roster = self._kept()
        self._tell_custodians()

    @property
    def custodians(self) -> int:
        """How many agencies have to keep a body before it may leave this gateway."""
        return self.genesis.custodians

    def verify(self, checkpoint: Checkpoint) -> Sealed:
        """Return a checkpoint's seal, once it holds, and remember the voters behind it."""
        return self._remember(checkpoint.verify(self.genesis, self._known(checkpoint)))

    def verify_final(self, proof: FinalityProof, leaf: LogLeaf) -> Sealed:
        """Return the seal over a final item, once its proof holds, and remember the voters behind it."""
        return self._remember(proof.verify(leaf, self.genesis, self._known(proof.checkpoint)))

    def learn(self, checkpoint: Checkpoint, entry: Entry | None) -> Sealed:
        """Verify a checkpoint, and take up the roster that stands under it, where it is newer."""
        sealed = self.verify(checkpoint)
        value = entry.holds(checkpoint.app, roster_key()) if entry else None
        if value is not None:
            self._take(Roster.decode(value))
        return sealed

    def member(self, name: str) -> Member | None:
        """Return the member of a name, whatever its standing; None where the roster has none."""
        return next((each for each in self.roster.members if each.name == name), None)

    def speaker(self, key: bytes) -> Member:
        """Return the member of a hub key whose word counts. Raises UnknownSigner, RevokedKey."""
        member = self.roster.hub(key)
        if member.standing != MEMBER_GOOD:
            raise RevokedKey(
                f"hub {member.name} is suspended or was caught voting twice: its word does not count"
            )
        return member

    def authority(self, key: bytes) -> bytes:
        """Return a key that may command a gateway: an authority's or a hub's. Raises UnknownSigner, RevokedKey."""
        if any(each.key == key for each in self.roster.authorities):
            return key
        return self.speaker(key).key

    def _known(self, checkpoint: Checkpoint) -> Known | None:
        """Return the latest voters that were verified below a seal's header."""
        if checkpoint.seal.engine != COMETBFT:
            return None
        height = CometSeal.decode(checkpoint.seal.data).header.height
        return next((each for each in reversed(self._sets) if each.height < height), None)

    def _remember(self, sealed: Sealed) -> Sealed:
        with self._lock:
            last = self._sets[-1] if self._sets else Known(0, ())
            new = sealed.known
            if new is None or new.height <= last.height or new.validators == last.validators:
                return sealed
            self._sets = (*self._sets, new)[-_SETS:]
            self._put(VOTERS, _Sets(tuple(_Set(each.height, each.validators) for each in self._sets)))
        return sealed

    def _take(self, roster: Roster) -> None:
        with self._lock:
            if roster.version <= self.roster.version:
                return
            for what in _changes(self.roster, roster):
                _log.warning("roster %d: %s", roster.version, what)
            self.roster = roster
            self._put(ROSTER, roster)
        self._tell_custodians()

    def _tell_custodians(self) -> None:
        keys = [each.key for each in self.roster.members if each.standing == MEMBER_GOOD]
        try:
            Holdings(self._store).trust(keys)
        except StoreError as error:  # then nothing is pruned on their word either
            _log.error("the hubs that may keep bodies cannot be noted: %s", error)

    def _put(self, name: str, record: Record) -> None:
        try:
            self._store.put({name: record.encode()})
        except StoreError as error:
            _log.error("what the chain shows of its %s cannot be kept: %s", name, error)

    def _kept(self) -> tuple[tuple[Known, ...], Roster]:
        sets, roster = self._store.get(VOTERS), self._store.get(ROSTER)
        try:
            kept = _Sets.decode(sets).sets if sets else ()
            found = Roster.decode(roster) if roster else founding_roster(self.genesis)
        except ChainError as error:  # the hubs show both again
            _log.error("the kept voters and roster are not usable: %s", error)
            return (), founding_roster(self.genesis)
        return tuple(Known(each.height, each.validators) for each in kept), found


def _changes(old: Roster, new: Roster) -> Iterator[str]:
    before, after = ({each.name: each for each in roster.members} for roster in (old, new))
    yield from (f"hub {name} is a member" for name in sorted(after.keys() - before.keys()))
    yield from (f"hub {name} is no member any more" for name in sorted(before.keys() - after.keys()))
    for name in sorted(before.keys() & after.keys()):
        if before[name].key != after[name].key:
            yield f"hub {name} has another key"
        if before[name].standing != after[name].standing:
            yield f"hub {name} is {'a member again' if not after[name].standing else 'suspended'}"
