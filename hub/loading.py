"""Filling the read model from the store at start."""

from __future__ import annotations

from gateway.chain.alarm import Transition
from gateway.chain.leaf import ENROL
from gateway.chain.messages import Birth
from gateway.chain.ordered import Enrol, decode_transaction
from gateway.chain.tenure import EnrolmentBody
from hub.alarms import alarm_index
from hub.core import Core
from hub.storage.store import StoredAlarm
from hub.view import KEPT_ALARMS, KEPT_UNPROVEN, View


def load_view(core: Core, view: View) -> None:
    """Take up gateways, their latest births and values, and the latest alarms. Raises StoreError."""
    view.loaded(core.store.count_blocks())
    known = [gateway for gateway in core.store.gateways() if core.entry(gateway) is not None]
    for gateway in known:
        _load_gateway(core, view, gateway)
    for stored in _latest_alarms(core, known):
        transition = Transition.decode(stored.alarm.transition)
        document = core.store.library.contract(transition.contract_hash)
        flaws = (stored.flaw,) if stored.flaw else ()
        view.alarmed(stored.alarm, transition, flaws, stored.received, document)
        if (at := _final_at(core, stored.gateway, stored.hash)) is not None:
            view.alarm_final(stored.hash, at)


def _latest_alarms(core: Core, known: list[bytes]) -> list[StoredAlarm]:
    """Return the latest alarms, oldest first: of all, of each gateway its share, of strangers a few."""
    found = core.store.latest_alarms(limit=KEPT_UNPROVEN, proven=False)
    found += core.store.latest_alarms(limit=KEPT_ALARMS)
    for gateway in known:
        found += core.store.latest_alarms(gateway, max(KEPT_ALARMS // len(known), 1))
    return [stored for _, stored in sorted({stored.id: stored for stored in found}.items())]


def _load_gateway(core: Core, view: View, gateway: bytes) -> None:
    entry = core.entry(gateway)
    assert entry is not None, "the caller looked"
    view.entry(gateway, entry)
    for record in core.store.chain.records(gateway):
        transaction = decode_transaction(record.tx) if record.kind == ENROL else None
        if isinstance(transaction, Enrol):
            view.enrolled(gateway, EnrolmentBody.decode(transaction.enrolment.body).name)
    if born := core.store.library.birth(gateway):
        view.born(gateway, Birth.decode(born[0].body), born[1])
    for stored in core.store.latest_headers(gateway, 1):
        view.resumed(gateway, stored.header, {each.series: each.last for each in stored.summaries})


def _final_at(core: Core, gateway: bytes, identity: bytes) -> int | None:
    index = alarm_index(core, gateway, identity)
    checkpoint = None if index is None else core.store.chain.checkpoint_covering(index)
    return None if checkpoint is None else checkpoint.verify(core.genesis).time
