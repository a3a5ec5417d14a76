"""What is handed on together stands in one record of the journal, and comes apart again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.canonical import encode
from gateway.recording.feed import pack, unpack
from gateway.storage.journal import MAX_RECORD_BYTES

READING = st.lists(st.integers(0, 1 << 40), min_size=3, max_size=3).map(lambda each: encode([*each]))
EVENT = st.tuples(st.integers(0, 2), st.integers(0, 1 << 40), st.binary(max_size=9_000)).map(
    lambda each: encode([each[0], each[1], 1, each[2], b""])
)


@given(st.lists(READING | EVENT, max_size=40))
def test_records_come_apart_as_they_were(records: list[bytes]) -> None:
    written = list(pack(records))
    assert all(0 < len(each) <= MAX_RECORD_BYTES for each in written)
    assert unpack(written) == tuple(records)


@given(st.lists(READING, max_size=40))
def test_a_journal_from_before_reads_as_it_did(records: list[bytes]) -> None:
    assert unpack(records) == tuple(records)


def test_readings_that_come_together_cost_one_frame() -> None:
    readings = [encode([5, offset, 400]) for offset in range(100)]
    (written,) = pack(readings)
    assert len(written) <= sum(map(len, readings)) + len(readings) + 3
