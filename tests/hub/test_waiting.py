"""What may wait for its order and what a proposer packs: no flood of one starves the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fedkit import Federation, SealingHub, agreed
from fleet import Fleet, FleetGateway
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.ordered import EpochOrder, decode_transaction, encode_transaction
from hub.consensus.base import ACCEPTED, ALREADY_FINAL, CROWDED, REFUSED, TxResult
from hub.ledger.items import ALARM_LANE, HEADER_LANE, RECORD_LANE, Item
from hub.ledger.ledger import MAX_BYTES
from hub.ledger.packing import Candidate, Packing, in_turn
from hub.ledger.quota import ITEMS, PATIENCE, REPEATS, RESERVE, TRANSACTIONS, Quota

ROOM = 1 << 20


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SealingHub]:
    hub = SealingHub(tmp_path / "hub", Federation())
    hub.order()
    yield hub
    hub.close()


@pytest.fixture
def fleet(hub: SealingHub) -> Fleet:
    """Gateways a, b and c are enrolled."""
    fleet = hub.federation.fleet
    hub.order(*(fleet.order_enrolment(fleet.gateway(name).enrol()) for name in "abc"))
    return fleet


def codes(hub: SealingHub, *txs: bytes) -> list[int]:
    return [hub.ledger.check(tx).code for tx in txs]


def names(fleet: Fleet, txs: tuple[bytes, ...]) -> str:
    """The gateways of the first headers of transactions, by name."""
    by_id = {each.id: name for name, each in fleet.gateways.items()}
    found = [decode_transaction(tx).headers[0] for tx in txs]  # type: ignore[union-attr]
    return "".join(by_id[gateway] for each in found for gateway in by_id if gateway in each.body)


def single(fleet: Fleet, gateway: FleetGateway, count: int) -> list[bytes]:
    return [fleet.order_headers(gateway.block(1)) for _ in range(count)]


# what is fit to wait


def test_what_is_final_already_is_told_apart_from_what_breaks_a_rule(hub: SealingHub, fleet: Fleet) -> None:
    a, b = fleet.gateway("a"), fleet.gateway("b")
    first, second, alarm = a.block(), a.block(), a.alarm()
    tx = fleet.order_headers(first)
    grant = fleet.order_grant(fleet.grant(a.id))
    hub.order(tx, fleet.order_alarms(alarm), grant)
    assert codes(hub, tx, fleet.order_alarms(alarm)) == [ALREADY_FINAL] * 2
    assert codes(hub, grant) == [ALREADY_FINAL]
    assert codes(hub, fleet.order_headers(first, second)) == [ACCEPTED], "one of them is new"
    fork = a.fork(1)
    assert hub.ledger.check(fleet.order_headers(fork)).error.startswith("HeightRepeated")
    assert codes(hub, fleet.order_headers(first, fork)) == [REFUSED]
    assert codes(hub, fleet.order_headers(b.impersonate()), b"noise") == [REFUSED] * 2


def test_one_bad_item_does_not_keep_the_good_ones_beside_it_from_being_ordered(
    hub: SealingHub, fleet: Fleet
) -> None:
    a, b = fleet.gateway("a"), fleet.gateway("b")
    bad, good = a.alarm(), b.alarm()
    hub.order(fleet.order_revocation(fleet.revocation(a.id)))
    assert codes(hub, fleet.order_alarms(bad, good)) == [ACCEPTED]
    assert codes(hub, fleet.order_alarms(bad)) == [REFUSED]


def test_checking_twice_says_the_same_and_takes_no_second_share(hub: SealingHub, fleet: Fleet) -> None:
    txs = single(fleet, fleet.gateway("a"), TRANSACTIONS)
    assert codes(hub, *txs, *txs) == [ACCEPTED] * 2 * len(txs)


def test_a_gateway_that_floods_fills_its_own_share_alone(hub: SealingHub, fleet: Fleet) -> None:
    flood = single(fleet, fleet.gateway("a"), TRANSACTIONS + 20)
    found = codes(hub, *flood)
    assert found[:TRANSACTIONS] == [ACCEPTED] * TRANSACTIONS
    assert set(found[TRANSACTIONS:]) == {CROWDED}
    assert codes(hub, fleet.order_headers(fleet.gateway("b").block())) == [ACCEPTED]
    assert codes(hub, fleet.order_alarms(fleet.gateway("a").alarm())) == [ACCEPTED], "alarms have their own"
    hub.order(*flood[:TRANSACTIONS])
    assert codes(hub, *flood[TRANSACTIONS:]) == [ACCEPTED] * 20, "a final block makes room"


def test_blocks_that_cannot_follow_yet_do_not_lock_out_the_one_they_wait_for(
    hub: SealingHub, fleet: Fleet
) -> None:
    txs = single(fleet, fleet.gateway("a"), TRANSACTIONS + 2)
    assert codes(hub, *txs[1 : TRANSACTIONS + 1]) == [ACCEPTED] * TRANSACTIONS
    assert codes(hub, txs[-1], txs[0]) == [CROWDED, ACCEPTED]


def test_what_cannot_follow_is_let_go_after_some_final_blocks(hub: SealingHub, fleet: Fleet) -> None:
    a, b = fleet.gateway("a"), fleet.gateway("b")
    first, second, third = (fleet.order_headers(a.block()) for _ in range(3))
    for _ in range(PATIENCE):
        assert codes(hub, third, second) == [ACCEPTED] * 2
        assert hub.ledger.prepare([third, second], ROOM) == ()
        hub.decide([fleet.order_headers(b.block())])
    assert codes(hub, third, second) == [REFUSED] * 2, "or the engine would make empty blocks for their sake"
    assert codes(hub, third) == [ACCEPTED], "once more, when it is offered again"
    hub.decide([first])
    assert codes(hub, second, third) == [ACCEPTED] * 2


def test_a_member_that_repeats_others_items_in_new_batches_takes_nobodys_share(
    hub: SealingHub, fleet: Fleet
) -> None:
    a, b = fleet.gateway("a"), fleet.gateway("b")
    alarms = [a.alarm() for _ in range(12)]
    repeats = [fleet.order_alarms(*alarms[:i], *alarms[i + 1 :]) for i in range(12)]
    repeats += [fleet.order_alarms(alarms[i], alarms[j]) for i in range(12) for j in range(i)]
    found = codes(hub, *repeats)
    assert found.count(ACCEPTED) <= REPEATS * 12
    assert found[-1] == CROWDED
    assert codes(hub, fleet.order_alarms(a.alarm()), fleet.order_alarms(b.alarm())) == [ACCEPTED] * 2


def test_one_record_ordered_at_many_times_is_one_item(hub: SealingHub, fleet: Fleet) -> None:
    change = fleet.gateway("a").epoch_change()
    variants = [encode_transaction(EpochOrder(change, fleet.now + i)) for i in range(100)]
    assert codes(hub, *variants).count(ACCEPTED) == REPEATS
    assert codes(hub, fleet.order_epoch(fleet.gateway("b").epoch_change())) == [ACCEPTED]


def test_a_member_that_floods_with_proposals_leaves_the_others_room(hub: SealingHub) -> None:
    four = hub.federation
    flood = [four.admit(0, 4) for _ in range(TRANSACTIONS + 30)]
    assert codes(hub, *flood).count(ACCEPTED) == TRANSACTIONS
    assert codes(hub, four.admit(1, 4)) == [ACCEPTED]
    txs = [four.admit(1, 4), *flood, four.admit(2, 4)]
    packed = hub.ledger.prepare(txs, sum(map(len, txs[:4])))
    assert txs[0] in packed
    assert txs[-1] in packed


def test_who_is_summoned_in_a_flood_can_answer_all_of_it(hub: SealingHub) -> None:
    federation, count = hub.federation, 2 * TRANSACTIONS
    summonses = [federation.summon(0, federation.receipt(1, height)) for height in range(1, count + 1)]
    for at in range(0, count, TRANSACTIONS):
        assert not any(each.error for each in hub.order(*summonses[at : at + TRANSACTIONS]).tx_results)
    assert codes(hub, *(federation.respond(1, each) for each in summonses)) == [ACCEPTED] * count


def test_one_ticket_makes_no_flood(hub: SealingHub) -> None:
    fleet = hub.federation.fleet
    ticket, key = fleet.ticket("t"), fleet.ticket_key("t")
    flood = [
        fleet.order_enrolment(fleet.gateway(f"g{i}").enrol(ticket=ticket, ticket_key=key)) for i in range(80)
    ]
    assert codes(hub, *flood).count(ACCEPTED) == TRANSACTIONS
    assert codes(hub, fleet.order_enrolment(fleet.gateway("x").enrol())) == [ACCEPTED]


# the shares alone


SOURCES = st.integers(0, 3).map(lambda number: (HEADER_LANE, bytes((number,))))
ITEM = st.builds(
    lambda source, leaf: Item(source, (bytes((source[1][0], leaf)),), leaf), SOURCES, st.integers(0, 255)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(ITEM, min_size=1, max_size=8), max_size=300))
def test_whatever_others_do_a_source_has_its_share(batches: list[list[Item]]) -> None:
    quota, victim = Quota(), (HEADER_LANE, b"victim")
    for number, batch in enumerate(batches):
        quota.admit(number.to_bytes(4, "big"), batch, lambda _: False)
    for height in range(TRANSACTIONS):
        item = Item(victim, (b"own" + bytes((height,)),), height)
        assert quota.admit(b"own" + bytes((height,)), [item], lambda _: False)
    last = Item(victim, (b"last",), 99)
    assert not quota.admit(b"last", [last], lambda _: False)
    assert quota.admit(b"last", [last], lambda _: True)


def test_what_waits_of_one_source_is_bounded_in_items_and_transactions() -> None:
    quota, source = Quota(), (HEADER_LANE, b"a")
    admitted = 0
    for number in range(3 * TRANSACTIONS):
        items = [Item(source, (b"%d/%d" % (number, i),), 1) for i in range(100)]
        admitted += quota.admit(b"%d" % number, items, lambda _: False)
    assert admitted == -(-ITEMS // 100)
    for number in range(3 * RESERVE):
        quota.admit(b"next %d" % number, [Item(source, (b"n%d" % number,), 1)], lambda _: True)
    quota.clear()
    assert quota.admit(b"after", [Item(source, (b"after",), 1)], lambda _: False)


# what is packed


def test_nothing_that_is_final_or_packed_already_is_packed(hub: SealingHub, fleet: Fleet) -> None:
    a = fleet.gateway("a")
    one, two, three = a.block(), a.block(), a.block()
    hub.order(fleet.order_headers(one))
    pair, again = fleet.order_headers(two, three), fleet.order_headers(one, two)
    assert hub.ledger.prepare([fleet.order_headers(one), pair, again], ROOM) == (pair,)
    assert hub.ledger.prepare([again, pair, fleet.order_headers(three)], ROOM) == (again, pair)


def test_headers_wait_for_those_before_them(hub: SealingHub, fleet: Fleet) -> None:
    a, b = fleet.gateway("a"), fleet.gateway("b")
    one, two, three, four = (a.block() for _ in range(4))
    other = b.block()
    late, mixed, early = fleet.order_headers(two), fleet.order_headers(other, three), fleet.order_headers(one)
    packed = hub.ledger.prepare([late, mixed, early, fleet.order_headers(four)], ROOM)
    assert set(packed) == {late, mixed, early, fleet.order_headers(four)}
    result = hub.order(*packed)
    assert all(each.code == ACCEPTED for each in result.tx_results), "in an order in which all are accepted"
    assert hub.ledger.prepare([fleet.order_headers(a.skip())], ROOM) == ()


def test_alarms_go_before_records_and_records_before_headers(hub: SealingHub, fleet: Fleet) -> None:
    a = fleet.gateway("a")
    header, grant, alarm = (
        fleet.order_headers(a.block()),
        fleet.order_grant(fleet.grant(a.id)),
        fleet.order_alarms(a.alarm()),
    )
    assert hub.ledger.prepare([header, grant, alarm], ROOM) == (alarm, grant, header)


def test_a_full_block_is_shared_by_turns(hub: SealingHub, fleet: Fleet) -> None:
    a, b, c = (fleet.gateway(name) for name in "abc")
    flood = single(fleet, a, 40)
    txs = [*flood, *single(fleet, b, 3), *single(fleet, c, 2)]
    packed = hub.ledger.prepare(txs, sum(map(len, flood[:8])) + 8)
    assert names(fleet, packed).count("b") == 3
    assert names(fleet, packed).count("c") == 2
    assert names(fleet, packed).count("a") >= 2
    assert all(each == TxResult(0, "", 1) for each in hub.order(*packed).tx_results)


def test_what_an_honest_proposer_packs_is_within_its_room_and_accepted_by_all(
    hub: SealingHub, fleet: Fleet
) -> None:
    txs = [b"noise", *single(fleet, fleet.gateway("a"), 30), fleet.order_alarms(fleet.gateway("b").alarm())]
    for room in (0, 1, 400, 3000, 10_000, ROOM, 1 << 30):
        packed = hub.ledger.prepare(txs, room)
        assert sum(map(len, packed)) <= min(room, MAX_BYTES)
        assert hub.ledger.process(packed)
    assert not hub.ledger.process([*packed, b"noise"])
    assert not hub.ledger.process([txs[1]] * (MAX_BYTES // len(txs[1]) + 1))
    assert hub.ledger.process(())


CANDIDATES = st.lists(
    st.tuples(st.sampled_from([ALARM_LANE, RECORD_LANE, HEADER_LANE]), st.lists(ITEM, max_size=5)),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(CANDIDATES, st.integers(0, 200))
def test_packing_is_the_same_every_time_and_never_repeats(
    found: list[tuple[int, list[Item]]], room: int
) -> None:
    candidates = [
        Candidate(bytes((i,)) * (i % 7 + 1), lane, tuple(items)) for i, (lane, items) in enumerate(found)
    ]

    def pack() -> tuple[bytes, ...]:
        return Packing(room, lambda leaf: leaf[1] < 20, lambda gateway: 20).pack(candidates)

    packed = pack()
    assert packed == pack()
    assert len(set(packed)) == len(packed)
    assert sum(map(len, packed)) <= room
    lanes = {each.tx: each.lane for each in candidates}
    assert [lanes[tx] for tx in packed] == sorted(lanes[tx] for tx in packed)


def test_what_comes_for_one_source_keeps_its_order() -> None:
    own = [
        Candidate(bytes((i,)), HEADER_LANE, (Item((HEADER_LANE, b"a"), (bytes((i,)),), i),)) for i in range(9)
    ]
    other = Candidate(b"b", HEADER_LANE, (Item((HEADER_LANE, b"b"), (b"b",), 1),))
    turned = in_turn([*own, other])
    assert turned[:2] == [own[0], other]
    assert [each for each in turned if each is not other] == own


def test_a_federations_members_decide_while_their_gateways_flood(hub: SealingHub, fleet: Fleet) -> None:
    four = hub.federation
    flood = [tx for name in "abc" for tx in single(fleet, fleet.gateway(name), TRANSACTIONS)]
    change = agreed(four, four.admit(0, 4))
    assert codes(hub, *flood) == [ACCEPTED] * len(flood)
    assert codes(hub, change[0]) == [ACCEPTED]
    packed = hub.ledger.prepare([*flood, *change], 4000)
    assert packed[:3] == change
    assert hub.order(*packed).validator_updates
