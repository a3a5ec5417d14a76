"""The machine below the gateway: supply, heat, clock, watchdog, disk.

Owns what is too little or too much. What the machine says is `gateway.inspection.facts`'.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from firmware_tools.selftest.finding import FAILED, OK, WARNING, Finding, Verdict
from gateway.inspection.facts import Disk, Machine, meanings, run

__all__ = ["machine_findings"]

_NOW: Final = 0xF  # the bits of what is so at this moment; those above are of the past
_UNDER_VOLTAGE: Final = 1 << 0 | 1 << 16
_HOT_C: Final = 75.0
_TOO_HOT_C: Final = 84.0
_LOW_BATTERY_V: Final = 2.5
_RTC_OFF_S: Final = 10
_LOW_MB: Final = 500
_NO_MB: Final = 50
_SYNCS: Final = 15
_SLOW_MS: Final = 250.0
_TOO_SLOW_MS: Final = 2_000.0
_WORN: Final = 80


def machine_findings(machine: Machine, data: Path) -> Iterator[Finding]:
    """Yield what the machine's own condition comes to."""
    yield _supply(machine)
    yield from _heat(machine)
    yield from _clock(machine)
    yield _hardware_watchdog(machine)
    yield _system_watchdog()
    yield from _disk(machine, data)


def _supply(machine: Machine) -> Finding:
    word = machine.throttled()
    if word is None:
        return Finding("power", "supply", WARNING, "not shown here", "run this on the Raspberry Pi itself")
    said = ", ".join(meanings(word))
    stronger = "take the official supply and a short, thick cable; unplug what draws from USB"
    if word & _UNDER_VOLTAGE & _NOW:
        return Finding("power", "supply", FAILED, said, stronger)
    if word & _UNDER_VOLTAGE:
        return Finding("power", "supply", WARNING, said, stronger)
    if word:
        return Finding("power", "supply", WARNING, said, "cool it: a heat sink, or a housing with vents")
    return Finding("power", "supply", OK, "no under-voltage, no throttling since the start")


def _heat(machine: Machine) -> Iterator[Finding]:
    celsius = machine.celsius()
    if celsius is None:
        return
    verdict: Verdict = FAILED if celsius >= _TOO_HOT_C else WARNING if celsius >= _HOT_C else OK
    remedy = "" if verdict == OK else "cool it: a heat sink, or a housing with vents"
    yield Finding("power", "temperature", verdict, f"{celsius:.0f} °C", remedy)


def _clock(machine: Machine) -> Iterator[Finding]:
    rtc, synchronised = machine.rtc(), machine.is_synchronised()
    if synchronised:
        yield Finding("clock", "time", OK, "set by a time server")
    elif rtc is not None:
        yield Finding("clock", "time", OK, f"no time server; the clock {rtc['name']} holds it")
    else:
        yield Finding(
            "clock",
            "time",
            WARNING,
            "no time server, no real-time clock: nothing vouches for it until a hub is reached",
            "let it reach a time server, or fit a real-time clock with a battery",
        )
    if rtc is None:
        return
    battery, seconds = rtc["battery_v"], rtc["seconds"]
    if battery is not None and battery < _LOW_BATTERY_V:
        yield Finding("clock", "battery", WARNING, f"{battery:.2f} V", "replace the real-time clock's cell")
    elif battery is not None:
        yield Finding("clock", "battery", OK, f"{battery:.2f} V")
    if seconds is not None and abs(seconds - time.time()) > _RTC_OFF_S:
        off = seconds - time.time()
        yield Finding(
            "clock",
            "real-time clock",
            WARNING,
            f"{off:+.0f} s off the system's",
            "write it: hwclock --systohc; if it is off again after a power cut, replace its cell",
        )


def _hardware_watchdog(machine: Machine) -> Finding:
    watchdog = machine.watchdog()
    if watchdog is None:
        return Finding(
            "watchdog", "hardware", WARNING, "there is none", "enable it: dtparam=watchdog=on in config.txt"
        )
    if watchdog.state != "active":
        return Finding(
            "watchdog",
            "hardware",
            FAILED,
            "there is one, and nobody feeds it: a hung system stays hung",
            "set RuntimeWatchdogSec=15 in /etc/systemd/system.conf and restart",
        )
    return Finding("watchdog", "hardware", OK, f"armed, bites after {watchdog.timeout_s} s")


def _system_watchdog() -> Finding:
    said = (run(["systemctl", "show", "--property=RuntimeWatchdogUSec", "--value"]) or "").strip()
    if said in ("", "0", "infinity"):
        return Finding(
            "watchdog",
            "system",
            WARNING,
            "systemd feeds no watchdog" if said else "systemd does not answer here",
            "set RuntimeWatchdogSec=15 in /etc/systemd/system.conf and restart",
        )
    return Finding("watchdog", "system", OK, f"systemd feeds it within {said}")


def _disk(machine: Machine, data: Path) -> Iterator[Finding]:
    disk = machine.disk(data)
    if disk is None:
        yield Finding("disk", str(data), FAILED, "cannot be looked at", "check [gateway] data")
        return
    yield _room(disk)
    yield from _wear(disk)
    yield _speed(data)


def _room(disk: Disk) -> Finding:
    free = disk.free >> 20
    said = f"{free} of {disk.total >> 20} MB free on {disk.device or 'it'}"
    remedy = "take a larger card, or lower quota_mb"
    if free < _NO_MB:
        return Finding("disk", "room", FAILED, said, remedy)
    return (
        Finding("disk", "room", WARNING, said, remedy)
        if free < _LOW_MB
        else Finding("disk", "room", OK, said)
    )


def _wear(disk: Disk) -> Iterator[Finding]:
    replace = "replace it before it fails; the chain goes on, the data directory can be copied"
    if disk.errors:
        yield Finding("disk", "errors", FAILED, f"its file system has met {disk.errors} errors", replace)
    if disk.life_used is not None:
        worn = disk.life_used >= _WORN or disk.spare in ("warning", "urgent")
        said = f"up to {disk.life_used} % of its life used, spare blocks: {disk.spare or 'not said'}"
        yield Finding("disk", "wear", WARNING if worn else OK, said, replace if worn else "")
    elif disk.device.startswith("mmcblk"):
        written = "" if disk.written_kib is None else f"; {disk.written_kib >> 20} GiB were written to it"
        yield Finding("disk", "wear", OK, f"a card does not say how worn it is{written}")


def _speed(data: Path) -> Finding:
    """Measure how long small synced writes take, in a file that is removed again."""
    folder = next(each for each in (data, *data.parents) if each.exists())
    path = folder / f".selftest-{os.getpid()}"
    times = []
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for _ in range(_SYNCS):
                begun = time.monotonic()
                os.write(descriptor, bytes(4096))
                os.fsync(descriptor)
                times.append((time.monotonic() - begun) * 1000)
        finally:
            os.close(descriptor)
            path.unlink()
    except OSError as error:
        return Finding(
            "disk",
            "writing",
            FAILED,
            f"{folder} cannot be written: {error.strerror}",
            "check that it is mounted read-write, belongs to the gateway's user, and that the card is not worn out",
        )
    median, worst = statistics.median(times), max(times)
    said = f"4 KiB are safe after {median:.1f} ms, {worst:.1f} ms at worst"
    verdict: Verdict = FAILED if median > _TOO_SLOW_MS else WARNING if worst > _SLOW_MS else OK
    return Finding(
        "disk", "writing", verdict, said, "" if verdict == OK else "take a faster card (class A1 or better)"
    )
