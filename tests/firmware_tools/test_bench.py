"""Benches measure real processes; here with the least sizes, since what is tested is that they do, not how fast."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from firmware_tools.bench import NAMES
from firmware_tools.bench_alarm import measure_alarm
from firmware_tools.bench_e2e import measure_e2e
from firmware_tools.bench_faults import measure_faults
from firmware_tools.bench_federation import Sizes, measure_federation
from firmware_tools.bench_figure import Figure, percentile, words
from firmware_tools.bench_gateway import measure_gateway
from firmware_tools.bench_load import measure_load
from firmware_tools.bench_neighbours import measure_neighbours
from firmware_tools.bench_site import Child
from firmware_tools.bench_wear import measure_wear
from firmware_tools.cli import main
from firmware_tools.errors import ProcessFailed
from gateway.simulation.subjects import STATED

Require = Callable[[str], Path]


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def test_a_percentile_is_the_value_of_its_nearest_rank() -> None:
    assert percentile(range(1, 201), 99) == 198
    assert percentile(range(1, 201), 50) == 100
    assert percentile([7.0], 99) == 7.0


def test_a_ratio_is_to_the_limit_and_to_the_peer_where_there_is_none() -> None:
    assert Figure("a", 3, "ms", limit=6, peer=1).to_json() == {
        "name": "a", "value": 3, "unit": "ms", "limit": 6, "peer": 1, "ratio": 0.5,
    }  # fmt: skip
    assert Figure("a", 3, "ms", peer=2).to_json()["ratio"] == 1.5
    assert Figure("a", 3, "ms").to_json() == {"name": "a", "value": 3, "unit": "ms"}


def test_a_figure_is_worded_beside_what_it_is_compared_with() -> None:
    figure = Figure("alarm-p99", 101.25, "ms", limit=105, peer=98.5)
    assert words(figure.to_json()) == "alarm-p99: 101.25 ms  limit 105  peer 98.5  ratio 0.964"


def test_a_figure_of_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    result = CliRunner().invoke(main, ["bench", "alram"])
    assert result.exit_code == 2
    assert f"no figure is called 'alram'; there are {', '.join(NAMES)}" in result.output


def test_a_program_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match=r"bench's gateway ended: .*nowhere\.toml: cannot be read"):
        Child(tmp_path / "log", "gateway", tmp_path / "nowhere.toml")


def test_alarm_follows_the_pin_of_a_real_gateway() -> None:
    figures = by_name(list(measure_alarm(onsets=3)))
    assert set(figures) == {"alarm-p50", "alarm-p99", "alarm-above-period"}
    assert 0 < figures["alarm-p50"].value <= figures["alarm-p99"].value
    assert figures["alarm-above-period"].value == figures["alarm-p99"].value - 100
    assert all(figure.peer is not None for figure in figures.values())


def test_gateway_weighs_real_processes_and_blocks(require: Require) -> None:
    require("nats-server")
    figures = by_name(list(measure_gateway(seconds=1.0, starts=1, sizes=(10, 40))))
    assert set(figures) == {
        "gateway-rate", "gateway-cpu", "gateway-cpu-dht", "gateway-rss", "gateway-pss", "gateway-start",
        "gateway-bytes-10", "gateway-bytes-40",
    }  # fmt: skip
    assert 0 < figures["gateway-rate"].value < 11
    assert figures["gateway-pss"].value < figures["gateway-rss"].value
    assert figures["gateway-bytes-40"].value < figures["gateway-bytes-10"].value
    assert figures["gateway-start"].value > 0


def test_neighbours_follow_each_others_pins() -> None:
    figures = by_name(list(measure_neighbours(onsets=3)))
    assert {"neighbours-p50", "neighbours-p99"} < set(figures)
    assert 0 < figures["neighbours-p50"].value <= figures["neighbours-p99"].value
    assert figures["neighbours-p99"].limit == 1_000
    assert figures["neighbours-above-own-p50"].peer is not None


def test_every_kind_of_fault_is_seen_within_its_stated_time() -> None:
    figures = {each.name: each for each in measure_faults()}
    cost = figures.pop("faults-plausible")
    assert cost.peer is not None
    assert {name.removeprefix("faults-") for name in figures} == set(STATED) - {"held"}
    assert all(0 < (each.ratio or 0) <= 1 for each in figures.values())
    assert 0 < cost.value < 50  # microseconds: it looks at one value, whatever went before


def test_e2e_counts_alarms_that_are_final_at_a_real_hub(require: Require) -> None:
    require("nats-server")
    figures = by_name(list(measure_e2e(onsets=2)))
    assert set(figures) == {"e2e-p50", "e2e-p99"}
    assert 0 <= figures["e2e-p50"].value <= figures["e2e-p99"].value
    assert all((figure.peer or 0) > 0 for figure in figures.values())


TINY = Sizes(
    onsets=1,
    seconds=0.5,
    idle=0.0,
    gateways=16,
    heights=100,
    full_gateways=2,
    full_heights=20,
    alone=100,
    singles=64,
    batched=256,
    blocks=16,
    repeats=1,
)


def test_federation_counts_what_is_final_on_four_real_hubs_and_on_one(require: Require) -> None:
    require("nats-server")
    require("cometbft")
    found = list(measure_federation(TINY))
    figures = by_name(found)
    assert [figure.name for figure in found] == [
        *("fed-disk-idle", "fed-alarm-p50", "fed-alarm-p95"),
        *("fed-anchors-single", "fed-disk-load-single", "fed-anchors-batched", "fed-disk-load-batched"),
        *("fed-block-interval", "fed-readings", "fed-memory-engine", "fed-memory-hub", "fed-catch-up"),
        *("fed-verify", "fed-verify-command"),
    ]
    assert all(figure.value > 0 for figure in found)
    assert {figure.name for figure in found if figure.peer is None} == {"fed-memory-engine", "fed-catch-up"}
    assert figures["fed-alarm-p50"].value > 200, "no final block comes sooner than the engine's pause"
    assert figures["fed-verify"].value < figures["fed-verify-command"].value


def test_a_federation_without_its_engine_is_skipped_but_not_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("firmware_tools.bench.NAMES", ("federation",))
    result = CliRunner().invoke(main, ["bench"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "federation: skipped, because CometBFT is not on PATH" in result.stderr
    named = CliRunner().invoke(main, ["bench", "federation"])
    assert named.exit_code == 1
    assert "a federation needs CometBFT on PATH" in named.stderr


@pytest.mark.soak
def test_bench_prints_every_figure_as_json(require: Require) -> None:
    require("nats-server")
    require("cometbft")
    result = CliRunner().invoke(main, ["bench", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output)
    kinds = {
        "federation" if name == "fed" else name for name in (each["name"].split("-")[0] for each in figures)
    }
    assert kinds == set(NAMES)
    for figure in figures:
        assert {"name", "value", "unit"} <= set(figure) <= {"name", "value", "unit", "limit", "peer", "ratio"}
        assert ("ratio" in figure) == bool({"limit", "peer"} & set(figure))


@pytest.mark.soak
def test_a_gateways_load_and_wear_are_measured_beside_what_they_are_held_against() -> None:
    load = {figure.name: figure for figure in measure_load(5)}
    assert load["load-cpu"].value > 0
    assert load["load-lateness-p99"].value >= load["load-lateness-p50"].value >= 0
    wear = {figure.name: figure for figure in measure_wear(40, [(8, 1000, 5)])}
    assert wear["wear-8"].value > (wear["wear-8"].peer or 0) > 0
    assert wear["wear-8-exception"].value < wear["wear-8"].value
