"""The demo: a whole region on one machine for some seconds, as real processes, judged at its end.

Owns starting, watching, stopping and the verdict. What is built is `demo_site`'s, what is drawn `demo_view`'s. The
hub is reached as everybody reaches it, by its REST interface; nothing of it is imported.

Invariant: every process started here is ended here, whatever happens, and first by asking.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.live import Live

from firmware_tools.authority import found
from firmware_tools.demo_site import HUB, REGION, Post, posts, prepare
from firmware_tools.demo_view import Board
from firmware_tools.errors import ProcessFailed, ToolError
from gateway.simulation.scenario import load_scenario

_START_S = 20.0
_SETTLE_S = 8.0
_STOP_S = 10.0
_POLL_S = 0.5


@dataclass
class Outcome:
    """What a run showed. `audit` is "ok" or the first fault; `faults` say why the verdict is not good."""

    gateways: int
    readings: int = 0
    blocks: int = 0
    final_blocks: int = 0
    alarms: list[dict[str, Any]] = field(default_factory=list)
    audit: str = ""
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Process:
    """A started program with its log."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise ProcessFailed where it has ended by itself."""
        if (code := self.popen.poll()) is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines()
            raise ProcessFailed(f"{self.name} ended with code {code}: {lines[-1] if lines else 'no output'}")


class Region:
    """The running region: one hub with its broker, and gateways."""

    def __init__(self, directory: Path, plan: Sequence[Post], stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self.plan, self.api = plan, ""
        self.processes: list[Process] = []

    def start(self, note: Callable[[str], None]) -> None:
        """Found the chain and start everything. Raises ProcessFailed."""
        hub, authority = self._directory / "hub", self._directory / "authority"
        note("founding the chain")
        made = json.loads(
            _run("tocsin-hub", "init", "--dir", hub, "--name", HUB, "--region", REGION, "--json")
        )
        desk = found(authority, "city-fire", "Demonstration", HUB, bytes.fromhex(made["key"]))
        (hub / "genesis.cbor").write_bytes(desk.genesis.encode())
        config = hub / "hub.toml"
        config.write_text(
            f'[hub]\nname = "{HUB}"\nregion = "{REGION}"\n\n[broker]\nport = 0\n\n[api]\nport = 0\n'
        )
        note("starting the hub and its broker")
        self._spawn("hub", hub, "tocsin-hub", "run", "--config", config)
        reached = self._endpoints(hub / "endpoints.json")
        self.api = reached["api"]
        self._wait(lambda: self.ask("/healthz") is not None, "the hub does not become healthy")
        for index, post in enumerate(self.plan):
            note(f"starting {post.name}")
            folder = self._directory / "gateways"
            path = prepare(post, folder, desk, self.api, reached["broker"], seed=index + 1)
            self._spawn(post.folder, path.parent, "tocsin-gateway", "run", "--config", path)

    def ask(self, path: str) -> Any:
        """Return what the hub answers, None where it does not (yet)."""
        try:
            with urllib.request.urlopen(self.api + path, timeout=5) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def check(self) -> None:
        """Raise ProcessFailed where a process has ended by itself."""
        for process in self.processes:
            process.check()

    def stop(self, gateways: bool) -> None:
        """End the gateways (True) or the hub (False), first by asking; what does not listen is killed."""
        chosen = [each for each in self.processes if (each.name != "hub") == gateways]
        for process in chosen:
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        for process in chosen:
            try:
                process.popen.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()
        self.processes = [each for each in self.processes if each not in chosen]

    def _spawn(self, name: str, folder: Path, program: str, *arguments: object) -> None:
        log = folder / "log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [_program(program), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is ours to hand on, in order
            )
        self._stack.callback(_end, popen)
        self.processes.append(Process(name, popen, log))

    def _endpoints(self, path: Path) -> dict[str, str]:
        self._wait(path.exists, "the hub does not say where it is reached")
        found: dict[str, str] = json.loads(path.read_text())
        return found

    def _wait(self, ready: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _START_S
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{otherwise} within {_START_S:.0f} s; see {self._directory}")
            time.sleep(0.02)


def run_demo(
    *, scenario: str, gateways: int, seconds: float, headless: bool, directory: Path | None, console: Console
) -> Outcome:
    """Play a scenario and judge it.

    Args:
        scenario: what the first gateway meets; the second replays the bridge, further ones are quiet.
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
        region = Region(directory, plan, stack)
        board = Board(load_scenario(scenario).title, seconds)
        with _drawing(board, console, headless) as draw, _interruptible() as interrupted:
            _play(region, board, draw, interrupted, outcome)
        outcome.audit = _audit(directory / "hub", outcome)
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
        region.stop(gateways=True)
        _settle(region, board, draw)
        _take(region, board, onsets, outcome)
    except ProcessFailed as error:
        outcome.faults.append(str(error))
    finally:
        note("stopping")
        region.stop(gateways=True)
        region.stop(gateways=False)
        note("auditing the hub's disk")


def _look(region: Region, board: Board) -> None:
    gateways, alarms = region.ask("/v1/gateways"), region.ask("/v1/alarms")
    if gateways is not None and alarms is not None:
        board.update(gateways, alarms)


def _settle(region: Region, board: Board, draw: Callable[[], None]) -> None:
    """Wait until what the gateways sent last is final."""
    deadline = time.monotonic() + _SETTLE_S
    while time.monotonic() < deadline:
        _look(region, board)
        draw()
        blocks = all(each["head"] == each["stored"] for each in board.gateways)
        if blocks and all(each["final_ms"] is not None for each in board.alarms):
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
    """Take the numbers of the outcome from what the hub says."""
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


def _audit(hub: Path, outcome: Outcome) -> str:
    """Return "ok", or the audit's first fault."""
    done = subprocess.run(
        [_program("tocsin-hub"), "audit", "--dir", str(hub), "--json"], capture_output=True, check=False
    )
    try:
        verdict: str = json.loads(done.stdout)["verdict"]
    except (ValueError, KeyError):
        verdict = done.stderr.decode(errors="replace").strip() or "the audit said nothing"
    if verdict != "ok":
        outcome.faults.append(f"audit: {verdict}")
    return verdict


def _judge(outcome: Outcome, plan: Sequence[Post], *, complete: bool) -> None:
    """Find what the run was to show and did not; an interrupted one owes no alarm."""
    if outcome.blocks == 0 or outcome.final_blocks != outcome.blocks:
        outcome.faults.append(f"{outcome.final_blocks} of {outcome.blocks} blocks became final")
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


def _run(program: str, *arguments: object) -> str:
    done = subprocess.run([_program(program), *map(str, arguments)], capture_output=True, check=False)
    if done.returncode:
        raise ProcessFailed(f"{program} {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def _program(name: str) -> str:
    """Return a console script that was installed beside this interpreter."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise ToolError(f"{path} is missing: install with pip install '.[hub,tools]'")
    return str(path)


def _end(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        popen.kill()
        popen.wait()


def report(outcome: Outcome) -> Iterator[str]:
    """Yield the outcome in words."""
    yield (
        f"{outcome.gateways} gateways, {outcome.readings} readings in {outcome.blocks} blocks, "
        f"{outcome.final_blocks} of them final; audit: {outcome.audit}"
    )
    for alarm in outcome.alarms:
        onset, final = alarm["onset_to_alarm_ms"], alarm["alarm_to_final_ms"]
        after = "" if onset is None else f" {onset / 1000:.1f} s after its cause began,"
        yield f"{alarm['gateway']}: {alarm['contract']} {alarm['level']},{after} final after {final} ms"
    for fault in outcome.faults:
        yield f"FAULT: {fault}"


def as_json(outcome: Outcome) -> str:
    """Return the outcome as one JSON object."""
    return json.dumps(asdict(outcome), ensure_ascii=False)
