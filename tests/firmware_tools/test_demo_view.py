"""The demo's live view draws what the hub says, whatever is missing."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from firmware_tools.demo_view import Board, sparkline


def gateway(**changes: Any) -> dict[str, Any]:
    series = {"name": "kitchen.ch4", "unit": "ppm", "scale": 0, "value": 9120}
    contract = {"contract": "gas-ch4", "condition": "alarm"}
    return {
        "id": "4c", "name": "Flat 3", "epoch": 1, "stored": 12, "head": 11, "finality_lag_ms": 7,
        "series": [series], "contracts": [contract],
    } | changes  # fmt: skip


def alarm(**changes: Any) -> dict[str, Any]:
    return {
        "name": "Flat 3", "contract": "gas-ch4", "level": "alarm", "severity": "critical",
        "wall_ms": 1_767_225_600_250, "final_ms": 1_767_225_600_290,
    } | changes  # fmt: skip


def drawn(board: Board) -> str:
    console = Console(width=120, record=True, color_system=None, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(board)
        return console.export_text()


@pytest.mark.parametrize(
    ("values", "bars"), [([], ""), ([5], "▁"), ([3, 3], "▁▁"), ([0, 7], "▁█"), ([-10, 0, 10], "▁▄█")]
)
def test_sparklines_span_least_to_greatest(values: list[int], bars: str) -> None:
    assert sparkline(values) == bars


def test_the_board_shows_value_chain_and_alarm() -> None:
    board = Board("a leak", 40)
    board.update([gateway()], [alarm()])
    text = drawn(board)
    assert "kitchen.ch4" in text
    assert "9120" in text
    assert "1/12" in text
    assert "gas-ch4 alarm" in text
    assert "00:00:00.250" in text
    assert "40 ms" in text


def test_the_board_draws_before_anything_is_known() -> None:
    board = Board("a leak", 40)
    assert "none" in drawn(board)
    blank = {"name": "kitchen.ch4", "unit": "ppm", "scale": 0, "value": None}
    board.update(
        [gateway(finality_lag_ms=None, contracts=[], series=[blank])], [alarm(final_ms=None, severity=None)]
    )
    text = drawn(board)
    assert "all normal" in text
    assert "not yet" in text
