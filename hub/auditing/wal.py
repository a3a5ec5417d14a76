"""SQLite's write-ahead log, read for one question: does it hold commits that SQLite will not see?

SQLite stops reading at the first frame whose checksum does not hold and says nothing, for that is how a
transaction that was never finished looks. A damaged bit looks the same and takes every later commit with it.
Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_BIG_ENDIAN: Final = 0x377F0683
_MASK: Final = 0xFFFFFFFF


def lost_commits(database: Path) -> int:
    """Return how many commits stand in a database's write-ahead log behind the place where its checksums break."""
    try:
        data = database.with_name(database.name + "-wal").read_bytes()
    except OSError:
        return 0
    if len(data) < _HEADER.size + _FRAME.size:
        return 0
    magic, _, page, _, *salts, one, two = _HEADER.unpack_from(data)
    order = ">" if magic == _BIG_ENDIAN else "<"
    sums = _checksum(data[:24], order, (0, 0))
    whole = sums == (one, two)
    if not whole:  # the header is damaged: go by what the first frame says
        salts = list(_FRAME.unpack_from(data, _HEADER.size)[2:4])
    lost = 0
    for size, frame_salts, frame_sums, signed in _frames(data, page):
        if frame_salts != salts:
            break  # left over from before the log was last begun anew
        if whole:
            sums = _checksum(signed, order, sums)
            whole = sums == frame_sums
        lost += not whole and size > 0
    return lost


def _frames(data: bytes, page: int) -> Iterator[tuple[int, list[int], tuple[int, int], bytes]]:
    """Yield of each frame: the database's size if it is a commit's last, salts, checksums, and what they cover."""
    step = _FRAME.size + (page if 512 <= page <= 65536 else 4096)
    for at in range(_HEADER.size, len(data) - step + 1, step):
        _, size, salt_one, salt_two, one, two = _FRAME.unpack_from(data, at)
        yield size, [salt_one, salt_two], (one, two), data[at : at + 8] + data[at + _FRAME.size : at + step]


def _checksum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    one, two = sums
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & _MASK
        two = (two + odd + one) & _MASK
    return one, two
