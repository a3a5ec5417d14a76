"""Four hubs for a test, where CometBFT is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agencies import Federation


@pytest.fixture
def federation(
    tmp_path: Path, require: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Federation]:
    """A running federation of four."""
    with founded(tmp_path, require, monkeypatch) as running:
        yield running


@pytest.fixture
def founding(tmp_path: Path, require: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Federation:
    """A federation of four that is founded and not started: use it as a context manager."""
    return founded(tmp_path, require, monkeypatch)


def founded(tmp_path: Path, require: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Federation:
    binary = require("cometbft")
    monkeypatch.setenv("PATH", str(binary.parent), prepend=":")
    return Federation(tmp_path)
