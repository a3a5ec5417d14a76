"""Seals of a federation: for each final block H, header H+1 with its commit, verified before it is kept.

Owned: reading the engine's headers, commits and voters; the thread that seals in order and tells of it. Not
owned: what was decided, and where seals are kept.

Invariants:
- A seal is stored after the change of voters that it rests on, and before anybody hears of its final block.
- Nil and absent votes are left out, and so is any signature that libsodium refuses.
- Final blocks of before this start are sealed where they were not, and not told of again.
"""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from gateway.chain.cometbft import (
    CometHeader,
    CometSeal,
    Commit,
    Precommit,
    Step,
    chain_id,
    check_header,
    in_order,
    sound_commit,
    validators_hash,
)
from gateway.chain.errors import BadProof, ChainError
from gateway.chain.finality import AppState, Checkpoint, Seal
from gateway.chain.genesis import COMETBFT, Genesis, Validator
from hub.consensus.base import FinalBlock, FinalEvent, Result
from hub.consensus.comet_rpc import RpcClient
from hub.errors import EngineRefusal, EngineSilent, StoreError

_COMMITTED: Final = 2  # BlockIDFlag of a vote for the block
_DROPPED: Final = "is not available, lowest height is"  # the engine's words for a block that was pruned
_SOON: Final = 0.05
_LATER: Final = 1.0
_MAX_WAITING: Final = 500

_log = logging.getLogger(__name__)


class SealStore(Protocol):
    """Where seals are kept. Every write is durable when it returns, or StoreError; a repeat changes nothing."""

    def checkpoint(self) -> Checkpoint | None: ...
    def add_seal(self, height: int, seal: Seal) -> None: ...
    def unsealed(self) -> list[tuple[int, int, AppState]]: ...
    def add_step(self, step: Step) -> None: ...
    def steps(self) -> tuple[Step, ...]: ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A final block to be sealed; what it did is known where it was applied since the start."""

    height: int
    app: AppState
    told: tuple[FinalBlock, Result] | None


class Sealer:
    """Seals final blocks from a thread of its own. `sealed` and `voters` are for any thread."""

    def __init__(
        self, store: SealStore, genesis: Genesis, rpc: RpcClient, tell: Callable[[FinalEvent], None]
    ) -> None:
        """`tell` is called with each final block once it is sealed, in order."""
        self._store, self._rpc, self._tell = store, rpc, tell
        self._name, self._first = chain_id(genesis.hash), tuple(in_order(genesis.validators))
        self._steps: tuple[Step, ...] = ()
        self._changed = threading.Condition()
        self._waiting: dict[int, _Waiting] = {}  # guarded by _changed, in order of height
        self._decided, self._stopping = 0, False  # guarded by _changed
        self._thread = threading.Thread(target=self._run, name="sealer")
        self.sealed: tuple[int, int] = (0, 0)
        """Height of the last final block that is sealed, and its seal's time (Unix ms)."""
        self.voters: tuple[bytes, ...] = ()
        """Public keys of those whose votes are in that seal."""

    def start(self) -> None:
        """Begin with what was left unsealed. Raises StoreError."""
        self._steps = self._store.steps()
        if (last := self._store.checkpoint()) is not None:
            seal = CometSeal.decode(last.seal.data)
            self._note(seal.header, seal.commit)
        for height, _, app in self._store.unsealed():
            self._waiting[height] = _Waiting(height, app, None)
            self._decided = height
        self._thread.start()

    def stop(self) -> None:
        """End; what is not sealed is sealed after the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._rpc.close()

    def decided(self, height: int) -> None:
        """Hear that header `height` and its commit are in the engine's store."""
        with self._changed:
            self._decided = max(self._decided, height)
            self._changed.notify_all()

    def committed(self, block: FinalBlock, result: Result) -> None:
        """Hear that a final block's effects are on disk; wait a little where seals fall far behind.

        The wait is short, because seals also wait for the engine: it must not wait for them in turn.
        """
        with self._changed:
            self._waiting[block.height] = _Waiting(block.height, result.app, (block, result))
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopping or len(self._waiting) <= _MAX_WAITING, _SOON)

    def voters_at(self, height: int) -> tuple[Validator, ...]:
        """Return the voters of a header, in the engine's order, as far as the changes are known."""
        at = [step for step in self._steps if step.header.height < height]
        return tuple(at[-1].validators) if at else self._first

    def _run(self) -> None:
        while (waiting := self._next()) is not None:
            pause = self._try(waiting)
            with self._changed:
                if not pause:
                    del self._waiting[waiting.height]
                    self._changed.notify_all()
                else:
                    self._changed.wait_for(lambda: self._stopping, pause)

    def _next(self) -> _Waiting | None:
        """Wait for a final block whose successor is decided; None means stop."""
        with self._changed:

            def ready() -> bool:
                return self._stopping or next(iter(self._waiting), self._decided) < self._decided

            self._changed.wait_for(ready)
            return None if self._stopping else next(iter(self._waiting.values()))

    def _try(self, waiting: _Waiting) -> float:
        """Seal one final block; return 0, or the seconds after which to try again."""
        try:
            self._seal(waiting)
        except EngineSilent:
            return _SOON
        except EngineRefusal as error:
            if _DROPPED in str(error):
                _log.error("final block %d stays without a seal of its own: %s", waiting.height, error)
                return 0
            _log.info("final block %d is not sealed yet: %s", waiting.height, error)
            return _LATER
        except StoreError as error:
            _log.error("final block %d waits for its seal to be written: %s", waiting.height, error)
            return _LATER
        except ChainError as error:
            _log.error("the engine's seal of final block %d does not hold: %s", waiting.height, error)
            self._steps = self._store.steps()  # a snapshot may have brought some
            return _LATER
        return 0

    def _seal(self, waiting: _Waiting) -> None:
        header, commit = read_signed_header(self._rpc.commit(waiting.height + 1))
        voters = self.voters_at(header.height)
        commit = sound_commit(header, commit, voters)
        check_header(header, commit, self._name, voters)
        if header.height != waiting.height + 1 or header.app_hash != waiting.app.hash:
            raise BadProof("it is over another final block than this hub's")
        steps = self._steps
        if header.next_validators != header.validators:
            self._step(header, commit)
        self._store.add_seal(waiting.height, _seal(header, commit))
        self._note(header, commit)
        if waiting.told is not None:
            block, result = waiting.told
            self._tell(FinalEvent(block, result, Checkpoint(waiting.app, _seal(header, commit, steps))))

    def _note(self, header: CometHeader, commit: Commit) -> None:
        voters = self.voters_at(header.height)
        self.sealed = header.height - 1, header.seconds * 1000 + header.nanos // 1_000_000
        self.voters = tuple(voters[vote.validator].key for vote in commit.precommits)

    def _step(self, header: CometHeader, commit: Commit) -> None:
        """Keep the change of voters that a header names."""
        if any(step.header.height == header.height for step in self._steps):
            return  # kept before a crash that came before the seal
        following = tuple(read_validator(each) for each in self._rpc.validators(header.height + 1))
        if validators_hash(following) != header.next_validators:
            raise BadProof(f"the engine shows other voters than header {header.height} names")
        step = Step(header, commit, following)
        self._store.add_step(step)
        self._steps += (step,)


def read_signed_header(document: Mapping[str, Any]) -> tuple[CometHeader, Commit]:
    """Return header and commit from the engine's JSON; votes for nothing are left out. Raises EngineRefusal."""
    try:
        return _header(document["header"]), _commit(document["commit"])
    except (LookupError, TypeError, ValueError, ChainError) as error:
        raise EngineRefusal(f"the engine shows no signed header: {error!r}") from error


def read_validator(document: Mapping[str, Any]) -> Validator:
    """Return a voter from the engine's JSON. Raises EngineRefusal."""
    try:
        return Validator(base64.b64decode(document["pub_key"]["value"]), int(document["voting_power"]))
    except (LookupError, TypeError, ValueError, ChainError) as error:
        raise EngineRefusal(f"the engine shows no voter: {error!r}") from error


def _seal(header: CometHeader, commit: Commit, steps: Sequence[Step] = ()) -> Seal:
    below = tuple(step for step in steps if step.header.height < header.height)
    return Seal(COMETBFT, CometSeal(below, header, commit).encode())


def _header(found: Mapping[str, Any]) -> CometHeader:
    version, last = found["version"], found["last_block_id"]
    seconds, nanos = _time(found["time"])
    return CometHeader(
        block_version=int(version["block"]),
        app_version=int(version.get("app", 0)),
        chain_id=found["chain_id"],
        height=int(found["height"]),
        seconds=seconds,
        nanos=nanos,
        last_hash=bytes.fromhex(last["hash"]),
        last_parts=int(last["parts"]["total"]),
        last_parts_hash=bytes.fromhex(last["parts"]["hash"]),
        last_commit=bytes.fromhex(found["last_commit_hash"]),
        data=bytes.fromhex(found["data_hash"]),
        validators=bytes.fromhex(found["validators_hash"]),
        next_validators=bytes.fromhex(found["next_validators_hash"]),
        consensus=bytes.fromhex(found["consensus_hash"]),
        app_hash=bytes.fromhex(found["app_hash"]),
        last_results=bytes.fromhex(found["last_results_hash"]),
        evidence=bytes.fromhex(found["evidence_hash"]),
        proposer=bytes.fromhex(found["proposer_address"]),
    )


def _commit(found: Mapping[str, Any]) -> Commit:
    parts = found["block_id"]["parts"]
    votes = tuple(
        Precommit(place, *_time(vote["timestamp"]), base64.b64decode(vote["signature"]))
        for place, vote in enumerate(found["signatures"])
        if vote["block_id_flag"] == _COMMITTED
    )
    return Commit(int(found["round"]), int(parts["total"]), bytes.fromhex(parts["hash"]), votes)


def _time(text: str) -> tuple[int, int]:
    """Return an RFC 3339 time in UTC as seconds and nanoseconds."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return int(moment.timestamp()), int(fraction.ljust(9, "0") or 0)
