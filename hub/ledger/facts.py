"""What follows from bytes alone, remembered for a while: transactions read, headers read, signatures found good.

Intake, check and finalize each need them of the same bytes, and pay once. None of it depends on the state, so no
cache here can change any verdict. All are safe for several threads.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.chain.alarm import Alarm
from gateway.chain.block import Header, header_hash
from gateway.chain.entries import GatewayEntry
from gateway.chain.genesis import Genesis
from gateway.chain.keys import Signed
from gateway.chain.ordered import Transaction, decode_transaction
from gateway.chain.verify import check_alarm_signature, check_header_signature, read_header
from hub.consensus.base import tx_id
from hub.ledger.items import Item, list_items

_CACHE: Final = 8192
_CACHE_BYTES: Final = 16 << 20


class HeaderCache:
    """Headers read and their signatures found good lately."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self._headers: dict[bytes, Header] = {}
        self._signed: dict[tuple[int, bytes, bytes, bytes], None] = {}

    def read(self, signed: Signed) -> tuple[Header, bytes]:
        """Return a signed header of this chain and its hash. Raises ChainError."""
        identity = header_hash(signed.body)
        header = self._headers.get(identity)
        if header is None:
            header = self._headers[identity] = read_header(signed, self._genesis)
            _trim(self._headers)
        return header, identity

    def check_signature(self, signed: Signed, identity: bytes, public: bytes) -> None:
        """Check the signature of the header of this hash. Raises UnsupportedSuite or BadSignature."""
        key = (signed.suite, identity, signed.signature, public)
        if key not in self._signed:
            check_header_signature(signed, public)
            self._signed[key] = None
            _trim(self._signed)


class Facts:
    """All that is remembered for one chain."""

    def __init__(self, genesis: Genesis) -> None:
        self.headers = HeaderCache(genesis)
        self._transactions: dict[bytes, tuple[Transaction, tuple[Item, ...]]] = {}
        self._bytes = 0
        self._alarms: dict[tuple[object, ...], None] = {}
        self._entries: dict[bytes, GatewayEntry] = {}

    def read(self, tx: bytes) -> tuple[Transaction, tuple[Item, ...]]:
        """Return the transaction of these bytes and the items in it. Raises FormatError."""
        identity = tx_id(tx)
        found = self._transactions.get(identity)
        if found is None:
            transaction = decode_transaction(tx)
            found = transaction, list_items(transaction, self.headers.read)
            if self._bytes > _CACHE_BYTES:
                self._transactions.clear()
                self._bytes = 0
            self._transactions[identity] = found
            self._bytes += len(tx)
        return found

    def check_alarm(self, alarm: Alarm, entry: GatewayEntry) -> None:
        """Check an alarm under a key that may sign one now. Raises BadSignature."""
        fact = (alarm.mark, alarm.suite, alarm.hash, alarm.signature, entry.alarm_keys)
        if fact not in self._alarms:
            check_alarm_signature(alarm, entry)
            self._alarms[fact] = None
            _trim(self._alarms)

    def entry(self, value: bytes) -> GatewayEntry:
        """Return the gateway's entry of these bytes."""
        entry = self._entries.get(value)
        if entry is None:
            entry = self._entries[value] = GatewayEntry.decode(value)
            _trim(self._entries)
        return entry


def _trim(cache: dict[Any, Any]) -> None:
    if len(cache) > _CACHE:
        cache.clear()  # at once: taking out one by one would need a lock
