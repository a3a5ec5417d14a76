"""The engine of a federation's hub as its configuration and the chain's roster have it.

Owned: which peers are dialled and let in. Not owned: the engine itself (`hub.consensus.comet`).
Invariant: whom to speak to is the roster's word; the configuration only says where they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from gateway.chain.governance import Roster
from hub.config import Config, Identity
from hub.consensus.base import SnapshotProvider
from hub.consensus.comet import Comet
from hub.consensus.comet_home import CometSettings, Peer, address
from hub.federation.config import split_address
from hub.federation.snapshot_taking import Beginning, Taking
from hub.federation.snapshots import Snapshots
from hub.ledger.ledger import Ledger
from hub.storage.store import Store

_log = logging.getLogger(__name__)


def comet_settings(config: Config, roster: Roster, begin: Beginning | None = None) -> CometSettings:
    """Return how the engine is to be run, given who belongs to the federation now, and with what it begins."""
    table = config.federation
    host, port = split_address(table.p2p)
    return CometSettings(
        home=Path(table.engine_home),
        host=host,
        port=port,
        peers=_peers(config, roster),
        program=table.binary,
        interval=float(table.idle_seconds),
        timeouts=table.waits,
        state_sync=begin.sync if begin else None,
        prunes=not table.archive,
    )


def make_comet(
    config: Config,
    identity: Identity,
    ledger: Ledger,
    store: Store,
    snapshots: SnapshotProvider | None = None,
    begin: Beginning | None = None,
) -> Comet:
    """Return the engine, to be started. Raises ConsensusError."""
    genesis = identity.genesis

    def allows(who: bytes) -> bool:
        return any(address(each.key) == who for each in ledger.committed.roster(genesis).members)

    def powers() -> dict[bytes, int]:
        return {address(each.key): each.power for each in ledger.committed.roster(genesis).members}

    settings = comet_settings(config, ledger.committed.roster(genesis), begin)
    return Comet(
        ledger,
        store.chain,
        genesis,
        identity.key,
        settings,
        allows_peer=allows,
        powers=powers,
        snapshots=snapshots,
    )


def make_snapshots(
    config: Config, ledger: Ledger, store: Store, begin: Beginning | None, anew: Callable[[str], None]
) -> Snapshots:
    """Return what makes snapshots here and takes one in, to be started.

    `anew` is told why the hub has to start anew: a final block stands on the one that was taken in, or none comes.
    """
    table, database, directory = config.federation, store.database, config.directory
    taking = Taking(directory, database, ledger.chain, begin) if begin else None
    return Snapshots(
        directory,
        database,
        table.snapshot_every,
        keep=table.keep_blocks,
        taking=taking,
        begun=ledger.load,
        anew=anew,
    )


def _peers(config: Config, roster: Roster) -> tuple[Peer, ...]:
    keys = {each.name: each.key for each in roster.members}
    found = []
    for each in config.federation.peers:
        if each.name not in keys:
            _log.warning("peer %r is no member as far as this hub knows: it is not dialled", each.name)
        elif each.p2p and each.name != config.hub.name:
            found.append(Peer(keys[each.name], each.p2p))
    return tuple(found)
