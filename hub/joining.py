"""How a hub that joins, or was away for too long, begins by a snapshot instead of replaying every final block.

It asks two or more members for the snapshots they have, takes the latest that two of them show alike, and verifies
its final block's checkpoint under the genesis. That checkpoint is all that is trusted: the engine's light client
starts from its header, and the snapshot is held against its application hash.

Owned: whether to begin so, what is asked, what is emptied before. Not owned: the taking in (`hub.snapshot_taking`).

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
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateway.chain.cometbft import CometSeal
from gateway.chain.errors import BadProof, ChainError
from gateway.chain.finality import Checkpoint
from gateway.chain.genesis import COMETBFT, Genesis
from hub.backup import forget_chain
from hub.config import Config, load_config, load_genesis
from hub.errors import ConfigError, ConsensusError, HubError
from hub.lock import only_one
from hub.peers_link import PeerLink
from hub.snapshot_taking import Beginning
from hub.store import Store

RELAY: Final = "/v1/engine"
SHOWN: Final = "/v1/snapshots"
ENOUGH: Final = 2
_MAX_LIST: Final = 64 << 10
_MAX_CHECKPOINT: Final = 4 << 20
_ENGINE_DATA: Final = ("blockstore.db", "state.db", "evidence.db", "tx_index.db", "cs.wal")
_TRIES: Final = 30
_PAUSE: Final = 1.0

_log = logging.getLogger(__name__)


def begin(config: Config, genesis: Genesis, store: Store) -> Beginning | None:
    """Return what this hub is to begin with; None where it has begun, or is to replay. The engine must be down.

    Raises ConsensusError, StoreError, ConfigError.
    """
    urls = [config.federation.url(name) for name in config.federation.snapshot_from]
    if genesis.engine != COMETBFT or not urls or store.chain.last_final() is not None:
        return None
    _empty(config, store.chain.committed() is not None)
    found = _patiently(lambda: find_beginning(genesis, urls))
    _log.info("begins with the snapshot of final block %d", found.height)
    return found


def forget(directory: Path) -> None:
    """Empty a stopped hub's chain, to be had from the others again. Raises HubError."""
    config = load_config(directory / "hub.toml")
    if load_genesis(config.directory / config.hub.genesis).engine != COMETBFT:
        raise ConfigError("this hub is alone: nobody else has its chain")
    with only_one(config.directory):
        _empty(config, with_ledger=True)


def find_beginning(genesis: Genesis, urls: Sequence[str]) -> Beginning:
    """Ask the hubs at these addresses for the latest snapshot that two show alike, and verify its checkpoint.

    Raises ConsensusError where there is none.
    """
    shown = {url: _snapshots(url) for url in urls}
    count = Counter(each for found in shown.values() for each in found)
    alike = [each for each, hubs in count.items() if hubs >= ENOUGH]
    if not alike:
        raise ConsensusError(
            f"no two of {', '.join(urls)} show the same snapshot yet: wait until they have made one"
        )
    height, identity = max(alike)
    givers = [url for url, found in shown.items() if (height, identity) in found]
    for url in givers:
        try:
            servers = tuple(each.rstrip("/") + RELAY for each in givers)
            return _verified(genesis, url, height, Beginning(identity, _checkpoint(url, height), (), servers))
        except (HubError, ChainError) as error:
            _log.warning("%s gives no checkpoint to begin with: %s", url, error)
    raise ConsensusError(f"none of {', '.join(givers)} proves final block {height}")


def _verified(genesis: Genesis, url: str, height: int, found: Beginning) -> Beginning:
    """Return a beginning once its checkpoint holds, with all changes of voters up to its own header.

    That header may name such a change itself, which only the next checkpoint shows. Raises HubError, ChainError.
    """
    following = _checkpoint(url, height + 1)
    places = [each.verify(genesis).height for each in (found.checkpoint, following)]
    if places != [height, height + 1]:
        raise BadProof(f"checkpoints of final blocks {places} come for {height} and the next")
    return replace(found, steps=CometSeal.decode(following.seal.data).steps)


def _checkpoint(url: str, height: int) -> Checkpoint:
    data = PeerLink(url).get(f"/v1/checkpoint?height={height}", _MAX_CHECKPOINT)
    return Checkpoint.decode(data, max_size=_MAX_CHECKPOINT)


def _snapshots(url: str) -> set[tuple[int, bytes]]:
    """Return (height, hash) of what a hub shows; nothing where it does not answer."""
    try:
        shown: list[dict[str, Any]] = json.loads(PeerLink(url).get(SHOWN, _MAX_LIST))
        return {(int(each["height"]), bytes.fromhex(each["hash"])) for each in shown}
    except (HubError, OSError, ValueError, LookupError, TypeError) as error:
        _log.warning("%s shows no snapshots: %s", url, error)
        return set()


def _patiently(find: Callable[[], Beginning]) -> Beginning:
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
