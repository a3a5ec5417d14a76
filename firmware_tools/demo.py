"""The demo: a whole region on one machine for some seconds, as real processes, judged at its end.

Owns watching and the verdict. What runs is `demo_region`'s, what is built `demo_site`'s, what is drawn `demo_view`'s.

Invariant: every process started for it is ended with it, whatever happens, and first by asking.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.live import Live

from firmware_tools.demo_process import script
from firmware_tools.demo_region import HubPost, Region
from firmware_tools.demo_site import Post, posts
from firmware_tools.demo_view import Board
from firmware_tools.errors import ProcessFailed, ToolError
from gateway.simulation.scenario import load_scenario

_SETTLE_S = 20.0
_POLL_S = 0.5


@dataclass
class Outcome:
    """What a run showed.

    `audit` is "ok" or the first fault of any hub's disk; `hubs` what each hub says at the end, its `checkpoint`
    None where it does not run any more; `faults` say why the verdict is not good.
    """

    gateways: int
    hubs: list[dict[str, Any]] = field(default_factory=list)
    readings: int = 0
    blocks: int = 0
    final_blocks: int = 0
    alarms: list[dict[str, Any]] = field(default_factory=list)
    audit: str = ""
    faults: list[str] = field(default_factory=list)


def run_demo(
    *,
    scenario: str,
    gateways: int,
    hubs: int,
    seconds: float,
    headless: bool,
    directory: Path | None,
    console: Console,
) -> Outcome:
    """Play a scenario and judge it.

    Args:
        scenario: what the first gateway meets; the second replays the bridge, further ones are quiet.
        hubs: 1, or as many as a federation has: each of another agency, one of which may fail.
        seconds: how long the region runs before it is stopped and audited.
        headless: whether to draw nothing.
        directory: kept with everything in it; None uses a temporary one.

    Raises:
        ToolError: it could not be set up.
    """
    plan = posts(scenario, gateways)
    outcome = Outcome(gateways=len(plan))
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="tocsin-demo-")))
        else:
            _make_empty(directory)
        region = Region(directory, plan, stack, hubs)
        board = Board(load_scenario(scenario).title, seconds)
        with _drawing(board, console, headless) as draw, _interruptible() as interrupted:
            _play(region, board, draw, interrupted, outcome)
        outcome.audit = next((bad for hub in region.hubs if (bad := _audit(hub, outcome)) != "ok"), "ok")
        _judge(outcome, plan, complete=not interrupted())
    return outcome


def _make_empty(directory: Path) -> None:
    """Make a directory for a run. Raises ToolError where it cannot be made or holds something."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        taken = any(directory.iterdir())
    except OSError as error:
        raise ToolError(f"{directory} cannot be used: {error.strerror}; name a new directory") from error
    if taken:
        raise ToolError(f"{directory} is not empty; name a new directory")


def _play(
    region: Region, board: Board, draw: Callable[[], None], interrupted: Callable[[], bool], outcome: Outcome
) -> None:
    def note(text: str) -> None:
        board.note = text
        draw()

    try:
        region.start(note)
        board.note = "running"
        started = time.monotonic()
        while board.elapsed < board.seconds and not interrupted():
            region.check()
            _look(region, board)
            draw()
            time.sleep(_POLL_S)
            board.elapsed = time.monotonic() - started
        note("stopping the gateways")
        onsets = _onsets(region, board)
        region.stop_gateways()
        _settle(region, board, draw)
        _take(region, board, onsets, outcome)
    except ProcessFailed as error:
        outcome.faults.append(str(error))
    finally:
        note("stopping")
        region.stop_gateways()
        region.stop_hubs()
        note("auditing what is on disk")


def _look(region: Region, board: Board) -> None:
    gateways, alarms = region.ask("/v1/gateways"), region.ask("/v1/alarms")
    if gateways is not None and alarms is not None:
        board.update(gateways, alarms)
    board.hubs = [_hub_row(hub) for hub in region.hubs]


def _hub_row(hub: HubPost) -> dict[str, Any]:
    """Return what is shown of a hub; one that is gone, or that says nothing, has a row too."""
    status = hub.ask("/v1/status") if hub.is_alive else None
    return {"name": hub.name, "agency": hub.agency, "alive": hub.is_alive, "status": status}


def _settle(region: Region, board: Board, draw: Callable[[], None]) -> None:
    """Wait until what the gateways sent last is final, and known to every hub that runs."""
    deadline = time.monotonic() + _SETTLE_S
    while time.monotonic() < deadline:
        _look(region, board)
        draw()
        blocks = all(each["head"] == each["stored"] for each in board.gateways)
        sizes = {row["status"]["log_size"] if row["status"] else None for row in board.hubs if row["alive"]}
        if blocks and len(sizes) == 1 and all(each["final_ms"] is not None for each in board.alarms):
            return
        time.sleep(0.1)


def _onsets(region: Region, board: Board) -> dict[str, int]:
    """Return by gateway id when its expected cause began: so many seconds after its first reading, in Unix ms."""
    onsets = {}
    for gateway in board.gateways:
        post = next((each for each in region.plan if each.name == gateway["name"]), None)
        first = region.ask(f"/v1/blocks/{gateway['id']}/1")
        if post and post.expected and first:
            onsets[gateway["id"]] = first["wall_ms"] + post.expected[1] * 1000
    return onsets


def _take(region: Region, board: Board, onsets: Mapping[str, int], outcome: Outcome) -> None:
    """Take the numbers of the outcome from what the hubs say."""
    outcome.hubs = [
        {
            "name": hub.name,
            "agency": hub.agency,
            "checkpoint": hub.ask("/v1/checkpoint") if hub.is_alive else None,
        }
        for hub in region.hubs
    ]
    status = region.ask("/v1/status") or {}
    outcome.readings = status.get("readings", 0)
    outcome.blocks = status.get("blocks", 0)
    outcome.final_blocks = status.get("final_blocks", 0)
    for alarm in sorted(board.alarms, key=lambda each: each["wall_ms"]):
        onset, final = onsets.get(alarm["gateway"]), alarm["final_ms"]
        outcome.alarms.append(
            {
                "gateway": alarm["name"],
                "contract": alarm["contract"],
                "level": alarm["level"],
                "onset_to_alarm_ms": None if onset is None else alarm["wall_ms"] - onset,
                "alarm_to_final_ms": None if final is None else final - alarm["wall_ms"],
                "hash": alarm["hash"],
            }
        )


def _audit(hub: HubPost, outcome: Outcome) -> str:
    """Return "ok", or the first fault on a hub's disk."""
    done = subprocess.run(
        [script("tocsin-hub"), "audit", "--dir", str(hub.directory), "--json"],
        capture_output=True,
        check=False,
    )
    try:
        verdict: str = json.loads(done.stdout)["verdict"]
    except (ValueError, KeyError):
        verdict = done.stderr.decode(errors="replace").strip() or "the audit said nothing"
    if verdict != "ok":
        outcome.faults.append(f"audit of {hub.name}: {verdict}")
    return verdict


def _judge(outcome: Outcome, plan: Sequence[Post], *, complete: bool) -> None:
    """Find what the run was to show and did not; an interrupted one owes no alarm."""
    if outcome.blocks == 0 or outcome.final_blocks != outcome.blocks:
        outcome.faults.append(f"{outcome.final_blocks} of {outcome.blocks} blocks became final")
    if len({_words(hub["checkpoint"]) for hub in outcome.hubs if hub["checkpoint"]}) > 1:
        outcome.faults.append("the hubs do not come to the same checkpoint")
    for post in plan:
        raised = {
            each["contract"]
            for each in outcome.alarms
            if each["gateway"] == post.name and each["level"] != "normal"
        }
        if post.expected is None and raised:
            outcome.faults.append(f"{post.name} was to be quiet and raised {', '.join(sorted(raised))}")
        elif post.expected and complete and post.expected[0] not in raised:
            outcome.faults.append(f"{post.name} raised no {post.expected[0]}")
    if any(each["alarm_to_final_ms"] is None for each in outcome.alarms):
        outcome.faults.append("an alarm did not become final")


@contextmanager
def _drawing(board: Board, console: Console, headless: bool) -> Iterator[Callable[[], None]]:
    """Give a function that draws the board, or that draws nothing."""
    if headless:
        yield lambda: None
        return
    with Live(board, console=console, auto_refresh=False, screen=False) as live:
        yield live.refresh


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a question; a second Ctrl-C is an exception again."""
    asked = False

    def handle(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def report(outcome: Outcome) -> Iterator[str]:
    """Yield the outcome in words."""
    yield (
        f"{outcome.gateways} gateways, {outcome.readings} readings in {outcome.blocks} blocks, "
        f"{outcome.final_blocks} of them final; audit: {outcome.audit}"
    )
    for hub in outcome.hubs if len(outcome.hubs) > 1 else ():
        yield f"{hub['name']} ({hub['agency']}): {_words(hub['checkpoint'])}"
    for alarm in outcome.alarms:
        onset, final = alarm["onset_to_alarm_ms"], alarm["alarm_to_final_ms"]
        after = "" if onset is None else f" {onset / 1000:.1f} s after its cause began,"
        yield f"{alarm['gateway']}: {alarm['contract']} {alarm['level']},{after} final after {final} ms"
    for fault in outcome.faults:
        yield f"FAULT: {fault}"


def _words(checkpoint: Mapping[str, Any] | None) -> str:
    """Return a checkpoint as what hubs have to agree on: the log's size and root, and the state's root."""
    if checkpoint is None:
        return "gone"
    log, state = checkpoint["log_root"], checkpoint["state_root"]
    return f"checkpoint of {checkpoint['log_size']} items, log {log}, state {state}"


def as_json(outcome: Outcome) -> str:
    """Return the outcome as one JSON object."""
    return json.dumps(asdict(outcome), ensure_ascii=False)
