"""Sensors: each is opened, asked for its own self-test, and sampled; what comes is judged.

Owns how many samples are taken and what their noise, failures and calibration come to. Values are made as the gateway
makes them (`gateway.recording.gauges`).
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from firmware_tools.selftest.buses import Scan
from firmware_tools.selftest.finding import FAILED, OK, WARNING, Finding, Verdict
from firmware_tools.words import quantity
from gateway.catalogue import Catalogue, Channel, SensorPlan
from gateway.errors import SensorError
from gateway.recording.gauges import Gauges
from gateway.sensors.base import Hardware, Sensor, SensorInfo
from gateway.sensors.registry import open_sensor

__all__ = ["REMEDIES", "sensor_findings"]

_PACE_MS: Final = 100  # between samples, where the chip allows it
_LONGEST_MS: Final = 12_000  # of one sensor's sampling; slow ones give fewer samples
_LEAST: Final = 3
_DAY_MS: Final = 86_400_000
_SOON_MS: Final = 30 * _DAY_MS

REMEDIES: Final[Mapping[str, str]] = {
    "nack": "check its four wires, its supply and its address strap",
    "timeout": "something holds the bus: unplug sensors one by one, power-cycle that one",
    "checksum": "shorten or shield the cable, or slow the bus down (dtparam=i2c_arm_baudrate=10000)",
    "stuck": "power-cycle it; if it is stuck again, replace it",
    "out-of-range": "check its input and wires; choose a larger range; if it is right, replace it",
    "no-data": "check its data wire and its pull-up resistor",
    "not-ready": "wait until it has warmed up and try again; then check its supply",
    "wiring": "find the open or shorted wire between element and converter",
    "power": "its supply breaks down: check connectors and the supply's current",
    "noise": "keep its cable away from mains and motors; twist or shield it",
    "slew": "check for a loose contact",
    "disagrees": "compare it with a reference; replace the one that is wrong",
}


@dataclass(slots=True)
class _Taken:
    """What sampling one sensor gave: values by series, and failures by kind."""

    values: dict[str, list[int]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    last: str = ""  # the latest failure's words
    asked: int = 0


def sensor_findings(
    catalogue: Catalogue, hardware: Hardware, scans: Mapping[str, Scan], samples: int, *, cycles: bool
) -> Iterator[Finding]:
    """Yield what each sensor comes to.

    Args:
        scans: by I2C bus, what answered.
        samples: how many are taken of a quick sensor.
        cycles: wait for the value of sensors that give one only once in a cycle.
    """
    clock = hardware.clock
    gauges = Gauges(catalogue, powered_since_ms=hardware.powered_since_ms, now_ms=clock.monotonic_ms())
    for plan in catalogue.sensors:
        if plan.info.driver != "neighbour":
            yield from _sensor(plan, hardware, gauges, scans, samples, cycles)
        yield from _calibrations(plan, clock.wall_ms())


def _sensor(
    plan: SensorPlan,
    hardware: Hardware,
    gauges: Gauges,
    scans: Mapping[str, Scan],
    samples: int,
    cycles: bool,
) -> Iterator[Finding]:
    try:
        sensor = open_sensor(plan.driver, plan.options, hardware)
    except SensorError as error:
        yield Finding("sensor", plan.name, FAILED, str(error), REMEDIES.get(error.kind, ""))
        return
    try:
        tested = _own_test(plan, sensor)
        if tested is not None:
            yield tested
        taken = _sample(plan, sensor, hardware, gauges, samples, cycles)
    finally:
        sensor.close()
    yield _judged(plan, taken, hardware, scans)
    for channel in plan.channels:
        if values := taken.values.get(channel.series.name):
            yield _value(channel, plan.info, values, is_warming=_warming_s(plan, hardware) > 0)


def _own_test(plan: SensorPlan, sensor: Sensor) -> Finding | None:
    test = getattr(sensor, "self_test", None)
    if test is None:
        return None
    try:
        test()
    except SensorError as error:
        remedy = REMEDIES.get(error.kind, "replace it")
        return Finding("sensor", plan.name, FAILED, f"its own self-test: {error}", remedy)
    return Finding("sensor", plan.name, OK, "passed its own self-test")


def _sample(
    plan: SensorPlan, sensor: Sensor, hardware: Hardware, gauges: Gauges, samples: int, cycles: bool
) -> _Taken:
    clock, taken, info = hardware.clock, _Taken(), plan.info
    step = max(info.min_interval_ms, min(_PACE_MS, plan.period_ms))
    wanted = max(_LEAST, min(samples, _LONGEST_MS // step))
    ends = clock.monotonic_ms() + max(_LONGEST_MS, 2 * wanted * step)
    if info.cycle_ms:
        step, wanted = min(step, info.max_interval_ms or step), 1
        ends = clock.monotonic_ms() + (2 * info.cycle_ms if cycles else 0)
    while True:
        taken.asked += 1
        try:
            values = sensor.sample()
            now = clock.monotonic_ms()
            for channel in plan.channels if values else ():
                value = gauges.value(channel, values, now)
                taken.values.setdefault(channel.series.name, []).append(value)
        except SensorError as error:
            if taken.asked > 1 or error.kind != "power":  # what heats its element says so once, at first
                taken.failures[error.kind] += 1
                taken.last = str(error)
        got = max((len(each) for each in taken.values.values()), default=0)
        done = got >= wanted or (not info.cycle_ms and taken.asked >= wanted)
        if done or clock.monotonic_ms() >= ends:
            return taken
        clock.sleep(step / 1000)


def _warming_s(plan: SensorPlan, hardware: Hardware) -> int:
    """Return how many seconds its values will mean nothing yet."""
    warm = hardware.powered_since_ms + plan.info.warm_up_ms - hardware.clock.monotonic_ms()
    return max(0, -(-warm // 1000))


def _judged(plan: SensorPlan, taken: _Taken, hardware: Hardware, scans: Mapping[str, Scan]) -> Finding:
    address, bus = plan.info.claim.address, plan.info.bus
    failed = sum(taken.failures.values())
    kind = taken.failures.most_common(1)[0][0] if failed else ""
    remedy = REMEDIES.get(kind, "see the manual of the sensor")
    where = f" on {bus} at {address:#04x}" if bus in scans and address is not None else ""
    warming = _warming_s(plan, hardware)
    if failed and not taken.values:
        if kind == "nack" and bus in scans and address not in scans[bus].found:
            return Finding("sensor", plan.name, FAILED, f"{plan.info.model}{where} is missing", remedy)
        verdict: Verdict = WARNING if warming and kind == "not-ready" else FAILED
        return Finding("sensor", plan.name, verdict, f"{kind}: {taken.last}", remedy)
    if not taken.values:
        every = plan.info.cycle_ms // 1000
        said = f"{plan.info.model}{where} answers; it gives a value every {every} s only"
        return Finding("sensor", plan.name, WARNING, said, "wait for one: --cycles")
    if failed:
        said = f"{failed} of {taken.asked} samples failed ({', '.join(sorted(taken.failures))}): {taken.last}"
        return Finding("sensor", plan.name, WARNING, said, remedy)
    if warming:
        said = f"{plan.info.model}{where} answers; warming up for another {warming} s"
        return Finding(
            "sensor", plan.name, WARNING, said, "wait, then test again: until then its values mean nothing"
        )
    return Finding("sensor", plan.name, OK, f"{plan.info.model}{where}, {taken.asked} samples")


def _value(channel: Channel, info: SensorInfo, values: Sequence[int], *, is_warming: bool) -> Finding:
    series = channel.series
    mean, noise = round(statistics.fmean(values)), statistics.pstdev(values)
    said = f"{quantity(mean, series.scale)} {series.unit} ± {quantity(round(noise), series.scale)}"
    verdict, remedy = _plausible(channel, info, mean, noise)
    if is_warming and verdict == FAILED:
        verdict = WARNING
    return Finding(
        "series",
        series.name,
        verdict,
        said + (f", {remedy[0]}" if remedy else ""),
        remedy[1] if remedy else "",
    )


def _plausible(
    channel: Channel, info: SensorInfo, mean: int, noise: float
) -> tuple[Verdict, tuple[str, str] | None]:
    """Compare with what the driver says of its quantity, where the series is that quantity itself."""
    if channel.calibration is not None:
        return OK, None
    limits = next((each for each in info.quantities if each.name == channel.quantity), None)
    if limits is None or limits.low is None or limits.high is None:
        return OK, None
    if not limits.low <= mean <= limits.high:
        return FAILED, (f"not within {limits.low} to {limits.high}", REMEDIES["out-of-range"])
    if noise > (limits.high - limits.low) / 50:
        return WARNING, ("noisy", REMEDIES["noise"])
    return OK, None


def _calibrations(plan: SensorPlan, wall_ms: int) -> Iterator[Finding]:
    for channel in plan.channels:
        validity = channel.calibration.validity if channel.calibration else None
        if validity is None:
            continue
        until = f"{datetime.fromtimestamp(validity.until_ms / 1000, UTC):%Y-%m-%d}"
        name, again = channel.series.name, "tocsin-tools calibrate"
        if wall_ms >= validity.until_ms:
            yield Finding("calibration", name, FAILED, f"expired on {until}", again)
        elif wall_ms >= validity.until_ms - _SOON_MS:
            yield Finding("calibration", name, WARNING, f"expires on {until}", again)
        else:
            yield Finding("calibration", name, OK, f"valid until {until}")
