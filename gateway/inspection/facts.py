"""What the machine says of itself: supply, temperature, clock, watchdog, disk and its wear, as the kernel shows them.

Owns where these facts stand and how they are read. It does not own what is too much (`tocsin-tools selftest`).

Invariants: reading changes nothing; what a machine does not show is None, never an error.

Sources: Raspberry Pi documentation, `vcgencmd get_throttled`; Linux, Documentation/ABI, sysfs-class-rtc,
sysfs-class-watchdog, sysfs-fs-ext4 and the MMC core's attributes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.clock import SystemClock
from gateway.synchrony import system_word

__all__ = ["THROTTLED", "Disk", "Machine", "Watchdog", "meanings", "run"]

THROTTLED: Final = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
    16: "under-voltage has occurred",
    17: "frequency capping has occurred",
    18: "throttling has occurred",
    19: "soft temperature limit has occurred",
}
"""The bits of the firmware's word."""
_RUN_S: Final = 10.0
_MAX_TEXT: Final = 4096


@dataclass(frozen=True, slots=True)
class Watchdog:
    """The hardware watchdog: whether something feeds it, and after how many seconds it bites."""

    state: str
    timeout_s: int | None


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk below a directory.

    Attributes:
        total, free: bytes.
        is_writable: not mounted read-only.
        device: its name, such as mmcblk0; "" where the kernel does not say.
        life_used: percent of its life that is used, at most, as an eMMC reports it in tenths.
        spare: "normal", "warning" or "urgent", its reserved blocks.
        written_kib: what was ever written to its ext4.
        errors: errors that its ext4 has met.
    """

    total: int
    free: int
    is_writable: bool
    device: str = ""
    life_used: int | None = None
    spare: str | None = None
    written_kib: int | None = None
    errors: int | None = None


class Machine:
    """The machine this runs on, or the one whose /sys, /proc, /dev and /run stand below another root."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def text(self, path: str) -> str | None:
        """Return a small file's text, stripped; None where it cannot be read."""
        try:
            with (self._root / path).open("rb") as file:
                return file.read(_MAX_TEXT).decode(errors="replace").strip("\0\n ")
        except OSError:
            return None

    def number(self, path: str, base: int = 10) -> int | None:
        """Return a small file's integer; None where there is none."""
        try:
            return int(self.text(path) or "", base)
        except ValueError:
            return None

    def model(self) -> str | None:
        """Return the board's name, such as "Raspberry Pi 4 Model B Rev 1.5"."""
        return self.text("sys/firmware/devicetree/base/model") or self.text("proc/device-tree/model")

    def throttled(self) -> int | None:
        """Return the firmware's word of under-voltage and throttling; None where there is no such firmware."""
        word = self.number("sys/devices/platform/soc/soc:firmware/get_throttled", 16)
        if word is None and self._root == Path("/"):
            answer = run(["vcgencmd", "get_throttled"])
            try:
                word = int((answer or "").rpartition("=")[2], 16)
            except ValueError:
                return None
        return word

    def celsius(self) -> float | None:
        """Return the processor's temperature."""
        milli = self.number("sys/class/thermal/thermal_zone0/temp")
        return None if milli is None else milli / 1000

    def is_synchronised(self) -> bool:
        """Whether the system's clock follows a time server."""
        if self._root == Path("/"):
            return system_word(SystemClock()).set_at_ms is not None
        return (self._root / "run/systemd/timesync/synchronized").exists()

    def rtc(self) -> dict[str, Any] | None:
        """Return the real-time clock's name, its Unix seconds and its battery's volts, as far as it says them."""
        base = "sys/class/rtc/rtc0"
        name = self.text(f"{base}/name")
        if name is None:
            return None
        micro = self.number(f"{base}/device/battery_voltage") or self.number(f"{base}/battery_voltage")
        return {
            "name": name,
            "seconds": self.number(f"{base}/since_epoch"),
            "battery_v": None if micro is None else micro / 1_000_000,
        }

    def watchdog(self) -> Watchdog | None:
        """Return the hardware watchdog; None without one."""
        state = self.text("sys/class/watchdog/watchdog0/state")
        if state is None:
            return None
        return Watchdog(state, self.number("sys/class/watchdog/watchdog0/timeout"))

    def disk(self, path: Path) -> Disk | None:
        """Return the disk below a directory, or below the nearest one above it that exists."""
        while not path.exists() and path != path.parent:
            path = path.parent
        try:
            usage, status = shutil.disk_usage(path), os.statvfs(path)
            number = path.stat().st_dev
        except OSError:
            return None
        is_writable = not status.f_flag & os.ST_RDONLY
        part = self._root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
        name = part.resolve().name if part.exists() else ""
        whole = self._whole(part) if name else None
        ext4 = f"sys/fs/ext4/{name}" if name else ""
        return Disk(
            usage.total,
            usage.free,
            is_writable,
            whole.name if whole else "",
            self._life_used(whole),
            self._spare(whole),
            self.number(f"{ext4}/lifetime_write_kbytes") if ext4 else None,
            self.number(f"{ext4}/errors_count") if ext4 else None,
        )

    def bound_chips(self, bus: int) -> dict[int, str]:
        """Return by address the chips of an I2C bus that the kernel drives itself."""
        found = {}
        base = self._root / "sys/bus/i2c/devices"
        for path in sorted(base.glob(f"{bus}-00??")) if base.is_dir() else ():
            if (path / "driver").exists():
                found[int(path.name.rpartition("-")[2], 16)] = (
                    self.text(str((path / "name").relative_to(self._root))) or ""
                )
        return found

    def everything(self, data: Path) -> dict[str, Any]:
        """Return all of it as plain values, for a support bundle."""
        watchdog, disk, word = self.watchdog(), self.disk(data), self.throttled()
        return {
            "model": self.model(),
            "system": self.text("etc/os-release"),
            "kernel": self.text("proc/sys/kernel/osrelease"),
            "uptime_s": float((self.text("proc/uptime") or "0").split()[0]),
            "memory": (self.text("proc/meminfo") or "").splitlines()[:5],
            "load": self.text("proc/loadavg"),
            "celsius": self.celsius(),
            "throttled": None if word is None else {"word": hex(word), "means": meanings(word)},
            "synchronised": self.is_synchronised(),
            "rtc": self.rtc(),
            "watchdog": watchdog and {"state": watchdog.state, "timeout_s": watchdog.timeout_s},
            "disk": disk and {name: getattr(disk, name) for name in Disk.__slots__},
        }

    def _whole(self, part: Path) -> Path:
        """Return the whole disk's directory of a partition's."""
        real = part.resolve()
        return real.parent if (real / "partition").exists() else real

    def _life_used(self, whole: Path | None) -> int | None:
        try:
            words = (whole / "device/life_time").read_text().split() if whole else []
            # 1 is up to 10 percent, 10 up to 100, 11 beyond.
            return max((int(word, 16) * 10 for word in words), default=None)
        except (OSError, ValueError):
            return None

    def _spare(self, whole: Path | None) -> str | None:
        try:
            word = int((whole / "device/pre_eol_info").read_text(), 16) if whole else 0
        except (OSError, ValueError):
            return None
        return {1: "normal", 2: "warning", 3: "urgent"}.get(word)


def meanings(word: int) -> list[str]:
    """Return in words what the firmware's word says."""
    return [text for bit, text in THROTTLED.items() if word >> bit & 1]


def run(command: Sequence[str]) -> str | None:
    """Return what a program prints; None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_RUN_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
