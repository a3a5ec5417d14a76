"""Where a running hub can be reached: a file in its directory, there while it runs."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from hub.errors import ConfigError, HubError

ENDPOINTS: Final = "endpoints.json"


@contextlib.contextmanager
def announced(directory: Path, api: str, broker: str) -> Iterator[None]:
    """Keep the file with this process's addresses while the block runs. Raises ConfigError."""
    path, draft = directory / ENDPOINTS, directory / f"{ENDPOINTS}.new"
    text = json.dumps({"pid": os.getpid(), "api": api, "broker": broker}) + "\n"
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def is_running(directory: Path) -> bool:
    """Tell whether a hub runs in a directory; one that was killed leaves its addresses behind."""
    try:
        return Path(f"/proc/{int(read_endpoints(directory)['pid'])}").exists()
    except (HubError, LookupError, TypeError, ValueError):
        return False


def read_endpoints(directory: Path) -> dict[str, Any]:
    """Return the addresses of the hub of a directory. Raises HubError where none runs."""
    try:
        found: dict[str, Any] = json.loads((directory / ENDPOINTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HubError(f"no hub runs in {directory}: start it with tocsin-hub run") from error
    return found
