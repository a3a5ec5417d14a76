"""One detector's trial: calm, set off, its alarm seen here and at the hub, calm again.

Owns what is waited for and how long. What is seen comes from the gateway's control socket and the hub's REST
interface: the same ways by which everybody sees it.

Invariant: a detector passes only by an alarm that was not there before, made by this gateway and known to the hub by
its hash.
"""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from firmware_tools.errors import ToolError
from firmware_tools.walktest.detectors import Detector
from firmware_tools.walktest.hand import Hand, Skipped
from gateway.chain.workmanship import FAILED, PASSED, UNTRIED
from gateway.control import ask
from gateway.errors import TransportError
from gateway.tls import client_context

__all__ = ["Hub", "Outcome", "Station", "try_detector"]

_LOOK_S: Final = 0.1
_HUB_LOOK_S: Final = 0.4
_TIMEOUT_S: Final = 5.0
_MAX_ANSWER: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a trial. Times are as in `gateway.chain.workmanship.Trial`; `acted` are the outputs seen."""

    outcome: int
    remark: str = ""
    contract: str = ""
    begun: int = 0
    here: int = 0
    hub: int = 0
    alarm: str = ""
    acted: tuple[str, ...] = ()


class Station:
    """The gateway as its control socket shows it."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def status(self) -> Mapping[str, Any]:
        """Return its status. Raises TransportError."""
        return ask(self._socket, {"do": "status"})

    def reset(self, contract: str) -> None:
        """Reset a contract. Raises TransportError."""
        ask(self._socket, {"do": "reset", "contract": contract})


class Hub:
    """The hub's alarms of one gateway."""

    def __init__(self, url: str, gateway: str, ca_file: str = "") -> None:
        self._url = f"{url}/v1/alarms?gateway={gateway}&limit=200"
        self._context = client_context(ca_file or None) if url.startswith("https") else None

    def alarms(self) -> list[dict[str, Any]]:
        """Return the latest alarms. Raises ToolError: it is not reached."""
        try:
            with urllib.request.urlopen(self._url, timeout=_TIMEOUT_S, context=self._context) as answer:
                found: list[dict[str, Any]] = json.loads(answer.read(_MAX_ANSWER))
        except (OSError, ValueError) as error:
            raise ToolError(f"the hub does not answer: {error}; check the network, or --hub") from error
        return found


@dataclass(slots=True)
class _Seen:
    """What was seen so far of an alarm; times in ms after the onset."""

    here: int = 0
    hub: int = 0
    contract: str = ""
    alarm: str = ""
    acted: set[str] = field(default_factory=set)
    trouble: str = ""


def try_detector(
    detector: Detector, station: Station, hub: Hub, hand: Hand, timeout_s: float, note: Callable[[str], None]
) -> Outcome:
    """Try one detector. Raises TransportError: the gateway is gone."""
    try:
        known = {each["hash"] for each in hub.alarms()}
    except ToolError as error:
        return Outcome(UNTRIED, str(error))
    if trouble := _unready(detector, station):
        return Outcome(FAILED, trouble)
    try:
        hand.set_off(detector)
    except Skipped as error:
        return Outcome(UNTRIED, str(error))
    begun, onset = time.time_ns() // 1_000_000, time.monotonic()
    note(f"{detector.name}: waiting for its alarm here and at the hub")
    seen = _await_alarm(detector, station, hub, known, onset, timeout_s + detector.hold_s)
    hand.calm(detector)
    remark = _verdict(detector, seen)
    is_calm = _await_calm(detector, station, timeout_s + detector.clear_s)
    if not remark and not is_calm:
        remark = "it does not come back to normal after the trial"
    if remark:
        return Outcome(FAILED, remark, begun=begun, acted=tuple(sorted(seen.acted)))
    return Outcome(
        PASSED, "", seen.contract, begun, seen.here, seen.hub, seen.alarm, tuple(sorted(seen.acted))
    )


def _unready(detector: Detector, station: Station) -> str:
    """Say why a detector cannot be tried now, "" where it can."""
    status = station.status()
    for channel in detector.plan.channels:
        state = status["series"][channel.series.name]
        if state["state"] == "FAULT":
            return f"{channel.series.name} is in fault: {state['reason']}"
    for contract in detector.contracts:
        condition = status["contracts"].get(contract.id, {}).get("condition", "not in force")
        if condition != "normal":
            return f"{contract.id} is {condition} before the trial; find its cause, reset it"
    return ""


def _await_alarm(
    detector: Detector, station: Station, hub: Hub, known: set[str], onset: float, timeout_s: float
) -> _Seen:
    seen, ids, asked = _Seen(), {each.id for each in detector.contracts}, 0.0
    while (elapsed := time.monotonic() - onset) < timeout_s:
        status = station.status()
        in_alarm = [name for name in sorted(ids) if status["contracts"][name]["condition"] == "alarm"]
        seen.acted |= set(status["outputs"]) & detector.driven()
        if in_alarm and not seen.here:
            seen.here = max(1, round((time.monotonic() - onset) * 1000))
        if time.monotonic() - asked >= _HUB_LOOK_S and not seen.hub:
            asked = time.monotonic()
            _look_at_hub(seen, hub, known, ids, onset)
        if seen.here and seen.hub and seen.acted >= detector.driven(seen.contract):
            break
        time.sleep(min(_LOOK_S, max(0.0, timeout_s - elapsed)))
    return seen


def _look_at_hub(seen: _Seen, hub: Hub, known: set[str], ids: set[str], onset: float) -> None:
    try:
        alarms = hub.alarms()
    except ToolError as error:
        seen.trouble = str(error)
        return
    for each in reversed(alarms):  # the oldest first
        if each["hash"] not in known and each["contract"] in ids and each["level"] == "alarm":
            seen.hub = max(1, round((time.monotonic() - onset) * 1000))
            seen.contract, seen.alarm, seen.trouble = each["contract"], each["hash"], ""
            return


def _verdict(detector: Detector, seen: _Seen) -> str:
    if not seen.here:
        return "silent: no alarm here"
    if not seen.hub:
        return seen.trouble or "its alarm did not reach the hub"
    if still := sorted(detector.driven(seen.contract) - seen.acted):
        return f"its alarm did not drive {', '.join(still)}"
    return ""


def _await_calm(detector: Detector, station: Station, timeout_s: float) -> bool:
    """Reset its contracts until all are normal; say whether they are."""
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        conditions = station.status()["contracts"]
        unwell = [each.id for each in detector.contracts if conditions[each.id]["condition"] != "normal"]
        if not unwell:
            return True
        for name in unwell:
            with contextlib.suppress(TransportError):  # still in alarm: it is asked again
                station.reset(name)
        time.sleep(_LOOK_S * 5)
    return False
