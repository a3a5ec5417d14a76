"""What tests of the gateway leave behind is ended: the guardians that gateways of this process have started."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_guardian_is_left() -> Iterator[None]:
    yield
    for file in Path("/proc/self/task").glob("*/children"):
        for child in map(int, file.read_text().split()):
            with contextlib.suppress(OSError):
                if b"gateway.outputs.guardian" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(child, signal.SIGTERM)
                    os.waitpid(child, 0)
