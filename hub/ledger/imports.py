"""What an import does to the state: a gateway of a chain that the genesis takes over, as that chain left it.

The old chain's hub signed one application hash when it closed, and the genesis lists it; so a gateway's entry
with its proof under that hash needs nobody's word. Its keys, head and contract set go on; times and positions
that mean something in the old log alone do not. Until it moves by an epoch change of its own, it alarms but
publishes no block.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.chain.entries import GOOD, GatewayEntry, KeyEnd, KeyEntry, contracts_key, key_end_key, key_key
from gateway.chain.errors import BadRecord
from gateway.chain.keys import NO_HASH
from gateway.chain.leaf import IMPORT, ROTATE
from gateway.chain.ordered import Import
from gateway.chain.takeover import verify_import
from gateway.chain.tenure import NOWHERE, Position
from hub.ledger.draft import Draft
from hub.ledger.records import NO_BOOT


def import_gateway(draft: Draft, transaction: Import, time: int) -> None:
    """Take a gateway up as the old chain's last state has it."""
    gateway = transaction.gateway
    old, contracts = verify_import(transaction, draft.genesis)
    if draft.has_gateway(gateway):
        raise BadRecord(f"gateway {gateway.hex()[:16]} is known here already")
    standing = old.standing if old.standing not in (GOOD, IMPORT) else IMPORT
    entry = replace(old, standing=standing, opened_at=draft.size, boot=NO_BOOT, mono=0, seen=0, epochs=())
    draft.set_gateway(gateway, entry)
    _put_keys(draft, gateway, entry, transaction.hash)
    if contracts is not None:
        draft.put(contracts_key(gateway), contracts)


def _put_keys(draft: Draft, gateway: bytes, entry: GatewayEntry, record: bytes) -> None:
    """Put the beginnings and ends of all keys. Those of a gateway in bad standing vouch for nothing here."""
    for place, span in enumerate(entry.keys):
        draft.put(key_key(gateway, span.key), KeyEntry(gateway, span.key, span.first, IMPORT, record))
        if entry.standing != IMPORT:
            draft.put(key_end_key(gateway, span.key), KeyEnd(entry.standing, NOWHERE, record))
        elif place + 1 < len(entry.keys):
            last = Position(0, entry.keys[place + 1].first - 1, NO_HASH)
            draft.put(key_end_key(gateway, span.key), KeyEnd(ROTATE, last, record))
