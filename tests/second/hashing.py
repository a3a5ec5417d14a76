"""Hashes and trees of the ledger, and those of CometBFT, as the format's page has them (sections 2, 3 and 9)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import cbor2

Item = Any  # an integer, bytes, a text, or a list of items


def encode(item: Item) -> bytes:
    return cbor2.dumps(item, canonical=True)


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def domain_hash(domain: str, data: bytes) -> bytes:
    return sha256(domain.encode(), b"\0", data)


# Trees (section 3)


def log_root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return sha256()
    if len(leaves) == 1:
        return sha256(b"\0", leaves[0])
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1", log_root(leaves[:half]), log_root(leaves[half:]))


def log_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    if len(leaves) <= 1:
        return []
    half = 1 << (len(leaves) - 1).bit_length() - 1
    if index < half:
        return [*log_path(leaves[:half], index), log_root(leaves[half:])]
    return [*log_path(leaves[half:], index - half), log_root(leaves[:half])]


def state_path(key: bytes) -> bytes:
    return domain_hash("tocsin/state-key/v1", key)


class State:
    """The key-sorted tree over a few entries."""

    def __init__(self, entries: Mapping[bytes, bytes]) -> None:
        self.entries = {state_path(key): sha256(value) for key, value in entries.items()}

    def root(self) -> bytes:
        return self._subtree(list(self.entries), 0)

    def proof(self, key: bytes) -> Item:
        target, paths, siblings = state_path(key), list(self.entries), []
        while len(paths) > 1:
            depth = len(siblings)
            beside = [path for path in paths if _bit(path, depth) != _bit(target, depth)]
            siblings.append(self._subtree(beside, depth + 1))
            paths = [path for path in paths if path not in beside]
        return [siblings, *((paths[0], self.entries[paths[0]]) if paths else (b"", b""))]

    def _subtree(self, paths: list[bytes], depth: int) -> bytes:
        if not paths:
            return bytes(32)
        if len(paths) == 1:
            return sha256(b"\0", paths[0], self.entries[paths[0]])
        left = [path for path in paths if not _bit(path, depth)]
        right = [path for path in paths if _bit(path, depth)]
        return sha256(b"\1", self._subtree(left, depth + 1), self._subtree(right, depth + 1))


def _bit(path: bytes, depth: int) -> int:
    return path[depth // 8] >> (7 - depth % 8) & 1


# CometBFT's hashes (section 9)


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _fixed(field: int, value: int) -> bytes:
    return _varint(field << 3 | 1) + value.to_bytes(8, "little", signed=True) if value else b""


def _nested(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _string(field: int, data: bytes) -> bytes:
    return _nested(field, data) if data else b""


def _time(seconds: int, nanos: int) -> bytes:
    return _number(1, seconds) + _number(2, nanos)


def _block_id(block: bytes, parts: int, parts_hash: bytes) -> bytes:
    return _string(1, block) + _nested(2, _number(1, parts) + _string(2, parts_hash))


def set_hash(validators: Item) -> bytes:
    return log_root([_nested(1, _string(1, key)) + _number(2, power) for key, power in validators])


def header_hash(header: Item) -> bytes:
    block_version, app_version, chain_id, height, seconds, nanos, *last = header
    leaves = [_number(1, block_version) + _number(2, app_version)]
    leaves += [_string(1, chain_id.encode()), _number(1, height)]
    leaves += [_time(seconds, nanos), _block_id(*last[:3])]
    return log_root(leaves + [_string(1, value) for value in last[3:]])


def sign_bytes(header: Item, commit: Item, seconds: int, nanos: int) -> bytes:
    vote = _number(1, 2) + _fixed(2, header[3]) + _fixed(3, commit[0])
    vote += _nested(4, _block_id(header_hash(header), commit[1], commit[2]))
    vote += _nested(5, _time(seconds, nanos)) + _string(6, header[2].encode())
    return _varint(len(vote)) + vote


def in_order(validators: Item) -> Item:
    return sorted(validators, key=lambda one: (-one[1], sha256(one[0])[:20]))
