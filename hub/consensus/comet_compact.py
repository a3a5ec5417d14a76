"""Giving space back: what the engine has pruned stays in its databases until they are compacted, while it is down.

Owned: when that is worth the time, and the engine's own command for it. Not owned: what is pruned.
Invariant: it can be cut off at any time, and whatever fails here holds nothing up: the files are only larger.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from hub.child import launch
from hub.consensus.comet_home import DATA

LEAST: Final = 64 << 20
WEEK: Final = 7 * 86_400.0
MARK: Final = "compacted.log"
_STORES: Final = ("blockstore.db", "state.db")
_SECONDS: Final = 600.0

_log = logging.getLogger(__name__)


def compact(home: Path, program: str, least: int = LEAST) -> bool:
    """Compact the databases in an engine's home, and tell whether that was done.

    It is where they have at least `least` bytes, and it was not done within a week. What it leaves behind goes
    when the engine opens them next.
    """
    data, found = home.absolute() / DATA, shutil.which(program)
    before = _size(data)
    if found is None or before < least or not _is_due(data / MARK):
        return False
    try:
        with (data / MARK).open("wb") as output:
            command = [found, "experimental-compact-goleveldb", "--home", str(home.absolute())]
            process = launch(command, output, home.absolute())
            try:
                process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait()
    except OSError as error:
        _log.error("the engine's databases in %s are not compacted: %s", data, error)
        return False
    _log.info("the engine's databases, of %d bytes, are compacted", before)
    return True


def _size(data: Path) -> int:
    try:
        return sum(file.stat().st_size for store in _STORES for file in (data / store).glob("*"))
    except OSError:
        return 0  # a file went away meanwhile: nobody but an engine that runs does that


def _is_due(mark: Path) -> bool:
    try:
        return abs(time.time() - mark.stat().st_mtime) > WEEK
    except OSError:
        return True
