"""One line of a self-test: what was looked at, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

__all__ = ["FAILED", "OK", "WARNING", "Finding", "Verdict", "worst"]

Verdict = Literal["ok", "warning", "failed"]
OK: Final = "ok"
WARNING: Final = "warning"
FAILED: Final = "failed"
_ORDER: Final = (OK, WARNING, FAILED)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        area: what part of the test it is of, such as "bus" or "sensor".
        subject: the thing, such as "i2c-1 0x48" or "gas".
        verdict: ok, warning or failed.
        detail: what was found.
        remedy: what to do; "" where nothing is wrong.
    """

    area: str
    subject: str
    verdict: Verdict
    detail: str
    remedy: str = ""

    def line(self) -> str:
        """Return it for people."""
        text = f"{self.verdict:8}{self.area + ' ' + self.subject:28} {self.detail}"
        return f"{text}\n{'':37}-> {self.remedy}" if self.remedy else text

    def statement(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict; ok where there is none."""
    found = {each.verdict for each in findings}
    return next((each for each in reversed(_ORDER) if each in found), "ok")
