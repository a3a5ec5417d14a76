"""Audit of seals: each final block's, held against what the replay gives, and every change of a federation's voters.

Under a federation's engine the seal of final block H is header H+1 with its commit, and header H is the seal of
the block before. So the chain of headers gives each final block's hash, time and transactions as well, and the
voters that it names are held against the roster.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gateway.chain.cometbft import (
    CometHeader,
    CometSeal,
    Step,
    chain_id,
    check_header,
    in_order,
    validators_hash,
)
from gateway.chain.errors import BadProof
from gateway.chain.finality import Seal, Sealed, verify_seal
from gateway.chain.genesis import COMETBFT, Genesis
from gateway.chain.governance import Roster
from gateway.chain.trees import EMPTY_ROOT, leaf_hash, root_of
from hub.consensus.base import FinalBlock, tx_id
from hub.storage.database import Connection

_KEPT: Final = 4096


class Seals:
    """The seals and steps of one hub's database."""

    def __init__(self, db: Connection, genesis: Genesis) -> None:
        self._db, self._genesis = db, genesis
        rows = db.execute("SELECT height, step FROM steps ORDER BY height").fetchall()
        self._steps: dict[int, bytes] = dict(rows)
        self._used: set[int] = set()
        self._last: Sealed | None = None
        self._header: CometHeader | None = None
        self._lately: dict[int, Sealed] = {}

    @property
    def last(self) -> int:
        """The height of the last final block that has a seal, 0 where none has."""
        return int(self._db.execute("SELECT coalesce(max(height), 0) FROM seals").fetchone()[0])

    def at(self, height: int) -> Sealed | None:
        """Return what the seal of a final block says, None where there is none. Raises ChainError."""
        if height in self._lately:
            return self._lately[height]
        seal = self._read(height)
        return None if seal is None else verify_seal(self.whole(seal), self._genesis)

    def whole(self, seal: Seal) -> Seal:
        """Return a seal with the changes of voters that it rests on, as they are kept here. Raises FormatError."""
        if seal.engine != COMETBFT:
            return seal
        kept = CometSeal.decode(seal.data)
        return self._with_steps(kept, 0)

    def begin(self, height: int, roster: Roster) -> Sealed | None:
        """Go on from a snapshot of final block `height`, after which `roster` stood, and return what its seal says."""
        seal, sealed = self._read(height), self.at(height)
        if seal is not None and sealed is not None and seal.engine == COMETBFT:
            self._last, self._header = sealed, CometSeal.decode(seal.data).header
            self._used |= {each for each in self._steps if each < self._header.height}
            self._check_step(self._header, sealed, roster)
        return sealed

    def check(self, block: FinalBlock, app_hash: bytes, roster: Roster) -> bool:
        """Check the next final block's seal, and tell whether it has one. Raises ChainError.

        `app_hash` and `roster` are those after the block.
        """
        seal = self._read(block.height)
        if seal is None:
            return False
        if seal.engine == COMETBFT:
            sealed = self._check_comet(seal, block, roster)
        else:
            sealed = verify_seal(seal, self._genesis)
            if sealed.time != block.time:
                raise BadProof(f"it is over time {sealed.time}, the final block says {block.time}")
        if (sealed.height, sealed.app_hash) != (block.height, app_hash):
            raise BadProof("it is over another height or application hash than the replay gives")
        self._last = sealed
        if len(self._lately) >= _KEPT:
            self._lately.clear()
        self._lately[block.height] = sealed
        return True

    def check_rest(self) -> None:
        """Check that no change of voters is kept which no header names. Raises BadProof.

        The last one may have been kept by a hub that was killed before it kept the seal.
        """
        last = self._header.height if self._header else 0
        strays = [height for height in self._steps if height not in self._used and height <= last]
        if strays:
            raise BadProof(f"table steps: header {strays[0]} changes no voters")
        if len(self._steps) - len(self._used) > 1:
            raise BadProof("table steps: changes of voters are kept that rest on no seal")

    def _read(self, height: int) -> Seal | None:
        row = self._db.execute("SELECT seal FROM seals WHERE height = ?", (height,)).fetchone()
        return None if row is None else Seal.decode(row[0])

    def _with_steps(self, kept: CometSeal, above: int) -> Seal:
        between = [each for each in self._steps if above < each < kept.header.height]
        steps = tuple(Step.decode(self._steps[each]) for each in between)
        return Seal(COMETBFT, replace(kept, steps=steps).encode())

    def _check_comet(self, seal: Seal, block: FinalBlock, roster: Roster) -> Sealed:
        kept, before = CometSeal.decode(seal.data), self._last
        known = before.known if before else None
        sealed = verify_seal(self._with_steps(kept, known.height if known else 0), self._genesis, known)
        self._check_block(block, kept.header)
        if kept.header.next_validators != validators_hash(in_order(roster.validators)):
            raise BadProof(f"header {kept.header.height} names other voters to come than the roster has")
        self._check_step(kept.header, sealed, roster)
        self._header = kept.header
        return sealed

    def _check_block(self, block: FinalBlock, following: CometHeader) -> None:
        """Check a final block's row against its own header, which is in the seal before, and against the next."""
        if following.last_hash != block.hash:
            raise BadProof("the final block's hash is not the one that the next header names")
        own = self._header
        if own is None:
            if block.height == 1 and block.time != self._genesis.created:
                raise BadProof("the first final block's time is not that of the genesis")
            return
        if own.height != block.height or own.time != block.time:
            raise BadProof("the final block's height or time is not that of its header")
        if own.data != root_of([leaf_hash(tx_id(tx)) for tx in block.txs]):
            raise BadProof("the final block's transactions are not those of its header")
        if block.misbehaviour and own.evidence == EMPTY_ROOT:
            raise BadProof("the final block names misbehaviour, its header has no evidence of any")

    def _check_step(self, header: CometHeader, sealed: Sealed, roster: Roster) -> None:
        data = self._steps.get(header.height)
        if header.next_validators == header.validators:
            return
        if data is None:
            raise BadProof(f"the change of voters that header {header.height} names is missing")
        step, following = Step.decode(data), in_order(roster.validators)
        assert sealed.known is not None, "a seal of this engine says who signed it"
        check_header(step.header, step.commit, chain_id(self._genesis.hash), sealed.known.validators)
        if step.header != header or list(step.validators) != following:
            raise BadProof(f"the change of voters kept for header {header.height} is another one")
        self._used.add(header.height)
