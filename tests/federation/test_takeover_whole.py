"""A hub alone becomes a federation of four: its gateway moves by itself, and what was proved before stays proved."""

from __future__ import annotations

from pathlib import Path

import pytest
from agencies import Agency, Federation, wait_for
from proving import alarm_evidence, check_evidence
from region import Region

from gateway.chain.genesis import Genesis


@pytest.mark.usefixtures("engine")
def test_a_gateway_moves_to_the_federation_that_takes_its_chain_over(
    tmp_path: Path,
) -> None:
    with Region(tmp_path / "before") as region:
        gateway = region.add("flat")
        gateway.start()
        region.await_blocks(gateway)
        region.await_alarms(gateway)
        old: Genesis = region.genesis
        before = region.shown(gateway)
        alarm = next(each for each in region.alarms(gateway) if each["final_ms"] is not None)
        proof = alarm_evidence(region.hub.directory, alarm["hash"], tmp_path / "old.evidence")
        gateway.kill()  # so that nothing of it is on its way when the chain is closed
        region.hub.stop()
        with Federation(tmp_path, cables=False, before=region.hub) as federation:
            assert federation.genesis.hash != old.hash
            gateway.start()
            first, *others = federation.hubs
            path = f"/v1/gateways/{gateway.id.hex()}"

            def moved() -> bool:
                shown = first.ask(path)
                return bool(shown and shown["epoch"] > before["epoch"] and shown["head"] > before["head"] + 2)

            wait_for(moved, "blocks in the federation's chain")
            for hub in others:
                wait_for(lambda hub=hub: (hub.ask(path) or {}).get("epoch", 0) > before["epoch"], hub.name)  # type: ignore[misc]

            def alarmed(hub: Agency) -> list[str]:
                found = hub.ask("/v1/alarms?limit=1000") or ()
                return [each["hash"] for each in found if each["final_ms"] is not None]

            recent = wait_for(lambda: alarmed(first), "an alarm in the federation's chain")[0]
            wait_for(lambda: recent in alarmed(others[0]), "the same alarm at another hub")
            gateway.kill()
            federation.await_same()
            newer = alarm_evidence(others[0].directory, recent, tmp_path / "new.evidence")
            assert "chain" in check_evidence(newer, federation.genesis).lower()
            for hub in federation.hubs:
                assert federation.audit(hub)["verdict"] == "ok"
    assert alarm["contract"] in check_evidence(proof, old)
