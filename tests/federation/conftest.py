"""Four hubs for a test, where CometBFT is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agencies import Federation


@pytest.fixture
def engine(require: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """CometBFT, found by the hubs that the test starts."""
    monkeypatch.setenv("PATH", str(require("cometbft").parent), prepend=":")


@pytest.fixture
def federation(tmp_path: Path, engine: None) -> Iterator[Federation]:
    """A running federation of four."""
    with Federation(tmp_path) as running:
        yield running


@pytest.fixture
def founding(tmp_path: Path, engine: None) -> Federation:
    """A federation of four that is founded and not started: use it as a context manager."""
    return Federation(tmp_path)
