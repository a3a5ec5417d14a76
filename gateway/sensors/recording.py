"""A recording in CSV, replayed as if it were a sensor.

Owns reading the file, from inside zip archives too, and the mapping of columns to quantities. It does not
own where a recording came from (`gateway/simulation/recordings/PROVENANCE.md` for the packaged ones).

Invariants:
* Rows come in order, each at most once a round; a row that cannot be read is a fault, never skipped.
* Decimals are turned into scaled integers by one rounding, half to even.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from importlib.resources import as_file, files
from pathlib import Path
from typing import IO, Final, Literal

from gateway.errors import SensorError, SimulationError
from gateway.sensors.base import Hardware, Quantity, SensorInfo

__all__ = ["Column", "Options", "Recording", "connect", "describe"]

_PACKAGED: Final = "package:"
_MAX_NESTING: Final = 3
_MAX_DIGITS: Final = 18  # what a 64-bit integer surely holds
_ZIP_MAGIC: Final = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Column:
    """How a column becomes a quantity.

    Attributes:
        column: the name in the file's first line.
        unit: the unit that the file's numbers are in.
        scale: values are kept as integers of 10**scale units.
    """

    column: str
    unit: str
    scale: int = 0

    def __post_init__(self) -> None:
        if not -18 <= self.scale <= 18:
            raise ValueError("scale must be -18 to 18")


@dataclass(frozen=True, slots=True)
class Options:
    """A CSV file with a header line.

    Attributes:
        path: the file, plain or zipped; `package:NAME` is a recording that ships with this package.
        columns: by quantity name.
        rows_per_second: the pace of the replay, whatever that of the recording was; rows that nobody asks
            for in their time are passed over. 0 gives the next row to each sample.
        at_end: "stop" (no data from then on) or "loop".
    """

    path: str
    columns: Mapping[str, Column]
    rows_per_second: int = 0
    at_end: Literal["stop", "loop"] = "stop"

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("columns must name at least one quantity")
        if not 0 <= self.rows_per_second <= 1_000_000:
            raise ValueError("rows_per_second must be 0 to 1000000")


class Recording:
    """The quantities of one row after the other."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._options = options
        self._clock = hardware.clock
        self._rows = self._read()
        self._first = next(self._rows, None)  # opens the file now, so that a wrong path shows at once
        self._taken = 0
        self._start_ms: int | None = None

    def sample(self) -> Mapping[str, int]:
        for _ in range(self._await_row()):
            self._next()
        row = self._next()
        return {name: _scaled(row, column) for name, column in self._options.columns.items()}

    def close(self) -> None:
        self._rows.close()

    def _await_row(self) -> int:
        """Wait until a new row is due; return how many due ones it leaves behind."""
        rate = self._options.rows_per_second
        if rate == 0:
            return 0
        if self._start_ms is None:
            self._start_ms = self._clock.monotonic_ms()
        due = (self._clock.monotonic_ms() - self._start_ms) * rate // 1000
        if due < self._taken:
            due_ms = self._start_ms - (-self._taken * 1000 // rate)
            self._clock.sleep((due_ms - self._clock.monotonic_ms()) / 1000)
            due = self._taken
        passed, self._taken = due - self._taken, due + 1
        return passed

    def _next(self) -> dict[str, str]:
        row, self._first = self._first or next(self._rows, None), None
        if row is None and self._options.at_end == "loop":
            self._rows = self._read()
            row = next(self._rows, None)
        if row is None:
            raise SensorError("no-data", f"the recording {self._options.path} has ended")
        return row

    def _read(self) -> Generator[dict[str, str], None, None]:
        with ExitStack() as stack:
            try:
                path = stack.enter_context(_locate(self._options.path))
                lines = csv.reader(_text(path.name, stack.enter_context(path.open("rb")), stack))
                header = next(lines, [])
                self._check(header)
                for line in lines:
                    yield dict(zip(header, line, strict=False))
            except (OSError, zipfile.BadZipFile, UnicodeDecodeError, csv.Error) as error:
                raise SimulationError(
                    f"the recording {self._options.path} cannot be read: {error}"
                ) from error

    def _check(self, header: list[str]) -> None:
        for column in self._options.columns.values():
            if column.column not in header:
                raise SimulationError(
                    f"the recording {self._options.path} has no column {column.column!r}; "
                    f"it has {', '.join(header)}"
                )


def _locate(path: str) -> AbstractContextManager[Path]:
    if path.startswith(_PACKAGED):
        return as_file(files("gateway.simulation") / "recordings" / path.removeprefix(_PACKAGED))
    return nullcontext(Path(path))


def _text(name: str, stream: IO[bytes], stack: ExitStack, depth: int = 0) -> IO[str]:
    """Unpack zip archives by content: published ones hold archives, or a CSV that is called one."""
    magic = stream.read(len(_ZIP_MAGIC))
    stream.seek(0)
    if magic != _ZIP_MAGIC:
        return io.TextIOWrapper(stream, "utf-8-sig", newline="")
    if depth == _MAX_NESTING:
        raise zipfile.BadZipFile(f"{name} is an archive within archives")
    archive = stack.enter_context(zipfile.ZipFile(stream))
    members = [m for m in archive.namelist() if not m.endswith("/")]
    if len(members) != 1:
        raise zipfile.BadZipFile(f"{name} must hold one file, not {len(members)}")
    return _text(members[0], stack.enter_context(archive.open(members[0])), stack, depth + 1)


def _scaled(row: Mapping[str, str], column: Column) -> int:
    text = row.get(column.column, "").strip()
    try:
        value = Decimal(text).scaleb(-column.scale)
        # An absurd exponent would make a huge integer.
        if not value.is_finite() or value.adjusted() > _MAX_DIGITS:
            raise InvalidOperation
    except InvalidOperation:
        raise SensorError("no-data", f"the recording has {text!r} in column {column.column!r}") from None
    return int(value.to_integral_value(ROUND_HALF_EVEN))


def describe(options: Options) -> SensorInfo:
    """Say what the recording will give, without opening it."""
    return SensorInfo(
        driver="recording",
        model=options.path.rpartition("/")[2].removeprefix(_PACKAGED),
        quantities=tuple(Quantity(name, c.unit, c.scale) for name, c in options.columns.items()),
        min_interval_ms=1,
        warm_up_ms=0,
        bus=f"recording {options.path}",
    )


def connect(options: Options, hardware: Hardware) -> Recording:
    """Open the file.

    Raises:
        SimulationError: it cannot be read, or lacks a column.
    """
    return Recording(options, hardware)
