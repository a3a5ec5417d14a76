"""A hub that was restored from a backup votes only when nothing it may have signed before can be signed again.

Its engine begins with a key of no voter. The real one waits in a file until final blocks were made after the
restore without it: the lost hub can have signed nothing above the first of these, so that the real key may sign
whatever lies above the third. The lost hub has to be dead: two with one key are a crime that the chain punishes.

Owned: the waiting key, when it is taken up. Not owned: how (`hub.federation.keys`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from gateway.chain.keys import SigningKey
from hub.config import Config, read_key
from hub.consensus.base import FinalEvent
from hub.errors import ConfigError
from hub.federation.keys import install_validator_key
from hub.files import replace_private

WAITING: Final = "validator.key.restored"
MARK: Final = "restored.json"
CLOCKS_MS: Final = 120_000
"""How far this machine's clock may be from the others'."""
HEIGHTS: Final = 2


def begin(directory: Path, key: SigningKey, now_ms: int) -> None:
    """Let a restored directory's validator key wait. Raises ConfigError."""
    try:
        replace_private(directory / WAITING, key.seed.hex() + "\n")
        replace_private(directory / MARK, json.dumps({"at": now_ms}) + "\n")
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error}") from error


def end(config: Config) -> bool:
    """Take up a key that has waited long enough; the engine must be down. Raises ConfigError."""
    path, mark = config.directory / WAITING, config.directory / MARK
    if not path.exists() or (height := _read(mark).get("height")) is None:
        return False
    install_validator_key(Path(config.federation.engine_home), read_key(path), height)
    path.unlink()
    mark.unlink()
    return True


class Quarantine:
    """Counts the final blocks that a waiting key has to see. Subscribe `heard` to the engine."""

    def __init__(self, config: Config) -> None:
        """Look whether a key waits. Raises ConfigError."""
        self._mark = config.directory / MARK
        self.waits = (config.directory / WAITING).exists()
        self._after = _read(self._mark).get("at", 0) + CLOCKS_MS if self.waits else 0
        self._first = 0
        self.over = False
        """Whether the key may be taken up, at the engine's next start."""

    def heard(self, event: FinalEvent) -> None:
        """Hear of a final block. Raises ConfigError."""
        height = event.block.height
        if not self.waits or self.over or event.block.time <= self._after:
            return
        self._first = self._first or height
        if height >= self._first + HEIGHTS:
            found = _read(self._mark) | {"height": height}
            try:
                replace_private(self._mark, json.dumps(found) + "\n")
            except OSError as error:
                raise ConfigError(f"{self._mark} cannot be written: {error}") from error
            self.over = True


def _read(mark: Path) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(mark.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{mark} cannot be read: {error}; restore the hub from its backup again") from error
    return found
