"""Report by exception: what is left out lay within the dead band, and every value around a transition is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rig import AIR, GAS, Rig

from gateway.chain.block import Header
from gateway.chain.events import Earlier
from gateway.chain.reading import open_segment, parse_leaf
from gateway.config import SealTable
from gateway.recording.policy import Policy
from gateway.storage.store import Store

PERIOD_MS = 100


@given(
    st.lists(st.tuples(st.integers(-30, 30), st.integers(0, 40)), min_size=1, max_size=120),
    st.integers(1, 12),
    st.integers(1, 3_000),
    st.integers(0, 2_000),
)
def test_what_is_left_out_lay_within_the_dead_band_and_no_gap_is_longer_than_stated(
    samples: list[tuple[int, int]], band: int, longest: int, ring: int
) -> None:
    """Samples are (value, dice); at a 0 there is a transition, whose ring and what follows are kept whole."""
    policy = Policy(band, longest, ring)
    taken, kept, transitions = {}, {}, []
    for number, (value, dice) in enumerate(samples):
        at = number * PERIOD_MS
        taken[at] = value
        if policy.keeps(value, at):
            kept[at] = value
        if dice == 0:
            transitions.append(at)
            kept |= dict(policy.commit(at))
    last = None
    for at, value in taken.items():
        if at in kept:
            last = at, value
        else:
            assert last is not None
            assert at - last[0] < longest
        if any(moved - ring <= at <= moved + ring for moved in transitions):
            assert kept[at] == value
    judged = [(at, value) for at, value in taken.items() if at not in kept]
    for at, value in judged:
        basis = [each for each in sorted(kept) if each < at]
        assert any(abs(value - kept[each]) <= band for each in basis)


def test_values_from_before_the_open_block_are_kept_for_a_transition_too(tmp_path: Path) -> None:
    kept = replace(GAS.series[0], dead_band=50, longest_s=3600, class_="internal")
    gas = replace(GAS, series=(kept,))
    rig = Rig(tmp_path, sensors=(gas, AIR), seal=SealTable(seconds=5))
    values = [100 + number % 40 for number in range(80)]
    for value in values:
        rig.advance(0.1)
        rig.gas(value)
        rig.air(215)  # whose every value is kept, so that each block ends late
        rig.recorder.tick()
        rig.settle()
    assert rig.store.last_number() >= 1
    rig.advance(0.1)
    rig.gas(900_000)
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    taken: dict[int, int] = {}
    told: list[Earlier] = []
    for stored in store.drafts():
        header, block = Header.decode(stored.header), store.message(stored)
        for head, data in zip(header.segments, block.segments, strict=True):
            opened = open_segment(head.klass, data)
            triples = zip(opened.series, opened.offsets, opened.values, strict=True)
            taken |= {header.mono + offset: value for index, offset, value in triples if index == 0}
            events = [parse_leaf(leaf) for _, leaf in opened.events]
            early = [each for each in events if isinstance(each, Earlier) and each.series == 0]
            assert not early or head.klass == 1
            told += early
            for each in early:
                taken |= {header.mono + each.offset - v.back: v.value for v in each.values}
    store.close()
    assert told
    assert [taken[at] for at in sorted(taken)] == [*values, 900_000]
