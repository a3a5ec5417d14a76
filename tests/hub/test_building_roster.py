"""A contract set that holds the roster of a building: the hub takes it, proves with it and audits it as any other."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from chain.examples import building
from fleet import CONTRACT_DOCUMENT, Fleet
from hubkit import Hub

from gateway.chain.alarm import contract_hash
from gateway.chain.block import Header
from gateway.chain.evidence import verify_evidence
from gateway.chain.neighbour import Building
from gateway.chain.ordered import Grant, encode_transaction
from hub.auditing.audit import audit
from hub.evidence import Archive, alarm_evidence, reading_evidence

SECOND = Path(__file__).parents[1] / "second" / "verify.mjs"
DOCUMENTS = (CONTRACT_DOCUMENT, building().encode())


def test_a_set_with_a_roster_is_granted_kept_proved_and_audited(
    tmp_path: Path, require: Callable[[str], Path]
) -> None:
    fleet = Fleet()
    hub = Hub(tmp_path / "hub", fleet)
    gateway = fleet.gateway("a")
    gateway.documents = DOCUMENTS
    hub.enrol("a")
    hub.order(encode_transaction(Grant(fleet.grant(gateway.id, 1, DOCUMENTS))))
    alarm = gateway.alarm()
    hub.hear(alarm)
    block = gateway.block(4)
    hub.take(block)
    hub.promise(block)
    root = Header.decode(block.header).contracts
    kept = hub.store.library.contracts(root.root)
    assert kept is not None
    assert root.count == 2
    assert sorted(kept) == sorted(DOCUMENTS)
    hub.close()
    report = audit(tmp_path / "hub")
    assert report.faults == []
    archive = Archive.open(tmp_path / "hub" / "ledger.db")
    raised = verify_evidence(alarm_evidence(archive, alarm.hash), fleet.genesis.hash)
    file = reading_evidence(archive, gateway.id, 1, 0)
    archive.close()
    read = verify_evidence(file, fleet.genesis.hash)
    assert raised.raised is not None
    assert raised.raised.document == CONTRACT_DOCUMENT
    assert read.stood is not None
    proved = [each for each in read.stood.documents if each != CONTRACT_DOCUMENT]
    assert [Building.read(each).name for each in proved] == ["elm-street-4"]
    (tmp_path / "evidence").write_bytes(file)
    command = [require("node"), SECOND, tmp_path / "evidence", "--trust", fleet.genesis.hash.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["block"]["contracts"] == [
        contract_hash(each).hex() for each in read.stood.documents
    ]
