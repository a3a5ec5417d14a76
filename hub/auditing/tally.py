"""Audit of what gateways say of themselves: outputs that acted, messages refused, bodies given up; as few findings.

All of it is the gateways' word: an audit counts it, and tells people what they should look at.
"""

from __future__ import annotations

from collections import Counter

from gateway.chain.events import Actuation, Refusal, Shedding
from gateway.chain.reading import Segment
from gateway.chain.words import REFUSED, SHED
from hub.auditing.report import MAX_FAULTS, Report, short
from hub.doings import UNMOVED, events_of

__all__ = ["Tally"]


class Tally:
    """Counts events over all blocks of a hub."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told: Counter[tuple[bytes, str]] = Counter()

    def count(self, gateway: bytes, segment: Segment | None) -> None:
        """Count the events of one of a gateway's segments."""
        for _, event in events_of(segment):
            match event:
                case Actuation():
                    self._report.actuations += 1
                    if event.moved == UNMOVED:
                        self._tell(gateway, f"its output {event.output} was driven and did not move")
                case Refusal():
                    self._report.refused += event.count
                    self._tell(gateway, f"it refused a {REFUSED[event.what]}: {event.reason}", event.count)
                case Shedding():
                    self._tell(gateway, f"it gave up {SHED[event.what]} for want of space")

    def tell(self) -> None:
        """Note what people should look at, a finding for each gateway and kind."""
        for (gateway, what), times in sorted(self._told.items()):
            often = f", {times} times" if times > 1 else ""
            self._report.finding(f"gateway {short(gateway)}: {what}{often}")

    def _tell(self, gateway: bytes, what: str, times: int = 1) -> None:
        if (gateway, what) in self._told or len(
            self._told
        ) < MAX_FAULTS:  # the words are a gateway's: no more
            self._told[gateway, what] += times
