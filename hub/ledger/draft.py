"""Log and state as they would stand after the final block in hand: what the rules of application work on.

A `Draft` is the committed state with all that was changed since. It looks nothing up but what it is given, so
that the same final block changes the same on every hub.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from gateway.chain.entries import GatewayEntry, gateway_key, roster_key
from gateway.chain.errors import UnknownGateway
from gateway.chain.genesis import Genesis
from gateway.chain.governance import Roster, founding_roster
from gateway.chain.leaf import ALARMS, HEADERS, LogLeaf
from gateway.chain.record import Record
from gateway.chain.state import StateTree
from gateway.chain.trees import leaf_hash
from hub.ledger.facts import Facts


@dataclass(frozen=True, slots=True)
class NewLeaf:
    """A leaf that a transaction added to the log: its leaf hash, its bytes, and what they say."""

    hash: bytes
    data: bytes
    leaf: LogLeaf


class Draft:
    """Log and state as a transaction finds them, with what was changed since `tree`.

    `in_log` answers for the committed log, which has `size` leaves; `leaves`, `records` and `entries` are new.
    """

    def __init__(
        self, genesis: Genesis, tree: StateTree, size: int, in_log: Callable[[bytes], bool], facts: Facts
    ) -> None:
        self.genesis, self.facts = genesis, facts
        self.leaves: list[NewLeaf] = []
        self.records: list[tuple[bytes, int, bytes]] = []
        """New records: (hash, kind of leaf, gateway)."""
        self._tree, self._size, self._in_log = tree, size, in_log
        self._fresh: set[bytes] = set()
        self._gateways: dict[bytes, GatewayEntry] = {}
        self._entries: dict[bytes, bytes] = {}

    @property
    def size(self) -> int:
        """The index that the next leaf will have."""
        return self._size + len(self.leaves)

    def entries(self) -> dict[bytes, bytes]:
        """Return the state entries that were added or replaced."""
        gateways = {gateway_key(gateway): entry.encode() for gateway, entry in self._gateways.items()}
        changed = {key: value for key, value in gateways.items() if value != self._tree.get(key)}
        return self._entries | changed

    def get(self, key: bytes) -> bytes | None:
        """Return a state entry other than a gateway's own."""
        return self._entries[key] if key in self._entries else self._tree.get(key)

    def put(self, key: bytes, value: Record) -> None:
        """Add or replace a state entry other than a gateway's own."""
        self._entries[key] = value.encode()

    @property
    def roster(self) -> Roster:
        """Who belongs to the federation now."""
        return read_roster(self.get(roster_key()), self.genesis)

    def gateway(self, gateway: bytes) -> GatewayEntry:
        """Return a gateway's entry. Raises UnknownGateway."""
        entry = self._gateways.get(gateway)
        if entry is None:
            value = self._tree.get(gateway_key(gateway))
            if value is None:
                raise UnknownGateway(f"gateway {gateway.hex()[:16]} was never enrolled in this chain")
            entry = self._gateways[gateway] = self.facts.entry(value)
        return entry

    def has_gateway(self, gateway: bytes) -> bool:
        """Tell whether a gateway is known."""
        return gateway in self._gateways or self._tree.get(gateway_key(gateway)) is not None

    def set_gateway(self, gateway: bytes, entry: GatewayEntry) -> None:
        """Add or replace a gateway's entry."""
        self._gateways[gateway] = entry

    def has(self, leaf: LogLeaf) -> bool:
        """Tell whether an item is in the log."""
        identity = leaf_hash(leaf.encode())
        return identity in self._fresh or self._in_log(identity)

    def add(self, leaf: LogLeaf) -> None:
        """Add an item that is not in the log."""
        data = leaf.encode()
        identity = leaf_hash(data)
        self._fresh.add(identity)
        self.leaves.append(NewLeaf(identity, data, leaf))
        if leaf.kind not in (HEADERS, ALARMS):
            self.records.append((leaf.hash, leaf.kind, leaf.gateway))


def read_roster(value: bytes | None, genesis: Genesis) -> Roster:
    """Return the roster of a state entry's value, the genesis' own where there is none."""
    return founding_roster(genesis) if value is None else _decode_roster(value)


@lru_cache(maxsize=64)
def _decode_roster(value: bytes) -> Roster:
    """Decode a roster once: every record is held against it."""
    return Roster.decode(value)
