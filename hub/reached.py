"""How far this hub's chain had come, in a file beside its ledger.

A ledger that is gone, or older than what was sealed, must not be gone on with: the same key would seal other final
blocks at heights that it has sealed already. The file is the hub's own reminder, not evidence.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Final

from gateway.chain.genesis import Genesis
from hub.errors import ConfigError

_log = logging.getLogger(__name__)

FILE: Final = "reached.json"
_EVERY_SECONDS: Final = 5.0


class Reached:
    """The file of one directory and chain."""

    def __init__(self, directory: Path, genesis: Genesis) -> None:
        self._path, self._genesis = directory / FILE, genesis.hash.hex()
        self._noted = -_EVERY_SECONDS

    def check(self, height: int) -> None:
        """Check the final block at which a ledger stands. Raises ConfigError where the chain had come further."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            genesis, reached = str(found["genesis"]), int(found["height"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(
                f"{self._path} cannot be read: {error}; remove it to go on without it"
            ) from error
        if genesis == self._genesis and reached > height:
            raise ConfigError(
                f"the ledger stands at final block {height}, but this hub has sealed {reached}: restore ledger.db;"
                f" gateways and readers will find out if you remove {self._path} and go on without what is lost"
            )

    def note(self, height: int, *, at_once: bool = False) -> None:
        """Note a sealed final block, not too often unless `at_once`."""
        now = time.monotonic()
        if not at_once and now - self._noted < _EVERY_SECONDS:
            return
        self._noted = now
        draft = self._path.with_suffix(".new")
        try:
            draft.write_text(
                json.dumps({"genesis": self._genesis, "height": height}) + "\n", encoding="utf-8"
            )
            draft.replace(self._path)
        except OSError as error:
            _log.error("%s is not brought up to date: %s", self._path, error)
