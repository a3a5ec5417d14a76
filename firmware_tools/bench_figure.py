"""What a figure is, and how it is worded. Owns no measurement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Figure", "percentile", "words"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value.

    Attributes:
        limit: what it may not exceed, or cannot, in the same unit.
        peer: what a bare program that does the same needs, measured in the same run.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    peer: float | None = None

    @property
    def ratio(self) -> float | None:
        """The value by its limit; by its peer where there is no limit."""
        other = self.peer if self.limit is None else self.limit
        return self.value / other if other else None

    def to_json(self) -> dict[str, object]:
        """Return the figure as plain values; what there is none of is left out."""
        numbers = {"limit": self.limit, "peer": self.peer, "ratio": self.ratio}
        found = {name: round(number, 3) for name, number in numbers.items() if number is not None}
        return {"name": self.name, "value": round(self.value, 3), "unit": self.unit, **found}


def percentile(values: Sequence[float], share: int) -> float:
    """Return the value that `share` percent do not exceed, by nearest rank."""
    return sorted(values)[max(1, math.ceil(len(values) * share / 100)) - 1]


def words(figure: Mapping[str, object]) -> str:
    """Return a figure, given as plain values, in one line."""
    beside = [f"{key} {figure[key]}" for key in ("limit", "peer", "ratio") if key in figure]
    return "  ".join([f"{figure['name']}: {figure['value']} {figure['unit']}", *beside])
