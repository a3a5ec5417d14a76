"""ABCI 2.0 in the words of the seam: each of the engine's requests to the state machine, each answer back.

Owned: the translation, and the patience with a full disk. Not owned: the socket (`hub.consensus.abci`) and what
transactions do.

Invariants:
- A commit is answered only once it is on disk. While the store fails, the engine waits, and with it the chain
  at this hub; nothing is lost.
- The application hash of an empty chain is empty, not that of an empty state. So the first final block changes
  it, and the engine makes the second one, which carries the first seal, at once.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from gateway.chain.cometbft import chain_id
from gateway.chain.genesis import Genesis
from hub.consensus import abci_pb2 as pb
from hub.consensus.base import (
    ACCEPTED,
    REFUSED,
    Applied,
    FinalBlock,
    Misbehaviour,
    Result,
    SnapshotInfo,
    SnapshotProvider,
    StateMachine,
    TxResult,
)
from hub.errors import ConsensusError, ConsensusStopped, StoreError

APP_VERSION: Final = 1
DEFECT: Final = 4
_ACCEPT, _REJECT, _REJECT_SNAPSHOT = 1, 2, 3
_RETRY_SECONDS: Final = 1.0
_MAX_LOG: Final = 300
_TX_OVERHEAD: Final = 5  # bytes that a transaction of up to 16 MB takes in a block beside its own
_PEER: Final = "/p2p/filter/id/"
_ADDRESS: Final = "/p2p/filter/addr/"

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Follower(Protocol):
    """Who is told of final blocks, from the engine's thread; must be quick."""

    def decided(self, height: int) -> None:
        """Hear that the engine has decided a final block; it is in the engine's store, not yet applied."""
        ...

    def committed(self, block: FinalBlock, result: Result) -> None:
        """Hear that a final block's effects are on disk."""
        ...

    def checked(self, tx: bytes, result: TxResult) -> None:
        """Hear how a transaction was judged that waits here for its order, or would like to."""
        ...


class Application:
    """The ABCI application over a `StateMachine`."""

    def __init__(
        self,
        machine: StateMachine,
        genesis: Genesis,
        follower: Follower,
        allows_peer: Callable[[bytes], bool],
        snapshots: SnapshotProvider | None = None,
    ) -> None:
        """`allows_peer` judges a node's address (20 bytes) before it is spoken to."""
        self._machine, self._genesis, self._follower = machine, genesis, follower
        self._allows_peer, self._snapshots = allows_peer, snapshots
        self._stopping = threading.Event()
        self._finalized: tuple[FinalBlock, Result] | None = None
        self.trouble = ""
        """What the store fails at just now; empty while it works."""

    def stop(self) -> None:
        """Give up on a store that fails; what was not committed is finalized again after the next start."""
        self._stopping.set()

    def answer(self, request: pb.Request) -> pb.Response:
        """Answer a request. Raises ConsensusError for what cannot be answered, ConsensusStopped after `stop`."""
        match request.WhichOneof("value"):
            case "info":
                return pb.Response(info=self._info())
            case "init_chain":
                return pb.Response(init_chain=self._init_chain(request.init_chain))
            case "query":
                return pb.Response(query=self._query(request.query.path))
            case "check_tx":
                return pb.Response(check_tx=self._check(request.check_tx.tx))
            case "prepare_proposal":
                return pb.Response(prepare_proposal=self._prepare(request.prepare_proposal))
            case "process_proposal":
                accepted = self._machine.process(tuple(request.process_proposal.txs))
                return pb.Response(process_proposal=pb.Verdict(result=_ACCEPT if accepted else _REJECT))
            case "finalize_block":
                return pb.Response(finalize_block=self._finalize(request.finalize_block))
            case "commit":
                return pb.Response(commit=self._commit())
            case _:
                return self._snapshot(request)

    def _info(self) -> pb.Info:
        info = self._machine.info()
        return pb.Info(
            app_version=APP_VERSION, last_block_height=info.height, last_block_app_hash=info.app_hash
        )

    def _init_chain(self, request: pb.InitChain) -> pb.InitChainResult:
        expected = chain_id(self._genesis.hash), app_state(self._genesis)
        try:
            found = request.chain_id, json.loads(request.app_state)
        except ValueError:
            found = request.chain_id, None
        if found != expected or request.initial_height != 1:
            raise ConsensusError("the engine begins another chain than this hub's genesis")
        self._insist(lambda: self._machine.genesis(self._genesis.encode()))
        return pb.InitChainResult(app_hash=self._machine.info().app_hash)

    def _query(self, path: str) -> pb.QueryResult:
        """Say who may connect. An address is let in, because who is behind it shows itself next, by its key."""
        if path.startswith(_ADDRESS):
            return pb.QueryResult(code=ACCEPTED)
        try:
            allowed = path.startswith(_PEER) and self._allows_peer(bytes.fromhex(path.removeprefix(_PEER)))
        except ValueError:
            allowed = False
        if allowed:
            return pb.QueryResult(code=ACCEPTED)
        return pb.QueryResult(code=REFUSED, log="no member of this federation")

    def _check(self, tx: bytes) -> pb.TxResult:
        """Judge a transaction. A defect that one of them brings out must not stop every hub that hears of it."""
        try:
            result = self._machine.check(tx)
        except Exception as error:
            _log.exception("a defect in checking a transaction of %d bytes", len(tx))
            result = TxResult(DEFECT, f"a defect in the hub: {error!r}", 0)
        self._follower.checked(tx, result)
        return _tx_result(result)

    def _prepare(self, request: pb.PrepareProposal) -> pb.Txs:
        room = request.max_tx_bytes - _TX_OVERHEAD * len(request.txs)
        return pb.Txs(txs=self._machine.prepare(tuple(request.txs), room))

    def _finalize(self, request: pb.Proposal) -> pb.FinalizeBlockResult:
        block = final_block(request)
        self._follower.decided(block.height)
        result = self._insist(lambda: self._machine.finalize(block))
        self._finalized = block, result
        return pb.FinalizeBlockResult(
            tx_results=map(_tx_result, result.tx_results),
            validator_updates=[
                pb.ValidatorUpdate(key=pb.PublicKey(ed25519=each.key), power=each.power)
                for each in result.validator_updates
            ],
            app_hash=result.app_hash,
        )

    def _commit(self) -> pb.CommitResult:
        if self._finalized is None:
            raise ConsensusError("the engine commits what it did not finalize")
        retain, own = self._insist(self._machine.commit), self._snapshots
        if own is not None:
            height = self._finalized[0].height
            retain = max(retain, self._insist(lambda: own.committed(height)))
        self._follower.committed(*self._finalized)
        self._finalized = None
        return pb.CommitResult(retain_height=retain)

    def _snapshot(self, request: pb.Request) -> pb.Response:
        """Answer what is about snapshots; a hub without any says so, and is given none."""
        own = self._snapshots
        match request.WhichOneof("value"):
            case "list_snapshots":
                found = [] if own is None else [_to_snapshot(each) for each in own.snapshots()]
                return pb.Response(list_snapshots=pb.Snapshots(snapshots=found))
            case "offer_snapshot":
                offer = request.offer_snapshot
                taken = own is not None and own.offer(_from_snapshot(offer.snapshot), offer.app_hash)
                return pb.Response(offer_snapshot=pb.Verdict(result=_ACCEPT if taken else _REJECT_SNAPSHOT))
            case "load_snapshot_chunk":
                load = request.load_snapshot_chunk
                chunk = b"" if own is None else own.chunk(load.height, load.format, load.chunk)
                return pb.Response(load_snapshot_chunk=pb.Chunk(chunk=chunk))
            case "apply_snapshot_chunk":
                given = request.apply_snapshot_chunk
                applied = Applied.ABORTED if own is None else own.apply(given.index, given.chunk)
                return pb.Response(apply_snapshot_chunk=pb.Verdict(result=applied))
            case kind:
                raise ConsensusError(
                    f"the engine asks for {kind or 'something unknown'}, which this hub never does"
                )

    def _insist(self, write: Callable[[], _T]) -> _T:
        """Try until the store works. Raises ConsensusStopped once the hub stops."""
        while True:
            try:
                done = write()
            except StoreError as error:
                _log.error("the chain stands still at this hub until this succeeds: %s", error)
                self.trouble = str(error)
                if self._stopping.wait(_RETRY_SECONDS):
                    raise ConsensusStopped("the hub stops with a final block in hand") from error
            else:
                self.trouble = ""
                return done


def app_state(genesis: Genesis) -> dict[str, str]:
    """Return what the engine's genesis says of ours: its hash, which no hub can then mistake."""
    return {"genesis": genesis.hash.hex()}


def final_block(request: pb.Proposal) -> FinalBlock:
    """Return a decided block as the seam has it."""
    caught = tuple(
        Misbehaviour(each.validator.address, each.height, each.type) for each in request.misbehavior
    )
    time = request.time.seconds * 1000 + request.time.nanos // 1_000_000
    return FinalBlock(request.height, time, request.hash, tuple(request.txs), caught)


def _tx_result(result: TxResult) -> pb.TxResult:
    return pb.TxResult(code=result.code, log=result.error[:_MAX_LOG])


def _to_snapshot(info: SnapshotInfo) -> pb.Snapshot:
    return pb.Snapshot(
        height=info.height, format=info.format, chunks=info.chunks, hash=info.hash, metadata=info.metadata
    )


def _from_snapshot(message: pb.Snapshot) -> SnapshotInfo:
    return SnapshotInfo(message.height, message.format, message.chunks, message.hash, message.metadata)
