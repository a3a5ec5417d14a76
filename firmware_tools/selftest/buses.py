"""I2C buses: what is configured against what answers.

Owns the scan. It reads one byte at each address and writes nothing, so that no chip's settings change; a chip with
command words may refuse a read that nothing asked for, so one that is silent here counts as missing only where its
own driver finds it silent too (`firmware_tools.selftest.sensing`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import Final

from firmware_tools.selftest.finding import FAILED, OK, WARNING, Finding
from gateway.catalogue import Catalogue, SensorPlan
from gateway.errors import SensorError
from gateway.inspection.facts import Machine
from gateway.sensors.base import Hardware, I2cBus, Tally

__all__ = ["Scan", "i2c_buses", "restless", "scan", "strangers"]

FIRST, LAST = 0x03, 0x77
_KNOWN: Final = {
    **dict.fromkeys(range(0x40, 0x48), "INA219"),
    0x2A: "NAU7802",
    0x44: "SHT3x or INA219",
    0x45: "SHT3x or INA219",
    **dict.fromkeys(range(0x48, 0x4C), "ADS1115 or INA219"),
    0x59: "SGP40",
    0x62: "SCD41",
    0x68: "real-time clock",
    0x76: "BME280",
    0x77: "BME280",
}
"""What usually lives at an address."""


class Scan:
    """What a bus answered.

    Attributes:
        found: the addresses that acknowledged.
        trouble: why the bus could not be scanned, "" where it was.
        remedy: for that.
    """

    def __init__(self, found: Sequence[int] = (), trouble: str = "", remedy: str = "") -> None:
        self.found, self.trouble, self.remedy = frozenset(found), trouble, remedy


def i2c_buses(catalogue: Catalogue) -> dict[str, list[SensorPlan]]:
    """Return the I2C buses of a configuration, with what is on each."""
    found: dict[str, list[SensorPlan]] = {}
    for plan in catalogue.sensors:
        if plan.info.bus.startswith("i2c-"):
            found.setdefault(plan.info.bus, []).append(plan)
    return found


def scan(hardware: Hardware, bus: str) -> Scan:
    """Ask at each address of a bus whether anything acknowledges it."""
    try:
        opened = hardware.i2c(bus)
    except SensorError as error:
        return Scan((), str(error), "enable I2C (raspi-config, or dtparam=i2c_arm=on), join the group i2c")
    found: list[int] = []
    for address in range(FIRST, LAST + 1):
        try:
            _probe(opened, address)
        except OSError as error:
            if error.errno == errno.ETIMEDOUT:
                held = "it is held low: no address can be reached"
                return Scan(
                    found, held, "unplug the sensors one by one until it is free; power-cycle that one"
                )
            continue
        found.append(address)
    return Scan(found)


def _probe(bus: I2cBus, address: int) -> None:
    from smbus2 import i2c_msg

    try:
        bus.i2c_rdwr(i2c_msg.read(address, 1))
    except OSError as error:
        if error.errno == errno.ETIMEDOUT:
            raise
        # Who knows nothing but commands refuses to be read unasked; being written nothing, it acknowledges.
        bus.i2c_rdwr(i2c_msg.write(address, ()))


def strangers(bus: str, plans: Sequence[SensorPlan], scanned: Scan, machine: Machine) -> Iterator[Finding]:
    """Yield what a scan found, but for configured chips that are silent."""
    if scanned.trouble:
        yield Finding("bus", bus, FAILED, scanned.trouble, scanned.remedy)
        return
    expected = {plan.info.claim.address for plan in plans}
    answer = ", ".join(f"{each:#04x}" for each in sorted(scanned.found)) or "none"
    yield Finding("bus", bus, OK, f"answering addresses: {answer}")
    bound = machine.bound_chips(int(bus.removeprefix("i2c-")))
    for address in sorted(scanned.found - expected):
        subject = f"{bus} {address:#04x}"
        if address in bound:
            yield Finding("bus", subject, OK, f"the kernel's own {bound[address] or 'device'}")
            continue
        usual = f", usually {_KNOWN[address]}" if address in _KNOWN else ""
        yield Finding(
            "bus",
            subject,
            WARNING,
            f"something answers that is not configured{usual}",
            f"configure it, unplug it, or correct an address{_moved(address, plans, scanned)}",
        )


def _moved(address: int, plans: Sequence[SensorPlan], scanned: Scan) -> str:
    """Name a configured chip of the same kind that is silent: it may be this one, with another address strap."""
    for plan in plans:
        own = plan.info.claim.address
        if own not in scanned.found and plan.info.claim.chip in _KNOWN.get(address, ""):
            return f": {plan.name} is configured at {own:#04x} and silent"
    return ""


def restless(bus: str, before: Tally, after: Tally) -> Iterator[Finding]:
    """Yield what a bus needed in between: a good one needs nothing."""
    needed = {
        "repeats": after.retries - before.retries,
        "rescues": after.rescues - before.rescues,
        "reopenings": after.reopenings - before.reopenings,
    }
    if said := ", ".join(f"{count} {name}" for name, count in needed.items() if count):
        remedy = "shorten its cable, check connectors and supply, or slow it down (dtparam=i2c_arm_baudrate)"
        yield Finding("bus", f"{bus} traffic", WARNING, f"it needed {said}", remedy)
