"""Outputs: each acts for a moment, and its read-back, where there is one, has to follow.

Owns asking before anything sounds, and what an answer comes to. Pins are the guardian's (`gateway.outputs`), also while
the daemon is stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from firmware_tools.selftest.finding import FAILED, OK, WARNING, Finding
from gateway.config import Config
from gateway.errors import OutputError
from gateway.outputs.client import Guardian
from gateway.outputs.options import MIN_HOLD_S, OutputOptions
from gateway.outputs.orders import CONTRACT, DID_NOT_MOVE, GONE, MOVED, Cause, Moved, Order, OutputState, Want
from gateway.outputs.wire import end_simulated, meeting_point

__all__ = ["output_findings"]

_START_S: Final = 10.0
_LOOK_S: Final = 0.05
_BEYOND_S: Final = 3.0
_BY: Final = "selftest"


def output_findings(config: Config, asks: Callable[[OutputOptions], bool], seconds: int) -> Iterator[Finding]:
    """Let each output act that `asks` agrees to; yield what became of it."""
    if not config.outputs:
        return
    is_simulated = config.simulation is not None
    places, is_systems = meeting_point(config.data, simulated=is_simulated)
    if not is_systems and not config.data.is_dir():
        config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    guardian = Guardian(
        config.outputs, places, hold_s=MIN_HOLD_S, simulated=is_simulated, spawns=not is_systems
    )
    guardian.start()
    try:
        guardian.wait(_START_S)
        if acting := [each for each in guardian.states if each.active and each.cause.code == CONTRACT]:
            yield from map(_busy, acting)
            return
        chosen = {output.name: asks(output) for output in config.outputs}
        if any(chosen[each.name] and each.normally_energised for each in config.outputs):
            _energise(guardian, config.outputs)
        for output in config.outputs:
            yield _tested(guardian, output, seconds) if chosen[output.name] else _spared(output)
    except OutputError as error:
        yield Finding(
            "output", "guardian", FAILED, str(error), "see its log; systemctl restart tocsin-guardian"
        )
    finally:
        guardian.close()
        if is_simulated:
            end_simulated(config.data)


def _busy(state: OutputState) -> Finding:
    said = f"acts for contract {state.cause.by}: nothing was tested"
    return Finding("output", state.name, FAILED, said, "start the gateway, see to its alarm, then test again")


def _energise(guardian: Guardian, outputs: Sequence[OutputOptions]) -> None:
    """Give power to what has it in the normal state, and could not move without; it falls when this ends."""
    falls = {each.name: Want(Cause(GONE)) for each in outputs if each.normally_energised}
    guardian.order(Order(gone=falls))
    time.sleep(max((_settled_s(each) for each in outputs), default=0.0))


def _settled_s(output: OutputOptions) -> float:
    return _LOOK_S if output.read_back is None else output.read_back.within_ms / 1000


def _spared(output: OutputOptions) -> Finding:
    return Finding("output", output.name, WARNING, "not tested", "test it: answer yes, or give --yes")


def _tested(guardian: Guardian, output: OutputOptions, seconds: int) -> Finding:
    guardian.take()
    try:
        guardian.test(output.name, seconds, _BY)
    except OutputError as error:
        remedy = f"check what stands on GPIO{output.pin}: tocsin-gateway check"
        return Finding("output", output.name, FAILED, str(error), remedy)
    moves = _moves(guardian, output.name, seconds)
    if not moves:
        remedy = "see the guardian's log"
        return Finding("output", output.name, FAILED, "the guardian says nothing of it", remedy)
    if any(each.moved == DID_NOT_MOVE for each in moves):
        pin = output.read_back.pin if output.read_back else output.pin
        remedy = f"check relay, supply and the read-back's wire (GPIO{pin})"
        return Finding("output", output.name, FAILED, "it did not move as it was told", remedy)
    if faults := [each for each in guardian.faults if output.name in each]:
        return Finding("output", output.name, FAILED, faults[0], "check its wire and supply")
    if any(each.moved == MOVED for each in moves):
        return Finding("output", output.name, OK, "acted and came back; its read-back saw both")
    return Finding(
        "output", output.name, OK, "acted and came back; it has no read-back: who stood by saw or heard it"
    )


def _moves(guardian: Guardian, name: str, seconds: int) -> list[Moved]:
    """Return how an output moved during its test: there and back."""
    moves: list[Moved] = []
    ends = time.monotonic() + seconds + _BEYOND_S
    while len(moves) < 2 and time.monotonic() < ends:
        time.sleep(_LOOK_S)
        moves += [each for each in guardian.take() if each.output == name]
    return moves
