"""The vectors of SEMANTICS.md, reasoned by hand from its text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.contracts.document import Contract, SeriesInfo
from gateway.contracts.engine import Engine
from gateway.contracts.errors import DocumentError
from gateway.contracts.machine import Transition
from gateway.contracts.source import read_contract

_VECTORS = Path(__file__).parents[1] / "vectors"
_CASES: list[dict[str, Any]] = json.loads((_VECTORS / "contracts.json").read_text())["cases"]
_DOCUMENTS = json.loads((_VECTORS / "contracts-documents.json").read_text())


@pytest.mark.parametrize("case", _CASES, ids=lambda c: c["rule"])
def test_events_yield_the_transitions_that_the_rule_says(case: dict[str, Any]) -> None:
    series = {name: SeriesInfo(unit, scale) for name, (unit, scale) in case["series"].items()}
    contracts = [read_contract(text, "vector") for text in case["contracts"]]
    engine = Engine(contracts, series, case["start"])
    for event in case["events"]:
        if event["event"] == "restart":
            contracts = [read_contract(t, "vector") for t in event.get("contracts", ())] or contracts
            saved = engine.snapshot(event["saved_at"])
            engine = Engine(contracts, series, event["restored_at"])
            got = engine.restore(saved, event["restored_at"])
        else:
            got = _apply(engine, event)
        assert [_shown(t) for t in got] == event["transitions"], event
        if "driven" in event:
            assert [name for name, on in engine.outputs().items() if on] == event["driven"], event


def _apply(engine: Engine, event: dict[str, Any]) -> list[Transition]:
    match event["event"]:
        case "sample":
            return engine.sample(event["series"], event["value"], event["at"])
        case "fault":
            return engine.fault(event["series"], event["kind"], event["at"])
        case "power":
            return engine.power(event["series"], event["at"])
        case "reset":
            return engine.reset(event["contract"], event["at"])
    assert event["event"] == "expire"
    return engine.expire(event["at"])


def _shown(t: Transition) -> dict[str, Any]:
    return {
        "contract": t.contract_id,
        "at": t.at_ms,
        "before": t.before,
        "after": t.after,
        "faults_before": list(t.faults_before),
        "faults_after": list(t.faults_after),
        "values": [list(v) for v in t.values],
    }


@pytest.mark.parametrize("document", _DOCUMENTS["documents"], ids=lambda d: d["item"][1])
def test_a_document_has_the_bytes_and_the_hash_of_the_vector(document: dict[str, Any]) -> None:
    contract = read_contract(document["toml"], "vector")
    assert contract.item() == document["item"]
    assert contract.encode().hex() == document["bytes"]
    assert contract.hash.hex() == document["hash"]
    assert Contract.decode(bytes.fromhex(document["bytes"])) == contract


@pytest.mark.parametrize("refused", _DOCUMENTS["refused"], ids=lambda r: r["why"])
def test_bytes_that_are_not_a_contracts_only_spelling_are_refused(refused: dict[str, str]) -> None:
    with pytest.raises(DocumentError):
        Contract.decode(bytes.fromhex(refused["bytes"]))
