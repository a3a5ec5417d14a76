"""A hub's chain ends once, in favour of one federation, and its gateways go on there as the old chain left them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fedkit import Federation, SealingHub
from fleet import DAY_MS, Fleet, FleetGateway, flip, seeded
from hubkit import Hub, lived

from gateway.chain.block import NOTHING_SEEN, Header
from gateway.chain.entries import (
    GOOD,
    ContractsEntry,
    GatewayEntry,
    KeyEnd,
    KeyEntry,
    KeySpan,
    contracts_key,
    gateway_key,
    key_end_key,
    key_key,
)
from gateway.chain.errors import BadSignature, ChainError
from gateway.chain.evidence import verify_evidence
from gateway.chain.finality import AppState, Entry
from gateway.chain.genesis import Genesis, Takeover
from gateway.chain.keys import SigningKey
from gateway.chain.leaf import EQUIVOCATE, IMPORT, REVOKE, ROTATE, LogLeaf
from gateway.chain.ordered import Import, decode_transaction, encode_transaction
from gateway.chain.state import StateTree
from gateway.chain.takeover import verify_takeover
from gateway.chain.tenure import NOWHERE
from gateway.chain.trees import EMPTY_ROOT
from gateway.chain.verify import open_block
from hub.auditing.audit import audit
from hub.consensus.base import FinalBlock, TxResult
from hub.errors import ConfigError, TakeoverError
from hub.evidence import Archive, alarm_evidence
from hub.federation.takeover import FILE, check_open, close, imports
from hub.lock import only_one
from hub.storage.store import NewBlock


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Hub]:
    """A stopped hub: `a` is in its second epoch, `b` barred, `c` revoked, `d` has rotated its key twice."""
    hub = lived(tmp_path / "old")
    (d,) = hub.enrol("d")
    hub.take(d.block(), d.block())
    for _ in range(2):
        hub.order(hub.fleet.order_rotation(d.rotate()))
        hub.take(d.block())
    key = hub.directory / "hub.key"
    key.write_text(hub.fleet.hub_key.seed.hex())
    key.chmod(0o600)
    hub.close()
    yield hub
    hub.close()


@pytest.fixture
def new(old: Hub, tmp_path: Path) -> Iterator[SealingHub]:
    """A hub of the federation that takes the old chain over."""
    federation = Federation(fleet=Fleet(1))
    federation.fleet.now = old.fleet.now + DAY_MS
    federation.take_over(close(old.directory, federation.genesis))
    hub = SealingHub(tmp_path / "new", federation)
    yield hub
    hub.close()


def brought(old: Hub, new: SealingHub) -> dict[bytes, bytes]:
    """Return the import of each gateway."""
    found = list(imports(old.directory / "ledger.db", new.genesis))
    return {decode_transaction(tx).gateway: tx for tx in found}  # type: ignore[union-attr]


def move(gateway: FleetGateway, federation: Federation) -> bytes:
    """Have a gateway adopt the new chain; return the epoch change with which it moves."""
    gateway.fleet, gateway.seen = federation.fleet, NOTHING_SEEN
    return federation.fleet.order_epoch(gateway.epoch_change(reason=4))


def refused(hub: SealingHub, tx: bytes) -> str:
    (result,) = hub.order(tx).tx_results
    assert (result.code, result.accepted) == (1, 0), result
    return result.error


# closing


def test_a_chain_is_closed_at_its_last_sealed_final_block_for_one_successor(old: Hub) -> None:
    federation = Federation()
    takeover = close(old.directory, federation.genesis)
    assert (takeover.height, takeover.app_hash) == (old.last.height, old.ledger.committed.app.hash)
    verify_takeover(takeover, replace(federation.genesis, takeovers=(takeover,)), old.fleet.genesis)
    federation.take_over(takeover)
    assert close(old.directory, federation.genesis) == takeover, "with its takeovers it is the same successor"
    with pytest.raises(TakeoverError, match="another federation"):
        close(old.directory, Federation(5).genesis)


def test_no_hub_runs_in_a_closed_directory(old: Hub) -> None:
    check_open(old.directory)
    close(old.directory, Federation().genesis)
    with pytest.raises(ConfigError, match="was closed at final block"):
        check_open(old.directory)
    (old.directory / FILE).write_bytes(b"noise")
    with pytest.raises(ConfigError, match="cannot be read"):
        check_open(old.directory)


def test_a_closed_chain_can_still_be_audited(old: Hub) -> None:
    close(old.directory, Federation().genesis)
    assert audit(old.directory).verdict == "ok"


def test_older_evidence_still_verifies_under_the_old_genesis_and_under_no_other(
    old: Hub, new: SealingHub
) -> None:
    archive = Archive.open(old.directory / "ledger.db")
    try:
        data = alarm_evidence(archive, old.fleet.gateway("a").alarms[0].hash)
    finally:
        archive.close()
    assert verify_evidence(data, old.fleet.genesis.hash)
    with pytest.raises(ChainError):
        verify_evidence(data, new.genesis.hash)


def test_nothing_is_closed_beside_a_running_hub(old: Hub) -> None:
    with only_one(old.directory), pytest.raises(ConfigError, match="stop it first"):
        close(old.directory, Federation().genesis)
    assert not (old.directory / FILE).exists()


def test_blocks_that_could_become_final_keep_a_chain_open(old: Hub) -> None:
    again = Hub(old.directory, old.fleet)
    again.keep(old.fleet.gateway("a").block())
    again.close()
    with pytest.raises(TakeoverError, match="blocks of 1 gateways are stored but not final"):
        close(old.directory, Federation().genesis)
    again = Hub(old.directory, old.fleet)
    again.order(old.fleet.order_headers(old.fleet.gateway("a").blocks[-1]))
    again.close()
    close(old.directory, Federation().genesis)


def test_blocks_of_a_barred_gateway_keep_nothing_open(old: Hub) -> None:
    again = Hub(old.directory, old.fleet)
    again.keep(old.fleet.gateway("b").block())
    again.close()
    close(old.directory, Federation().genesis)


def test_a_final_block_without_its_seal_or_effects_keeps_a_chain_open(old: Hub) -> None:
    again = Hub(old.directory, old.fleet)
    again.store.chain.append_final(replace(again.last, height=again.last.height + 1))
    again.close()
    with pytest.raises(TakeoverError, match="run the hub once more"):
        close(old.directory, Federation().genesis)


def test_only_a_federation_takes_over_and_only_what_this_hub_can_end(old: Hub) -> None:
    with pytest.raises(TakeoverError, match="only a federation"):
        close(old.directory, Fleet(7).genesis)
    (old.directory / "hub.key").write_text(seeded("another").hex())
    with pytest.raises(TakeoverError, match="alone can end"):
        close(old.directory, Federation().genesis)


# importing


def test_a_gateway_comes_over_with_keys_head_and_contracts(old: Hub, new: SealingHub) -> None:
    a, d = old.fleet.gateway("a"), old.fleet.gateway("d")
    txs = brought(old, new)
    assert len(txs) == 4
    result = new.order(*txs.values())
    assert all(each == TxResult(0, "", 1) for each in result.tx_results)
    at, before = new.ledger.committed, old.ledger.committed
    for gateway in (a, d):
        came, was = at.entry(gateway.id), before.entry(gateway.id)
        assert came is not None
        assert was is not None
        assert (came.keys, came.head, came.epoch, came.region) == (was.keys, was.head, was.epoch, was.region)
        assert (came.standing, came.epochs, came.mono, came.seen) == (IMPORT, (), 0, 0)
        leaf = LogLeaf(IMPORT, gateway.id, 0, 0, decode_transaction(txs[gateway.id]).hash)  # type: ignore[union-attr]
        assert new.ledger.index(leaf) == came.opened_at
    contracts = at.tree.get(contracts_key(a.id))
    assert contracts == before.tree.get(contracts_key(a.id))
    assert ContractsEntry.decode(contracts or b"").version == 1
    assert at.tree.get(contracts_key(d.id)) is None
    keys = [key.public for _, key in d.keys]
    begun = [at.tree.get(key_key(d.id, public)) for public in keys]
    assert [KeyEntry.decode(each or b"").first for each in begun] == [1, 3, 4]
    assert {KeyEntry.decode(each or b"").kind for each in begun} == {IMPORT}
    ends = [at.tree.get(key_end_key(d.id, public)) for public in keys]
    assert [each and (KeyEnd.decode(each).kind, KeyEnd.decode(each).last.height) for each in ends] == [
        (ROTATE, 2),
        (ROTATE, 3),
        None,
    ]


def test_who_was_barred_or_revoked_stays_so(old: Hub, new: SealingHub) -> None:
    new.order(*brought(old, new).values())
    for name, kind in (("b", EQUIVOCATE), ("c", REVOKE)):
        gateway = old.fleet.gateway(name)
        entry = new.ledger.committed.entry(gateway.id)
        assert entry is not None
        assert entry.standing == kind
        for span in entry.keys:
            end = new.ledger.committed.tree.get(key_end_key(gateway.id, span.key))
            assert (KeyEnd.decode(end or b"").kind, KeyEnd.decode(end or b"").last) == (kind, NOWHERE)
        assert refused(new, move(gateway, new.federation)).startswith("RevokedKey")


def test_heights_and_epochs_go_on_after_the_move_and_not_before(old: Hub, new: SealingHub) -> None:
    federation, a = new.federation, old.fleet.gateway("a")
    new.order(*brought(old, new).values())
    height, epoch = a.head.height, a.epoch
    change = move(a, federation)
    early = a.block(epoch=epoch)
    assert "moves by an epoch change first" in refused(new, federation.fleet.order_headers(early))
    a.head, a.mono = a.position(a.blocks[-2]), a.mono + 1
    assert new.order(change).tx_results == (TxResult(0, "", 1),)
    entry = new.ledger.committed.entry(a.id)
    assert entry is not None
    assert (entry.standing, entry.epoch, len(entry.epochs)) == (GOOD, epoch + 1, 1)
    unseen = a.block()
    assert refused(new, federation.fleet.order_headers(unseen)).startswith("UnseenEpoch")
    a.head = a.position(a.blocks[-3])
    a.see(new.checkpoint)
    block = a.block()
    assert new.order(federation.fleet.order_headers(block)).tx_results == (TxResult(0, "", 1),)
    assert a.position(block) == new.ledger.committed.entry(a.id).head  # type: ignore[union-attr]
    assert (a.head.epoch, a.head.height) == (epoch + 1, height + 1)


def test_the_new_chain_audits_as_ok_with_blocks_of_gateways_that_moved(old: Hub, new: SealingHub) -> None:
    federation, d = new.federation, old.fleet.gateway("d")
    new.order(*brought(old, new).values())
    d.alarm()  # under the old chain, to be published in a block of the new one
    new.order(move(d, federation))
    d.see(new.checkpoint)
    block = d.block()
    header = Header.decode(block.header)
    new.store.library.add_catalogue(d.catalogue)
    new.store.library.add_contracts(d.documents)
    opened = open_block(block, header, d.classes, new.genesis)
    new.store.add_blocks([NewBlock(block, header, opened, federation.fleet.now)])
    result = new.order(federation.fleet.order_alarms(d.alarms[-1]), federation.fleet.order_headers(block))
    assert all(each == TxResult(0, "", 1) for each in result.tx_results)
    new.store.add_alarms([(d.id, d.alarms[-1], "")], federation.fleet.now)
    new.close()
    report = audit(new.directory)
    assert report.faults == []
    assert (report.blocks, report.alarms, report.records) == (1, 1, 5)


def test_a_gateway_alarms_before_it_has_moved(old: Hub, new: SealingHub) -> None:
    new.order(*brought(old, new).values())
    a = old.fleet.gateway("a")
    a.fleet = new.federation.fleet
    assert new.order(new.federation.fleet.order_alarms(a.alarm())).tx_results == (TxResult(0, "", 1),)


def test_a_gateway_can_be_revoked_at_the_head_it_brought(old: Hub, new: SealingHub) -> None:
    new.order(*brought(old, new).values())
    a, fleet = old.fleet.gateway("a"), new.federation.fleet
    assert new.order(fleet.order_revocation(fleet.revocation(a.id, a.head))).tx_results[0].accepted == 1
    end = new.ledger.committed.tree.get(key_end_key(a.id, a.key.public))
    assert KeyEnd.decode(end or b"").last == a.head


def test_an_import_comes_once(old: Hub, new: SealingHub) -> None:
    tx = brought(old, new)[old.fleet.gateway("a").id]
    new.order(tx)
    before = new.ledger.committed.app
    assert new.order(tx).tx_results == (TxResult(0, "", 0),)
    assert new.ledger.committed.app == before


def test_a_gateway_enrolled_anew_is_not_overwritten(old: Hub, new: SealingHub) -> None:
    fleet, a = new.federation.fleet, old.fleet.gateway("a")
    tx = brought(old, new)[a.id]
    a.fleet = fleet
    new.order(fleet.order_enrolment(a.enrol()))
    assert "known here already" in refused(new, tx)


# lies


@pytest.mark.parametrize(
    ("firsts", "standing"),
    [((1, 5, 0), GOOD), ((1, 5, 5), GOOD), ((0, 5), GOOD), ((1, 5), 9), ((1, 5, 1), REVOKE)],
)
def test_an_entry_that_no_honest_chain_has_is_not_brought_over(
    tmp_path: Path, firsts: tuple[int, ...], standing: int
) -> None:
    """The old hub alone vouches for its last state; what it makes up there must bring no ledger down."""
    federation = Federation(fleet=Fleet(1))
    gateway = federation.fleet.gateway("a")
    keys = (gateway.key, *(SigningKey(seeded("made up", i)) for i in range(len(firsts) - 1)))
    spans = tuple(KeySpan(key.public, first) for key, first in zip(keys, firsts, strict=True))
    made_up = GatewayEntry("north", spans, standing, 1, NOWHERE, 0, bytes(8), 0, 0, ())
    tree = StateTree().put(gateway_key(gateway.id), made_up.encode())
    app = AppState(0, EMPTY_ROOT, tree.root)
    federation.take_over(Takeover(seeded("old"), 1, app.hash, bytes(64)))
    shown = [
        Entry(tree.get(at) or b"", tree.prove(at))
        for at in (gateway_key(gateway.id), contracts_key(gateway.id))
    ]
    record = encode_transaction(Import(seeded("old"), app, gateway.id, *shown))
    hub = SealingHub(tmp_path / "new", federation)
    hub.order()
    before = hub.ledger.committed.app
    assert "the chain taken over holds" in refused(hub, record)
    assert hub.ledger.committed.app == before
    hub.close()


def imported(old: Hub, new: SealingHub, name: str = "c") -> Import:
    record = decode_transaction(brought(old, new)[old.fleet.gateway(name).id])
    assert isinstance(record, Import)
    return record


def test_an_import_from_another_state_of_the_old_chain_is_refused(old: Hub, new: SealingHub) -> None:
    honest = imported(old, new)
    lie = replace(honest, app=replace(honest.app, log_size=honest.app.log_size + 1))
    assert "another state" in refused(new, encode_transaction(lie))


def test_an_import_from_a_chain_that_is_not_taken_over_is_refused(old: Hub, new: SealingHub) -> None:
    lie = replace(imported(old, new), takeover=seeded("another chain"))
    assert refused(new, encode_transaction(lie)).startswith("WrongChain")


def test_an_import_with_another_gateways_entry_is_refused(old: Hub, new: SealingHub) -> None:
    honest, other = imported(old, new, "c"), imported(old, new, "a")
    for lie in (
        replace(honest, entry=other.entry),
        replace(honest, gateway=other.gateway),
        replace(honest, contracts=other.contracts),
        replace(honest, gateway=seeded("nobody")[:16]),
    ):
        assert refused(new, encode_transaction(lie)).startswith("BadProof")


def test_an_import_that_drops_a_bad_standing_is_refused(old: Hub, new: SealingHub) -> None:
    honest = imported(old, new, "b")
    entry = GatewayEntry.decode(honest.entry.value)
    assert entry.standing == EQUIVOCATE
    clean = replace(honest.entry, value=replace(entry, standing=GOOD).encode())
    assert refused(new, encode_transaction(replace(honest, entry=clean))).startswith("BadProof")


def test_an_import_that_hides_a_contract_set_is_refused(old: Hub, new: SealingHub) -> None:
    honest = imported(old, new, "a")
    hidden = replace(honest.contracts, value=b"")
    assert refused(new, encode_transaction(replace(honest, contracts=hidden))).startswith("BadProof")


def test_no_bit_of_a_proof_can_be_changed(old: Hub, new: SealingHub) -> None:
    tx = brought(old, new)[old.fleet.gateway("a").id]
    for bit in range(0, len(tx) * 8, 97):
        block = FinalBlock(new.height + 1, new.federation.fleet.now, bytes(32), (flip(tx, bit),))
        (result,) = new.ledger.finalize(block).tx_results
        assert result.code == 1, bit


def test_imports_are_of_the_chain_as_it_was_closed(old: Hub, tmp_path: Path) -> None:
    federation = Federation()
    with pytest.raises(TakeoverError, match="none that"):
        list(imports(old.directory / "ledger.db", federation.genesis))
    takeover = close(old.directory, federation.genesis)
    federation.take_over(replace(takeover, height=takeover.height - 1))
    with pytest.raises(TakeoverError, match="take the directory that was closed"):
        list(imports(old.directory / "ledger.db", federation.genesis))


def test_a_takeover_that_another_hub_signed_is_none(old: Hub) -> None:
    federation = Federation()
    takeover = close(old.directory, federation.genesis)
    forged = Takeover(takeover.genesis, takeover.height, seeded("better"), takeover.signature)
    genesis: Genesis = replace(federation.genesis, takeovers=(forged,))
    with pytest.raises(BadSignature):
        verify_takeover(forged, genesis, old.fleet.genesis)
