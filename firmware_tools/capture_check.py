"""A chip's model held against its chip: the same writes at the same times, and what each of them answers.

Owns which answers must be equal. Measured values and a chip's own trim differ from one to the next; settings,
identities, lengths, refusals and checksums do not. Ready bits are a matter of time, in which the two may differ a
little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from firmware_tools.errors import BadFile
from gateway.clock import SimulatedClock
from gateway.errors import GatewayError
from gateway.sensors.command_words import crc8
from gateway.simulation.capture import Call, Capture, Message
from gateway.simulation.chips.base import Chip
from gateway.simulation.scenario import load_scenario
from gateway.simulation.simulation import Simulation

__all__ = ["Verdict", "check_models"]

_SHOWN: Final = 5  # differences of one chip that are put into words
_LATE_SHARE: Final = 5  # at most a fifth of the ready bits may come at another poll


@dataclass(frozen=True, slots=True)
class _Shape:
    """What must be equal in the answers of a chip with registers.

    Attributes:
        width: bytes of a register.
        steps: whether reading on goes to the next register.
        fixed: by register, the bits that must be equal; others are measured, or the chip's own.
        ready: by register, the bits that tell of time.
    """

    width: int
    steps: bool
    fixed: Mapping[int, int]
    ready: Mapping[int, int] = field(default_factory=dict)


_SHAPES: Final[Mapping[str, _Shape]] = {
    "ADS1115": _Shape(2, False, {1: 0x7FFF, 2: 0xFFFF, 3: 0xFFFF}, {1: 0x8000}),
    "INA219": _Shape(2, False, {0: 0xFFFF, 5: 0xFFFF}, {2: 0x0002}),
    "NAU7802": _Shape(1, True, {0x00: 0xD7, 0x01: 0xFF, 0x02: 0xFB, 0x1F: 0x0F}, {0x00: 0x28, 0x02: 0x04}),
    "BME280": _Shape(1, True, {0xD0: 0xFF, 0xF2: 0x07, 0xF4: 0xFC, 0xF5: 0xFD}, {0xF3: 0x09}),
}
_WORDS: Final = frozenset({"SHT3x", "SGP40", "SCD41"})


@dataclass(slots=True)
class Verdict:
    """How a chip's model did.

    Attributes:
        differences: in words, the first few.
        count: how many there are.
        polls, late: ready bits compared, and those that chip and model showed at different times.
    """

    place: str
    chip: str
    calls: int = 0
    count: int = 0
    differences: list[str] = field(default_factory=list)
    polls: int = 0
    late: int = 0

    @property
    def holds(self) -> bool:
        """Whether the model may stand for the chip."""
        return not self.count and self.late * _LATE_SHARE <= self.polls

    def differ(self, text: str) -> None:
        """Take note of a difference."""
        self.count += 1
        if len(self.differences) < _SHOWN:
            self.differences.append(text)


def check_models(capture: Capture) -> Iterator[Verdict]:
    """Yield a verdict on each chip of a record. Raises BadFile: its header names no sensors that can be simulated."""
    clock = SimulatedClock(speed=0)
    simulation = Simulation(load_scenario("quiet"), clock)
    chips: dict[tuple[str, int], str] = {}
    try:
        for each in capture.header["sensors"]:
            simulation.attach(each["name"], each["driver"], each["options"])
            if str(each["bus"]).startswith("i2c-") and each["address"] is not None:
                chips[each["bus"], each["address"]] = each["chip"]
    except (GatewayError, KeyError, TypeError) as error:
        raise BadFile(f"the record's header names no sensors that can be simulated: {error}") from error
    start = clock.monotonic_ms()
    verdicts = {place: Verdict(f"{place[0]} {place[1]:#04x}", chip) for place, chip in chips.items()}
    pointers: dict[tuple[str, int], int] = {}
    for call in capture.calls:
        place = call.bus, call.messages[0].address
        if place in verdicts:
            clock.advance(max(0, start + call.at_ms - clock.monotonic_ms()) / 1000)
            model = simulation.bus(call.bus).chip_at(place[1])
            assert model is not None
            _compare(call, model, clock.monotonic_ms(), verdicts[place], pointers, place)
    yield from verdicts.values()


def _compare(
    call: Call, model: Chip, now_ms: int, verdict: Verdict, pointers: dict[Any, int], place: tuple[str, int]
) -> None:
    verdict.calls += 1
    refused = False
    for message in call.messages:
        try:
            if not message.is_read:
                pointers[place] = message.data[0] if message.data else 0
                model.write(message.data, now_ms)
                continue
            answer = model.read(len(message.data), now_ms)
        except OSError:
            refused = True
            break
        if not call.errno:
            _judge(message, answer, pointers.get(place, 0), verdict, call.at_ms)
    if refused != bool(call.errno):
        # A chip that is busy does not acknowledge: when, is a matter of time.
        verdict.polls, verdict.late = verdict.polls + 1, verdict.late + 1
        if verdict.chip in _SHAPES:
            verdict.differ(
                f"at {call.at_ms} ms the {'model' if refused else 'chip'} alone does not acknowledge"
            )


def _judge(message: Message, answer: bytes, pointer: int, verdict: Verdict, at_ms: int) -> None:
    chip = message.data
    if len(answer) != len(chip):
        verdict.differ(f"at {at_ms} ms the model gives {len(answer)} bytes, the chip {len(chip)}")
    elif verdict.chip in _WORDS:
        _judge_words(chip, answer, verdict, at_ms)
    elif (shape := _SHAPES.get(verdict.chip)) is not None:
        for index in range(0, len(chip) - shape.width + 1, shape.width):
            register = pointer + index // shape.width if shape.steps else pointer
            values = [int.from_bytes(each[index : index + shape.width], "big") for each in (chip, answer)]
            _judge_register(shape, register, values, verdict, at_ms)


def _judge_register(
    shape: _Shape, register: int, values: Sequence[int], verdict: Verdict, at_ms: int
) -> None:
    real, modelled = values
    fixed, ready = shape.fixed.get(register, 0), shape.ready.get(register, 0)
    if (real ^ modelled) & fixed:
        verdict.differ(
            f"at {at_ms} ms register {register:#04x}: the chip says {real:#x}, the model {modelled:#x}, in bits"
            f" {(real ^ modelled) & fixed:#x}"
        )
    if ready:
        verdict.polls += 1
        verdict.late += bool((real ^ modelled) & ready)


def _judge_words(chip: bytes, answer: bytes, verdict: Verdict, at_ms: int) -> None:
    for who, data in (("chip", chip), ("model", answer)):
        for index in range(0, len(data) - 2, 3):
            if crc8(data[index : index + 2]) != data[index + 2]:
                verdict.differ(f"at {at_ms} ms word {index // 3} of the {who} has a wrong checksum")
