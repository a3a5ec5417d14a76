"""How a hub that joins, or was away for too long, begins by a snapshot instead of replaying every final block.

It asks two or more members for the snapshots they have, takes the latest that two of them show alike, and verifies
its final block's checkpoint under the genesis. That checkpoint is all that is trusted: the engine's light client
starts from its header, and the snapshot is held against its application hash. One thing in a snapshot is under no
hash of the chain: in which final block a record stood. For that the word of two hubs is taken, so that those named
should be of different agencies.

Owned: whether to begin so, what is asked, what is emptied before. Not owned: the taking in
(`hub.federation.snapshot_taking`).

Invariants:
- Nothing is emptied but what the others have: tables of the chain, the engine's blocks and state. What the engine
  signed last, its keys, bodies and promises stay.
- A hub whose ledger stands on final blocks of its own is never emptied by itself: `forget` is an operator's word.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.chain.cometbft import CometSeal
from gateway.chain.errors import BadProof, ChainError
from gateway.chain.finality import Checkpoint
from gateway.chain.genesis import COMETBFT, Genesis
from hub.backup import forget_chain
from hub.config import Config, load_config, load_genesis
from hub.errors import ConfigError, ConsensusError, HubError
from hub.federation.light_relay import LightRelay
from hub.federation.snapshot_taking import Beginning
from hub.lock import only_one
from hub.peers.link import PeerLink
from hub.storage.store import Store

SHOWN: Final = "/v1/snapshots"
ENOUGH: Final = 2
_MAX_LIST: Final = 64 << 10
_MAX_CHECKPOINT: Final = 4 << 20
_ENGINE_DATA: Final = ("blockstore.db", "state.db", "evidence.db", "tx_index.db", "cs.wal")
_TRIES: Final = 30
_PAUSE: Final = 1.0

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


def begin(config: Config, genesis: Genesis, store: Store, stack: ExitStack) -> Beginning | None:
    """Return what this hub is to begin with; None where it has begun, or is to replay. The engine must be down.

    Whatever the engine asks for it is handed on until the stack is left. Raises ConsensusError, StoreError,
    ConfigError.
    """
    names = set(config.federation.snapshot_from)
    if genesis.engine != COMETBFT or not names or store.chain.last_final() is not None:
        return None
    _empty(config, store.chain.committed() is not None)
    try:
        peers = [each for each in config.federation.peers if each.name in names]
        links = [PeerLink(each.url, each.ca_file) for each in peers]
    except OSError as error:
        raise ConfigError(f"a ca_file among the peers cannot be read: {error}") from error
    found, givers = _patiently(lambda: find_beginning(genesis, links))
    _log.info("begins with the snapshot of final block %d", found.height)
    return replace(found, servers=stack.enter_context(LightRelay(givers)).urls)


def forget(directory: Path) -> None:
    """Empty a stopped hub's chain, to be had from the others again. Raises HubError."""
    config = load_config(directory / "hub.toml")
    if load_genesis(config.directory / config.hub.genesis).engine != COMETBFT:
        raise ConfigError("this hub is alone: nobody else has its chain")
    with only_one(config.directory):
        _empty(config, with_ledger=True)


def find_beginning(genesis: Genesis, links: Sequence[PeerLink]) -> tuple[Beginning, list[PeerLink]]:
    """Ask hubs for the latest snapshot that two show alike, and verify its checkpoint.

    Return it with those who show it. Raises ConsensusError where there is none.
    """
    shown = [(link, _snapshots(link)) for link in links]
    count = Counter(each for _, found in shown for each in found)
    alike = [each for each, hubs in count.items() if hubs >= ENOUGH]
    if not alike:
        urls = ", ".join(link.url for link in links)
        raise ConsensusError(
            f"no two of {urls} show the same snapshot yet: wait until they have made one, or take snapshot_from out"
            " of hub.toml, to begin with the first final block"
        )
    height, identity = max(alike)
    givers = [link for link, found in shown if (height, identity) in found]
    for link in givers:
        try:
            return _verified(genesis, link, height, identity), givers
        except (HubError, ChainError) as error:
            _log.warning("%s gives no checkpoint to begin with: %s", link.url, error)
    raise ConsensusError(
        f"none of {len(givers)} hubs proves final block {height}, of which they show a snapshot"
    )


def _verified(genesis: Genesis, link: PeerLink, height: int, identity: bytes) -> Beginning:
    """Return a beginning once its checkpoint holds, with all changes of voters up to its own header.

    That header may name such a change itself, which only the next checkpoint shows. Raises HubError, ChainError.
    """
    own, following = (_checkpoint(link, each) for each in (height, height + 1))
    places = [each.verify(genesis).height for each in (own, following)]
    if places != [height, height + 1]:
        raise BadProof(f"checkpoints of final blocks {places} come for {height} and the next")
    return Beginning(identity, own, CometSeal.decode(following.seal.data).steps)


def _checkpoint(link: PeerLink, height: int) -> Checkpoint:
    data = link.get(f"/v1/checkpoint?height={height}", _MAX_CHECKPOINT)
    return Checkpoint.decode(data, max_size=_MAX_CHECKPOINT)


def _snapshots(link: PeerLink) -> set[tuple[int, bytes]]:
    """Return (height, hash) of what a hub shows; nothing where it does not answer."""
    try:
        shown: list[dict[str, Any]] = json.loads(link.get(SHOWN, _MAX_LIST))
        return {(int(each["height"]), bytes.fromhex(each["hash"])) for each in shown}
    except (HubError, ValueError, LookupError, TypeError) as error:
        _log.warning("%s shows no snapshots: %s", link.url, error)
        return set()


def _patiently(find: Callable[[], _T]) -> _T:
    """Try for a while: the others may be about to make one. Raises ConsensusError."""
    for _ in range(_TRIES - 1):
        try:
            return find()
        except ConsensusError as error:
            _log.info("%s", error)
            time.sleep(_PAUSE)
    return find()


def _empty(config: Config, with_ledger: bool) -> None:
    """Empty what the others give again. Raises StoreError, ConfigError."""
    if with_ledger:
        forget_chain(config.ledger)
    data = Path(config.federation.engine_home) / "data"
    try:
        for name in _ENGINE_DATA:
            if (data / name).exists():
                shutil.rmtree(data / name)
    except OSError as error:
        raise ConfigError(f"{data} cannot be emptied: {error}") from error
