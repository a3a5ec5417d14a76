"""Four hubs agree, and go on without one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agencies import Federation, wait_for


@pytest.fixture
def federation(tmp_path: Path, require: Callable[[str], Path]) -> Iterator[Federation]:
    require("cometbft")
    with Federation(tmp_path) as running:
        yield running


def test_what_one_hub_takes_in_is_final_at_all_four(federation: Federation) -> None:
    caller = federation.call("flat")
    gateway = caller.gateway
    for _ in range(5):
        caller.say("block", gateway.block().encode())
    for hub in federation.hubs:
        wait_for(lambda hub=hub: federation.is_final(gateway.id, 5, hub), f"block 5 at {hub.name}")  # type: ignore[misc]
    federation.await_same(size=6)
    for hub in federation.hubs:
        assert federation.audit(hub)["verdict"] == "ok"
