"""The bench measures what the hub does: its sample is honest, and what it leaves behind audits clean."""

from __future__ import annotations

from pathlib import Path

from gateway.chain.reading import PUBLIC, open_segment
from hub.auditing.audit import audit
from hub.bench import Figure, Sample, run, settle
from hub.bench_anchors import measure_anchors, measure_heartbeats


def test_every_figure_has_a_name_a_unit_and_what_it_is_compared_with() -> None:
    figures = [figure.to_json() for figure in run(blocks_of_60=4, blocks_of_600=2)]
    assert [figure["name"] for figure in figures] == [
        *("ingest-60", "ingest-60-rows", "audit-60"),
        *("ingest-600", "ingest-600-rows", "audit-600"),
    ]
    for figure in figures:
        assert figure["unit"] == "readings/s"
        assert ("limit" in figure) != ("peer" in figure)
        assert isinstance(figure["ratio"], float)
        assert figure["ratio"] > 0


def test_the_samples_blocks_are_such_as_a_hub_takes_in(tmp_path: Path) -> None:
    sample = Sample(60, 70)
    assert sample.count == 4200
    assert len(open_segment(PUBLIC, sample.blocks[0].segments[0]).leaves) == 60
    settle(sample, tmp_path)
    report = audit(tmp_path)
    assert (report.verdict, report.blocks, report.readings) == ("ok", 70, 4200)


def test_a_ratio_is_the_value_by_its_limit_or_peer() -> None:
    assert Figure("x", 3.0, "s", limit=4.0).ratio == 0.75
    assert Figure("x", 3.0, "s", peer=2.0).ratio == 1.5
    assert Figure("x", 3.0, "s").to_json() == {"name": "x", "value": 3.0, "unit": "s"}


def test_a_hub_alone_makes_anchors_final_and_empty_blocks_between() -> None:
    single, batched = measure_anchors(20, 1), measure_anchors(20, 7)
    for found in (single, batched):
        assert set(found) == {"per_second", "bytes", "interval_ms"}
        assert found["per_second"] > 0
        assert found["interval_ms"] > 0
    assert measure_heartbeats(200) > 0
