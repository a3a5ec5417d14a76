"""The protocol among neighbours on a network made here: what is told, proven, doubted and refused, and when."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from random import Random

import pytest

from gateway.chain.errors import BadSignature, ChainError, OtherBuilding, TooLarge, UnknownNeighbour
from gateway.chain.keys import SigningKey, gateway_id
from gateway.chain.neighbour import (
    MAX_DATAGRAM,
    Building,
    Neighbour,
    NeighbourState,
    Raised,
    read_message,
    sign_message,
)
from gateway.errors import Flooded, NeighbourError, Replayed, Unproven
from gateway.neighbours.bucket import Sources
from gateway.neighbours.circle import Circle, Outgoing, Said
from gateway.neighbours.peer import Peer, Standing

CALM, ALARM = Said(), Said((Raised("gas", 2),))
HEARTBEAT, SILENT = 5_000, 30_000


def key_of(index: int) -> SigningKey:
    return SigningKey(bytes([index + 1]) * 32)


def roster(size: int) -> Building:
    members = (
        Neighbour(f"flat-{i:02}", gateway_id(key_of(i).public), key_of(i).public, ()) for i in range(size)
    )
    return Building(2, "house", tuple(members))


@dataclass(frozen=True)
class Sent:
    """A datagram on its way: from whom, to whom (None: all), and the bytes."""

    source: int
    to: int | None
    data: bytes


class House:
    """Gateways that hear each other after a millisecond, as far as `drops` lets them."""

    def __init__(self, size: int = 3) -> None:
        self.building, self.now, self._boots = roster(size), 1_000_000, count(1)
        self.said, self._random = [CALM] * size, Random(size)
        self.refused: list[tuple[int, str]] = []
        self.sent: list[Sent] = []
        self.drops: Callable[[Sent], bool] = lambda sent: False
        self.circles = [self.make(i) for i in range(size)]

    def make(self, index: int, building: Building | None = None, before: Circle | None = None) -> Circle:
        boot = before._boot if before else next(self._boots).to_bytes(8, "big")
        return Circle(
            gateway_id(key_of(index).public), boot, key_of(index), building or self.building, self.now,
            heartbeat_ms=HEARTBEAT, before=before, draw=lambda: self._random.randbytes(16),
        )  # fmt: skip

    def run(self, ms: int) -> None:
        """Let time pass, a millisecond at a time where something happens."""
        end = self.now + ms
        while self.now <= end:
            flying = [
                Sent(i, self._index(out), out.data)
                for i, circle in enumerate(self.circles)
                for out in circle.speak(self.said[i], self.now)
            ]
            self.now += 1
            for sent in flying:
                self.sent.append(sent)
                if not self.drops(sent):
                    self.deliver(sent)
            due = min(circle.due_ms() for circle in self.circles)
            self.now = max(self.now, min(due, end + 1))

    def deliver(self, sent: Sent) -> None:
        for i, circle in enumerate(self.circles):
            if i != sent.source and sent.to in (None, i):
                try:
                    circle.hear(sent.data, (f"10.0.0.{sent.source}", 1), self.now)
                except (ChainError, NeighbourError) as error:
                    self.refused.append((i, type(error).__name__))

    def peer(self, at: int, of: int) -> Peer:
        wanted = gateway_id(key_of(of).public)
        return next(peer for peer in self.circles[at].peers if peer.member.gateway == wanted)

    def standing(self, at: int, of: int) -> Standing:
        return self.peer(at, of).standing(self.now, SILENT)

    def alarm(self, at: int, of: int) -> int:
        told = self.peer(at, of).told
        return -1 if told is None else told.alarm

    def last(self, source: int, to: int | None) -> bytes:
        return next(s.data for s in reversed(self.sent) if (s.source, s.to) == (source, to))

    def _index(self, out: Outgoing) -> int | None:
        if out.to is None:
            return None
        return next(i for i, m in enumerate(self.building.members) if m.gateway == out.to.member.gateway)


def acquainted(size: int = 3) -> House:
    house = House(size)
    house.run(1_000)
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    assert all(house.standing(i, j) == "proven" for i, j in pairs)
    return house


@pytest.mark.parametrize(
    "drops",
    [
        lambda sent: False,
        lambda sent: sent.to is None,
        lambda sent: sent.to is not None,
        lambda sent: sent.to is None and sent.source == 0,
        lambda sent: sent.to is not None and sent.source == 1,
        lambda sent: sent.data[-1] % 3 == 0,
    ],
    ids=[
        "all arrive",
        "no multicast",
        "no unicast",
        "one's multicast lost",
        "one's unicast lost",
        "every third lost",
    ],
)
@pytest.mark.parametrize("size", [2, 3, 8])
def test_a_start_is_proven_and_an_alarm_known_within_a_second_whatever_way_is_lost(
    drops: Callable[[Sent], bool], size: int
) -> None:
    house = House(size)
    house.drops = drops
    house.run(1_000)
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    assert all(house.standing(i, j) == "proven" for i, j in pairs)
    house.run(20_000)
    house.said[0] = ALARM
    house.run(1_000)
    assert [house.alarm(i, 0) for i in range(1, size)] == [2] * (size - 1)


def test_what_changes_is_known_at_once_and_what_does_not_costs_two_datagrams_a_peer_and_heartbeat() -> None:
    house = acquainted()
    house.run(60_000)
    house.sent.clear()
    house.run(50_000)
    messages = len(house.sent)
    assert (
        messages <= 10 * 3 * (2 + 1) + 20
    )  # heartbeats of three, and a few answers to the minute's new challenges
    house.said[0] = ALARM
    house.run(3)
    assert (house.alarm(1, 0), house.alarm(2, 0)) == (2, 2)
    house.said[0] = replace(ALARM, faults=3)
    house.run(3)
    told = house.peer(1, 0).told
    assert told is not None
    assert told.faults == 3


def test_a_gateway_that_restarts_in_an_alarm_knows_of_it_within_a_second_and_is_believed_again() -> None:
    house = acquainted()
    house.said[0] = ALARM
    house.run(10_000)
    house.circles[1] = house.make(1)
    assert house.standing(1, 0) == "waiting"
    house.run(1_000)
    assert house.standing(1, 0) == "proven"
    assert house.alarm(1, 0) == 2
    assert house.standing(0, 1) == house.standing(2, 1) == "proven"
    assert house.peer(0, 1).told.boot == (4).to_bytes(8, "big")  # type: ignore[union-attr]


def test_a_neighbour_is_silent_after_the_time_for_that_and_proven_again_when_it_is_back() -> None:
    house = acquainted()
    house.drops = lambda sent: sent.source == 2
    house.run(SILENT - 2 * HEARTBEAT)
    assert house.standing(0, 2) == "proven"
    house.run(2 * HEARTBEAT + 1_500)
    assert house.standing(0, 2) == "silent"
    house.drops = lambda sent: False
    house.run(HEARTBEAT + 1_000)
    assert house.standing(0, 2) == house.standing(2, 0) == "proven"


def test_a_neighbour_that_is_heard_and_hears_nothing_is_unproven_never_believed() -> None:
    house = acquainted()
    house.drops = lambda sent: sent.source == 0
    house.run(200_000)
    assert house.standing(0, 1) == "unproven"
    house.said[1] = ALARM
    house.run(20_000)
    assert house.alarm(0, 1) == 0
    house.drops = lambda sent: False
    house.run(HEARTBEAT + 1_000)
    assert house.standing(0, 1) == "proven"
    assert house.alarm(0, 1) == 2


def test_a_replayed_message_is_refused_and_changes_nothing() -> None:
    house = acquainted()
    house.said[0] = ALARM
    house.run(1_000)
    old = [each for each in house.sent if each.source == 0]
    house.said[0] = CALM
    house.run(10_000)
    assert house.alarm(1, 0) == 0
    house.refused.clear()
    for each in old:
        house.deliver(each)
    assert {reason for _, reason in house.refused} == {"Replayed"}
    house.run(50)
    assert house.alarm(1, 0) == house.alarm(2, 0) == 0
    assert house.standing(1, 0) == "proven"


def test_a_delayed_message_is_refused_once_two_challenges_have_gone_by_and_the_sender_is_asked() -> None:
    house = acquainted()
    house.run(10_000)
    house.drops = lambda sent: sent.source == 0  # whoever holds all of them back
    house.said[0] = ALARM
    house.run(1_000)
    held = house.last(0, 1)
    house.said[0] = CALM
    house.run(125_000)
    assert house.standing(1, 0) == "silent"
    with pytest.raises(Unproven):
        house.circles[1].hear(held, ("10.0.0.9", 1), house.now)
    assert house.alarm(1, 0) == 0
    house.drops = lambda sent: False
    house.run(100)
    assert house.standing(1, 0) == "proven"
    assert house.alarm(1, 0) == 0


def test_no_boot_comes_back_even_where_its_last_words_echo_a_present_challenge() -> None:
    house = acquainted()
    house.drops = lambda sent: sent.source == 0
    house.run(10)
    house.circles[0].speak(CALM, house.now)
    held = [
        out.data
        for out in house.circles[0].speak(ALARM, house.now)
        if out.to and out.to.member.name == "flat-01"
    ]
    house.circles[0] = house.make(0)
    house.drops = lambda sent: False
    house.run(500)
    assert house.standing(1, 0) == "proven"
    with pytest.raises(Unproven):
        house.circles[1].hear(held[0], ("10.0.0.9", 1), house.now)
    house.run(500)
    assert house.alarm(1, 0) == 0
    assert house.standing(1, 0) == "proven"


def test_whoever_replays_old_messages_all_the_time_makes_no_neighbour_doubtful() -> None:
    house = acquainted()
    old = [each for each in house.sent if each.source == 0]
    house.circles[0] = house.make(0)
    house.run(1_000)
    for _ in range(600):
        for each in old[:4]:
            house.deliver(each)
        house.run(100)
        assert house.standing(1, 0) == "proven"
    house.said[0] = ALARM
    house.run(1_000)
    assert house.alarm(1, 0) == 2


def test_forged_foreign_and_oversized_messages_are_refused_by_name() -> None:
    house = acquainted()
    told = house.peer(1, 0).told
    assert told is not None
    alarm = replace(told, counter=10**6, raised=(Raised("gas", 2),))
    stranger = gateway_id(key_of(9).public)
    cases: list[tuple[bytes, type[Exception]]] = [
        (sign_message(key_of(2), alarm), BadSignature),
        (sign_message(key_of(0), replace(alarm, building="other")), OtherBuilding),
        (sign_message(key_of(9), replace(alarm, gateway=stranger)), UnknownNeighbour),
        (bytes(MAX_DATAGRAM + 1), TooLarge),
        (sign_message(key_of(0), replace(alarm, echoes=(bytes(16),))), Unproven),
        (sign_message(key_of(0), replace(alarm, counter=1, echoes=())), Replayed),
    ]
    house.now += 5_000
    for data, error in cases:
        with pytest.raises(error):
            house.circles[1].hear(data, ("10.0.0.9", 1), house.now)
    for end in range(0, len(cases[0][0]), 7):
        with pytest.raises(ChainError):
            house.circles[1].hear(cases[0][0][:end], ("10.0.0.9", 1), house.now)
    assert house.alarm(1, 0) == 0


def test_ones_own_words_and_copies_by_other_ways_are_no_attack() -> None:
    house = acquainted()
    house.refused.clear()
    own, to_one, to_all = house.last(1, None), house.last(0, 1), house.last(0, None)
    for data in (own, to_all, to_one, to_one, to_all):
        assert house.circles[1].hear(data, ("10.0.0.0", 1), house.now) is None
    assert house.refused == []


def test_a_flood_is_cut_off_by_its_source_before_anything_is_checked() -> None:
    house = acquainted()
    house.now += 10_000
    refused = 0
    for _ in range(1_000):
        try:
            house.circles[1].hear(b"\x83", ("10.0.0.66", 1), house.now)
        except Flooded:
            refused += 1
        except ChainError:
            pass
    assert refused == 800
    house.said[0] = ALARM
    house.run(10)
    assert house.alarm(1, 0) == 2


def test_the_memory_of_sources_is_bounded() -> None:
    sources = Sources(1, 1)
    for i in range(10_000):
        sources.take(str(i), 0)
    assert len(sources._buckets) == 256
    assert not sources.take("9999", 0)
    assert sources.take("9999", 1_000)


def test_answers_to_whoever_seems_to_ask_are_few() -> None:
    house = acquainted()
    old = next(each for each in house.sent if each.source == 0 and each.to == 1)
    house.circles[0] = house.make(0)
    house.run(2_000)
    house.sent.clear()
    for _ in range(1_000):
        house.deliver(old)
        house.run(1)
    assert len([each for each in house.sent if each.source == 1]) < 60


def test_thirty_two_gateways_with_all_their_echoes_prove_themselves_by_multicast_alone() -> None:
    house = House(32)
    house.drops = lambda sent: sent.to is not None
    house.run(2_000)
    assert all(house.standing(i, j) == "proven" for i in range(32) for j in range(32) if i != j)
    assert max(len(each.data) for each in house.sent) <= MAX_DATAGRAM
    house.said[7] = ALARM
    house.run(1_000)
    assert [house.alarm(i, 7) for i in range(32) if i != 7] == [2] * 31


def test_a_new_roster_takes_effect_and_those_who_stay_are_not_asked_anew() -> None:
    house = acquainted()
    one, two, three = house.building.members
    other = key_of(20)
    rotated = replace(house.building, members=(one, replace(two, key=other.public)))
    house.circles[0] = house.make(0, rotated, house.circles[0])
    assert [peer.member.name for peer in house.circles[0].peers] == ["flat-01"]
    assert house.peer(0, 1).told is None  # a new key has to prove itself
    with pytest.raises(UnknownNeighbour):
        house.circles[0].hear(house.last(2, 0), ("10.0.0.2", 1), house.now)
    with pytest.raises(BadSignature):
        house.circles[0].hear(house.last(1, 0), ("10.0.0.1", 1), house.now)
    again = house.make(0, replace(rotated, members=(one, rotated.members[1], three)), house.circles[0])
    assert again.peers[0] is house.circles[0].peers[0]


def test_a_gateway_that_the_roster_does_not_name_tells_and_hears_nothing() -> None:
    house = acquainted()
    alone = house.make(9)
    assert not alone.is_member
    assert alone.speak(ALARM, house.now) == []
    assert alone.due_ms() > house.now
    assert alone.hear(house.last(0, None), ("10.0.0.0", 1), house.now) is None


def test_the_largest_statement_fits_with_the_echo_of_its_receiver() -> None:
    house = House(32)
    names = [str(i) * 64 for i in range(8)]
    house.said[0] = Said(tuple(Raised(name, 3) for name in names), 50, 256)
    house.run(1_000)
    assert all(house.alarm(i, 0) == 2 for i in range(1, 32))
    largest = max((each for each in house.sent if each.source == 0), key=lambda each: len(each.data))
    state: NeighbourState = read_message(largest.data)[1]
    assert len(largest.data) <= MAX_DATAGRAM
    assert state.more == 50


@pytest.mark.soak
def test_a_day_leaves_nothing_behind_and_everyone_proven() -> None:
    house = acquainted()
    for hour in range(24):
        house.said[hour % 3] = ALARM if hour % 2 else CALM
        house.sent.clear()
        house.run(3_600_000)
        assert all(house.standing(i, j) == "proven" for i in range(3) for j in range(3) if i != j)
    kept = [peer for circle in house.circles for peer in circle.peers]
    assert max(len(peer._passed) + len(peer._asking) for peer in kept) < 300
    assert {len(circle._sources._buckets) for circle in house.circles} == {2}


def test_whoever_floods_from_a_neighbours_own_address_uses_up_nothing_of_that_neighbours() -> None:
    house = acquainted()
    signed, state = read_message(house.last(0, 1))
    forged = replace(signed, body=replace(state, counter=10**6, echoes=()).encode()).encode()
    refused = set()
    for _ in range(1_000):
        for data in (b"\x83", forged):
            try:
                house.circles[1].hear(data, ("10.0.0.0", 1), house.now)
            except (ChainError, NeighbourError) as error:
                refused.add(type(error))
    assert Flooded in refused
    house.said[0] = ALARM
    house.run(2)
    assert house.alarm(1, 0) == 2


def test_an_alarm_is_told_each_second_while_it_lasts() -> None:
    house = acquainted()
    house.run(HEARTBEAT)
    house.said[0] = ALARM
    house.drops = lambda sent: sent.source == 0
    house.run(3_600)  # of a network that is down meanwhile
    house.drops = lambda sent: False
    house.run(1_000)
    assert house.alarm(1, 0) == 2
    house.said[0] = CALM
    house.run(1_000)
    house.sent.clear()
    house.run(10 * HEARTBEAT)
    assert len([each for each in house.sent if each.source == 0 and each.to is None]) <= 11


def test_what_a_neighbour_said_before_its_entry_changed_does_not_count_again() -> None:
    house = acquainted()
    before = house.last(0, 1)
    house.said[0] = ALARM
    house.run(10)
    first, *others = house.building.members
    moved = replace(house.building, members=(replace(first, addresses=("10.0.0.9:47470",)), *others))
    house.circles[1] = house.make(1, moved, house.circles[1])
    with pytest.raises(Unproven):
        house.circles[1].hear(before, ("10.0.0.66", 1), house.now)
    house.run(1_000)
    assert (house.standing(1, 0), house.alarm(1, 0)) == ("proven", 2)


def test_whoever_replays_thousands_of_old_messages_a_second_delays_no_acquaintance() -> None:
    random, old = Random(7), list[Sent]()
    for _ in range(40):
        before = House(2)
        for i in (0, 1):
            before._boots = count(random.randrange(1 << 60))
            before.circles[i] = before.make(i)
        before._random = random
        before.run(100)
        old += before.sent
    house = House(2)
    house.said[0] = ALARM
    for _ in range(1_000):
        for each in random.sample(old, 4):
            target = house.circles[1 - each.source]
            source = f"10.7.{random.randrange(250)}.{random.randrange(250)}"
            with contextlib.suppress(ChainError, NeighbourError):
                target.hear(each.data, (source, 1), house.now)
        house.run(0)
    assert (house.standing(1, 0), house.alarm(1, 0)) == ("proven", 2)


def test_a_member_that_starts_anew_all_the_time_delays_no_other_ones_alarm() -> None:
    house = acquainted()
    for i in range(60):
        house.said[0] = ALARM if i % 2 else CALM
        for _ in range(10):
            house.circles[2] = house.make(2)
            house.run(30)
        assert (house.standing(1, 0), house.alarm(1, 0)) == ("proven", 2 * (i % 2))
