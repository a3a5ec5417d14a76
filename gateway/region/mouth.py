"""What all hubs' senders share, and how each connects.

Owns no behaviour of its own: `gateway.region.sync` uses the parts, `gateway.region.membership` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.chain.genesis import Genesis
from gateway.config import HubTable
from gateway.mqtt.config import LinkConfig, Will
from gateway.region.federation import Federation
from gateway.region.herald import Herald
from gateway.region.keeper import Identity, Keeper
from gateway.region.orders import Orders
from gateway.region.topics import Topics
from gateway.storage.rows import Transition
from gateway.storage.store import Store
from gateway.synchrony import Synchrony

__all__ = ["Mouth", "link_config"]


@dataclass(frozen=True, slots=True)
class Mouth:
    """What all hubs' senders share.

    Attributes:
        unwritten: transitions that have no row yet; their alarms are sent all the same.
        roots: of the catalogue and the contract set in force.
        receipted: told which blocks have receipts now, by the name of the hub that keeps them.
        succeeded: told of this chain's genesis and of the one that takes it over.
        time: what hubs say of it is taken up there.
    """

    identity: Identity
    federation: Federation
    region: str
    store: Store
    keeper: Keeper
    herald: Herald
    orders: Orders
    heartbeat_s: float
    unwritten: Callable[[], Sequence[Transition]]
    roots: Callable[[], tuple[bytes, bytes]]
    receipted: Callable[[Mapping[str, Sequence[int]]], None]
    succeeded: Callable[[Genesis, Genesis], None]
    time: Synchrony


def link_config(
    table: HubTable, topics: Topics, doubt_ms: Callable[[], int | None] = lambda: None
) -> LinkConfig:
    """Return how to reach a hub's broker; `doubt_ms` as in `LinkConfig`."""
    files = (table.password_file, table.ca_file, table.cert_file, table.key_file)
    password, ca, cert, key = (Path(name) if name else None for name in files)
    return LinkConfig(
        url=table.url,
        client_id=topics.gateway.hex(),
        subscriptions=topics.subscriptions,
        will=Will(topics.own("death"), b""),
        password_file=password,
        ca_file=ca,
        cert_file=cert,
        key_file=key,
        doubt_ms=doubt_ms,
    )
