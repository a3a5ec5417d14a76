"""Chains that go on in another: what their hub signs at the end, and how a gateway's standing comes over.

The new genesis lists what it takes over; who trusts that genesis trusts the list, so nothing here needs the old
one but the check of the old hub's signature, which founders and gateways make before they follow it. Invariants:

- a gateway comes over as the old chain's last state shows it: its keys, its head, its standing, its contracts;
- words that gateways gave under a chain taken over, transitions that is, count in the one that took it over, and
  no further.
"""

from __future__ import annotations

from gateway.chain.entries import GOOD, ContractsEntry, GatewayEntry, contracts_key, gateway_key
from gateway.chain.errors import BadRecord, WrongChain
from gateway.chain.genesis import EMBEDDED, Genesis, Takeover, TakeoverBody
from gateway.chain.keys import SUITE, TAKEOVER, gateway_id, verify
from gateway.chain.leaf import EQUIVOCATE, IMPORT, REVOKE
from gateway.chain.ordered import Import


def verify_takeover(takeover: Takeover, genesis: Genesis, old: Genesis) -> None:
    """Check that the hub of the chain `old` closed it in favour of `genesis`. Raises ChainError."""
    old.require(takeover.genesis, "the takeover")
    if old.engine != EMBEDDED:
        raise BadRecord("only a chain of the embedded engine can be taken over: one hub ends it")
    body = TakeoverBody(old.hash, takeover.height, takeover.app_hash, genesis.successor)
    verify(old.hubs[0].key, TAKEOVER, SUITE, body.encode(), takeover.signature)


def find_takeover(genesis: Genesis, old: bytes) -> Takeover:
    """Return what a genesis says of a chain that it takes over, by that chain's genesis hash. Raises WrongChain."""
    for each in genesis.takeovers:
        if each.genesis == old:
            return each
    raise WrongChain(f"chain {old.hex()[:16]} is none that {genesis.hash.hex()[:16]} takes over")


def verify_import(record: Import, genesis: Genesis) -> tuple[GatewayEntry, ContractsEntry | None]:
    """Return a gateway's entry and contract set as they stood when its chain was taken over. Raises ChainError."""
    if record.app.hash != find_takeover(genesis, record.takeover).app_hash:
        raise BadRecord("the import is from another state than the one that was taken over")
    value = record.entry.holds(record.app, gateway_key(record.gateway))
    granted = record.contracts.holds(record.app, contracts_key(record.gateway))
    if value is None:
        raise BadRecord(f"gateway {record.gateway.hex()[:16]} was never enrolled in the chain taken over")
    entry = GatewayEntry.decode(value)
    if gateway_id(entry.keys[0].key) != record.gateway:
        raise BadRecord("the chain taken over holds another gateway's keys under this identity")
    _check_entry(entry)
    return entry, None if granted is None else ContractsEntry.decode(granted)


def _check_entry(entry: GatewayEntry) -> None:
    """Check what holds for every gateway, and for one that comes over too: the old hub alone vouches for its state."""
    starts, keys = [span.first for span in entry.keys], {span.key for span in entry.keys}
    if len(keys) != len(starts) or starts != sorted(set(starts)) or starts[0] < 1:
        raise BadRecord("the chain taken over holds keys of this gateway that do not follow one another")
    if entry.standing not in (GOOD, REVOKE, EQUIVOCATE, IMPORT):
        raise BadRecord(f"the chain taken over holds this gateway at {entry.standing}, which is no standing")
