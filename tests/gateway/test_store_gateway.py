"""What the gateway's store keeps, and whose."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.errors import ConfigError
from gateway.region.enrol import Trust
from gateway.storage.recovery import open_data
from gateway.storage.store import ALARM_PAGE, Store, Transition


def test_alarms_that_a_hub_never_acknowledges_do_not_keep_the_newest_from_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "gateway.db")
    store.add_transitions([Transition(bytes([i >> 8, i & 255]) * 16, b"\0", 0, i) for i in range(300)], {})
    oldest = store.unacknowledged("hub")
    assert [row.wall_ms for row in oldest] == list(range(ALARM_PAGE))
    newest = store.unacknowledged("hub", 3, after=oldest[-1].ordinal, newest=True)
    assert [row.wall_ms for row in newest] == [299, 298, 297]
    store.close()


def test_a_data_directory_of_another_chain_is_refused(tmp_path: Path) -> None:
    def opened(genesis: bytes) -> None:
        found = open_data(tmp_path, Trust(genesis, None), b"\1" * 16, 1000, SystemClock())
        for journal in found.journals:
            journal.close()
        found.store.close()

    opened(b"\1" * 32)
    opened(b"\1" * 32)
    with pytest.raises(ConfigError, match="is of chain 0101010101010101, the trust file names 0202"):
        opened(b"\2" * 32)
    opened(b"\1" * 32)
