"""Through the real broker: every lie is refused by its named error, and honest gateways go on beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleet import CONTRACT_DOCUMENT, FleetGateway, seeded
from hubs import PATIENCE, Caller, RunningHub, eventually

from gateway.chain.alarm import ALARMED, LATCHED, NORMAL, UNRECORDED, Alarm
from gateway.chain.block import list_catalogue
from gateway.chain.canonical import encode
from gateway.chain.events import Status
from gateway.chain.keys import Signed, SigningKey
from gateway.chain.reading import PUBLIC, RESTRICTED, event_leaf, reading_leaf
from gateway.chain.tenure import ContractGrant, Position

WHOLE = range(1, 4)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with RunningHub(tmp_path_factory.mktemp("intake") / "hub") as running:
        yield running


@pytest.fixture
def joined(hub: RunningHub, request: pytest.FixtureRequest) -> tuple[FleetGateway, Caller]:
    """A gateway of the test's own, three final blocks long."""
    gateway, caller = hub.join(request.node.name)
    for _ in WHOLE:
        caller.say("block", gateway.block().encode())
    caller.final(3)
    return gateway, caller


def goes_on(caller: Caller) -> bool:
    """Whether this gateway's next block becomes final."""
    block = caller.gateway.block()
    caller.say("block", block.encode())
    return caller.final(caller.gateway.head.height).finality is not None


BLOCK_LIES: dict[str, Callable[[FleetGateway], object]] = {
    "HeightSkipped": lambda gateway: gateway.skip(),
    "WrongEpoch": lambda gateway: gateway.forge_epoch(),
    "NotSuccessor": lambda gateway: gateway.detach(),
    "BackDated": lambda gateway: gateway.back_date(),
    "WrongChain": lambda gateway: gateway.elsewhere(),
    "BadSignature": lambda gateway: gateway.impersonate(),
    "BadSegment": lambda gateway: gateway.misroot(),
}


@pytest.mark.parametrize("name", BLOCK_LIES)
def test_a_lying_block_is_refused_by_name_and_the_gateway_goes_on(
    hub: RunningHub, joined: tuple[FleetGateway, Caller], name: str
) -> None:
    gateway, caller = joined
    lie = BLOCK_LIES[name](gateway)
    caller.say("block", lie.encode())  # type: ignore[attr-defined]
    eventually(lambda: name in hub.refusals(gateway), f"the refusal by {name}")
    assert goes_on(caller)


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (b"", "NotCanonical"),
        (b"\x84\x01", "NotCanonical"),
        (b"\x81" * 64 + b"\x00", "TooLarge"),
        (b"\x98\x04\x01\x40\x40\x80", "NotCanonical"),
        (b"\xa0", "NotCanonical"),
        (bytes([0x9A, 0xFF, 0xFF, 0xFF, 0xFF]), "NotCanonical"),
        (encode([1, b"header"]), "WrongShape"),
        (encode([1, bytes(3000), bytes(64), [b""]]), "TooLarge"),
    ],
    ids=["nothing", "cut", "deep", "wide", "map", "huge", "fields", "header"],
)
def test_bytes_that_are_no_block_are_refused_by_name(
    hub: RunningHub, joined: tuple[FleetGateway, Caller], payload: bytes, name: str
) -> None:
    gateway, caller = joined
    caller.say("block", payload)
    eventually(lambda: name in hub.refusals(gateway), f"the refusal by {name}")
    assert goes_on(caller)


def test_a_bit_flipped_on_the_way_is_refused_and_the_true_block_is_taken(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    block = gateway.block()
    caller.say("block", gateway.tamper(block).encode())
    eventually(lambda: "BadSegment" in hub.refusals(gateway), "the refusal")
    assert hub.findings(gateway) == []
    caller.say("block", block.encode())
    assert caller.final(4).finality is not None


def test_a_root_that_its_segment_does_not_yield_is_a_finding(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    caller.say("block", gateway.misroot().encode())
    eventually(lambda: hub.findings(gateway) == ["bad-segment"], "the finding")


def test_a_replayed_block_is_answered_with_its_receipt_again(joined: tuple[FleetGateway, Caller]) -> None:
    gateway, caller = joined
    caller.say("block", gateway.replay(2).encode())
    receipts = caller.receipts()
    assert [each.promise.height for each in receipts.custody] == [2]
    assert receipts.finality is not None
    assert receipts.finality.position.height == 2


def test_repeats_far_apart_are_answered_for_themselves_alone(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    lane = hub.service._intake._blocks
    lane.take_in([(gateway.id, gateway.replay(height).encode()) for height in (3, 1)])
    heard = [caller.receipts() for _ in range(2)]
    assert [[each.promise.height for each in receipts.custody] for receipts in heard] == [[1], [3]]


def test_a_birth_of_an_earlier_boot_is_known_as_such_after_a_restart_too(tmp_path: Path) -> None:
    running = RunningHub(tmp_path / "hub")
    with running:
        gateway, caller = running.join("a")
        old, mark = gateway.birth(), (gateway.boot, gateway.births)
        gateway.reboot()
        caller.birth()
    with running:
        caller = running.call(gateway)
        caller.say("birth", old.encode())
        heard = answers_until_the_next_birth(caller)
        assert running.rest.json(f"/v1/gateways/{gateway.id.hex()}")["boot"] == gateway.boot.hex()
        assert mark not in heard


def answers_until_the_next_birth(caller: Caller) -> list[tuple[bytes, int]]:
    """To which boots and versions answers came until that to a new birth, which is the last; one may come twice."""
    gateway, heard = caller.gateway, list[tuple[bytes, int]]()
    caller.say("birth", gateway.birth().encode(), retain=True)
    while (gateway.boot, gateway.births) not in heard:
        answer = caller.answer()
        heard.append((answer.boot, answer.version))
    return heard


def test_a_gap_is_asked_for_and_filled(hub: RunningHub, joined: tuple[FleetGateway, Caller]) -> None:
    gateway, caller = joined
    lost = [gateway.block() for _ in range(3)]
    caller.say("block", lost[2].encode())
    request = caller.request()
    while request.first == 0:
        request = caller.request()
    assert (request.first, request.last, request.boot) == (4, 6, gateway.boot)
    for block in lost:
        caller.say("block", block.encode())
    assert caller.final(6).finality is not None


def test_a_fork_bars_the_gateway_for_ever_and_nobody_else(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    _, honest = hub.join(f"honest beside {gateway.name}")
    caller.say("block", gateway.fork(2).encode())
    eventually(lambda: "equivocation" in hub.findings(gateway), "the finding")
    assert "HeightRepeated" in hub.refusals(gateway)
    answer = caller.answer()
    assert answer.standing == 7
    caller.say("block", gateway.block().encode())
    eventually(lambda: "RevokedKey" in hub.refusals(gateway), "the refusal")
    assert goes_on(honest)
    alarm = gateway.alarm()
    caller.say("alarm", alarm.encode())
    assert caller.alarm_receipt().alarms == (alarm.hash,)
    shown = shown_alarm(hub, alarm)
    assert "RevokedKey" in shown["marks"]
    assert "unanchored" in shown["marks"]


def test_a_fork_of_a_block_that_is_not_final_yet_is_caught_too(hub: RunningHub) -> None:
    gateway, caller = hub.join("quick liar")
    one = gateway.block()
    caller.say("block", one.encode())
    caller.say("block", gateway.fork(1).encode())
    eventually(lambda: "equivocation" in hub.findings(gateway), "the finding")


def test_a_stranger_is_refused_but_his_alarm_is_shown_with_its_mark(hub: RunningHub) -> None:
    stranger = hub.fleet.gateway("stranger")
    caller = hub.call(stranger)
    assert caller.birth().standing == 255
    caller.say("block", stranger.block().encode())
    eventually(lambda: "UnknownGateway" in [r["kind"] for r in hub.rest.json("/v1/refusals")], "the refusal")
    alarm = stranger.alarm()
    caller.say("alarm", alarm.encode())
    assert "UnknownGateway" in shown_alarm(hub, alarm)["marks"]
    assert caller.queue("receipt3").empty(), "nobody can tell whether it is his"
    assert hub.rest.status_of(f"/v1/gateways/{stranger.id.hex()}") == 404


def test_a_message_on_anothers_topic_is_refused(hub: RunningHub, joined: tuple[FleetGateway, Caller]) -> None:
    gateway, caller = joined
    other, _ = hub.join(f"other of {gateway.name}")
    for kind, payload in (
        ("block", other.block().encode()),
        ("alarm", other.alarm().encode()),
        ("birth", other.birth().encode()),
        ("heartbeat", other.heartbeat().encode()),
    ):
        caller.say(kind, payload)
    eventually(lambda: "Misdirected" in hub.refusals(gateway), "the refusal")
    eventually(lambda: hub.rest.json("/v1/status")["refused"]["Misdirected"] >= 4, "all refusals")
    assert goes_on(caller)


def test_an_alarm_that_its_gateway_did_not_sign_is_not_shown(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    forged = Alarm.sign(SigningKey(seeded("forger")), gateway.alarm().transition)
    caller.say("alarm", forged.encode())
    eventually(lambda: "BadSignature" in hub.refusals(gateway), "the refusal")
    assert forged.hash.hex() not in [each["hash"] for each in hub.rest.json("/v1/alarms")]


def test_a_repeated_alarm_is_acknowledged_again_and_shown_once(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    alarm = gateway.alarm()
    for _ in range(3):
        caller.say("alarm", alarm.encode())
        assert caller.alarm_receipt().alarms == (alarm.hash,)
    assert [a["hash"] for a in hub.rest.json("/v1/alarms")].count(alarm.hash.hex()) == 1


def test_late_early_unordered_and_unrecorded_alarms_are_shown_with_their_marks(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    now, real = hub.fleet.now, time.time_ns() // 1_000_000
    hub.fleet.now = real - 120_000
    late = gateway.alarm()
    hub.fleet.now = real + 120_000
    ahead = gateway.alarm()
    hub.fleet.now = now
    unrecorded = gateway.alarm(LATCHED, mark=UNRECORDED)
    caller.say("alarm", unrecorded.encode())
    caller.alarm_receipt()
    for alarm in (late, ahead):
        caller.say("alarm", alarm.encode())
        caller.alarm_receipt()
    assert "ahead" in shown_alarm(hub, ahead)["marks"]
    assert "unrecorded" in shown_alarm(hub, unrecorded)["marks"]
    assert {"late", "out-of-order"} <= set(shown_alarm(hub, late)["marks"])
    state = hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["contracts"]
    assert [(each["contract"], each["condition"]) for each in state] == [("gas-ch4", "latched")]


def test_an_earlier_boots_late_alarm_does_not_end_an_active_one(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    early = gateway.alarm(NORMAL, before=ALARMED)
    hub.fleet.now += 1000
    gateway.reboot()
    now = gateway.alarm(ALARMED)
    for alarm in (now, early):
        caller.say("alarm", alarm.encode())
        caller.alarm_receipt()
    assert "out-of-order" in shown_alarm(hub, early)["marks"]
    state = hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["contracts"]
    assert [(each["contract"], each["condition"]) for each in state] == [("gas-ch4", "alarm")]


def test_a_backlog_under_another_catalogue_is_not_shown_under_this_ones_names(tmp_path: Path) -> None:
    """The same index was a restricted series once, and is a public one now: the birth overtakes the blocks."""
    running = RunningHub(tmp_path / "hub")
    with running:
        gateway, caller = running.join("a")
        public = replace(gateway.catalogue[0], name="ch4")
        gateway.catalogue = (replace(public, name="bedroom.occupancy", klass=RESTRICTED),)
        caller.birth()
        backlog = gateway.block_of({RESTRICTED: [reading_leaf(0, 0, 777)]})
        gateway.catalogue = (public,)
        caller.birth()
        caller.say("block", backlog.encode())
        caller.final(1)
        assert values(running, gateway) == {"ch4": None}
    with running:
        assert values(running, gateway) == {"ch4": None}
        caller = running.call(gateway)
        caller.say("block", gateway.block_of({PUBLIC: [reading_leaf(0, 0, 5)]}).encode())
        caller.final(2)
        assert values(running, gateway) == {"ch4": 5}
    with running:
        assert values(running, gateway) == {"ch4": 5}


def values(hub: RunningHub, gateway: FleetGateway) -> dict[str, int | None]:
    series = hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["series"]
    return {each["name"]: each["value"] for each in series}


@pytest.mark.parametrize("klass", [PUBLIC, RESTRICTED])
def test_a_block_whose_only_word_of_a_series_is_its_fault_is_taken_without_its_catalogue(
    hub: RunningHub, klass: int
) -> None:
    gateway = hub.enrol(f"dead sensor {klass}")
    caller = hub.call(gateway)
    leaves = [event_leaf(Status(3, 0, 2, "nack"))]
    caller.say("block", gateway.block_of({klass: leaves}).encode())
    assert caller.request().first == 0
    assert caller.final(1).custody[0].promise.classes == 1 << klass


@pytest.mark.parametrize(
    "leaves",
    [
        {PUBLIC: [reading_leaf(3, 0, 1)], RESTRICTED: [event_leaf(Status(3, 0, 2, "nack"))]},
        {PUBLIC: [reading_leaf(4, 0, 1)]},
        {PUBLIC: [event_leaf(Status(4, 0, 2, "nack"))]},
    ],
    ids=["two classes", "no such series", "status of no such series"],
)
def test_without_its_catalogue_a_block_must_not_contradict_itself(
    hub: RunningHub, leaves: dict[int, list[bytes]], request: pytest.FixtureRequest
) -> None:
    gateway = hub.enrol(request.node.name)
    caller = hub.call(gateway)
    caller.say("block", gateway.block_of(leaves).encode())
    eventually(lambda: "BadSegment" in hub.refusals(gateway), "the refusal")


def test_a_block_that_its_later_catalogue_belies_is_shown_without_harm(hub: RunningHub) -> None:
    gateway = hub.enrol("told too late")
    caller = hub.call(gateway)
    listing = list_catalogue(gateway.catalogue[:1])
    block = gateway.block_of({PUBLIC: [reading_leaf(3, 0, 1)]}, catalogue=replace(listing, count=4))
    caller.say("block", block.encode())
    caller.final(1)
    gateway.catalogue = gateway.catalogue[:1]
    caller.birth()
    path = f"blocks/{gateway.id.hex()}/1"
    assert hub.rest.json(f"/v1/{path}")["series"] == []
    assert hub.rest.status_of(f"/v1/evidence/{path}/0") == 404


def test_an_unknown_catalogue_is_asked_for_and_the_block_is_final_all_the_same(hub: RunningHub) -> None:
    gateway = hub.enrol("says no birth")
    caller = hub.call(gateway)
    caller.say("block", gateway.block(8, classes=(0, 1)).encode())
    assert caller.request().first == 0
    assert caller.final(1).custody[0].promise.classes == 3


def test_a_birth_of_an_earlier_boot_or_version_does_not_take_a_gateway_back(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    old, mark = gateway.birth(), (gateway.boot, gateway.births)
    gateway.reboot()
    caller.birth()
    caller.say("birth", old.encode())
    assert mark not in answers_until_the_next_birth(caller)


def test_an_epoch_change_is_ordered_answered_and_found(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    head = gateway.head
    gateway.reboot()
    caller.birth()
    change = gateway.epoch_change(head)
    caller.say("record", encode([1, change.to_item()]))
    answer = caller.answer()
    assert (answer.epoch, answer.head) == (2, head)
    assert hub.findings(gateway) == ["epoch-change"]
    gateway.see(answer.checkpoint)
    assert goes_on(caller)
    caller.say("block", gateway.old_epoch().encode())
    eventually(lambda: "WrongEpoch" in hub.refusals(gateway), "the refusal")


def test_an_epoch_that_has_not_seen_its_order_is_refused(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    caller.say("record", encode([1, gateway.epoch_change().to_item()]))
    assert caller.answer().epoch == 2
    caller.say("block", gateway.block().encode())
    eventually(lambda: "UnseenEpoch" in hub.refusals(gateway), "the refusal")


def test_an_epoch_change_that_does_not_close_at_the_final_head_is_refused_and_answered(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    caller.say("record", encode([1, gateway.epoch_change(Position(1, 2, bytes(32))).to_item()]))
    assert caller.answer().epoch == 1
    eventually(lambda: "BadRecord" in hub.refusals(gateway), "the refusal")


def test_a_rotation_is_ordered_and_the_old_key_is_refused_from_then_on(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    caller.say("record", encode([2, gateway.rotate().to_item()]))
    caller.answer()
    caller.say("block", gateway.stale_key().encode())
    eventually(lambda: "BadSignature" in hub.refusals(gateway), "the refusal")
    assert goes_on(caller)


def test_a_revoked_gateway_is_refused_and_its_standing_told(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    revocation = hub.fleet.order_revocation(hub.fleet.revocation(gateway.id, gateway.head))
    assert hub.rest.post("/v1/records", revocation)[0] == 201
    assert caller.answer().standing == 6
    caller.say("block", gateway.block().encode())
    eventually(lambda: "RevokedKey" in hub.refusals(gateway), "the refusal")
    assert hub.findings(gateway) == ["revocation"]


def test_a_contract_grant_reaches_its_gateway_as_it_was_signed(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    grant = hub.fleet.grant(gateway.id, 1)
    assert hub.rest.post("/v1/records", hub.fleet.order_grant(grant))[0] == 201
    heard = Signed.decode(caller.queue("contract").get(timeout=PATIENCE))
    assert heard == grant
    assert ContractGrant.decode(heard.body).documents == (CONTRACT_DOCUMENT,)


def test_a_backlog_of_many_blocks_becomes_final_while_an_alarm_overtakes_it(hub: RunningHub) -> None:
    gateway, caller = hub.join("backlog")
    blocks = [gateway.block(200) for _ in range(120)]
    alarm = gateway.alarm()
    for block in blocks:
        caller.say("block", block.encode())
    caller.say("alarm", alarm.encode())
    caller.alarm_receipt()
    assert caller.final(120).finality is not None


def test_a_heartbeat_is_shown_and_an_older_one_changes_nothing(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    path = f"/v1/gateways/{gateway.id.hex()}"
    caller.say("heartbeat", gateway.heartbeat(5).encode())
    shown = eventually(lambda: hub.rest.json(path)["heartbeat_ms"], "the heartbeat")
    caller.say("heartbeat", gateway.heartbeat(4).encode())
    caller.birth()
    assert hub.rest.json(path)["heartbeat_ms"] == shown
    caller.say("death", b"")
    eventually(lambda: hub.rest.json(path)["gone_ms"], "the hint")


def shown_alarm(hub: RunningHub, alarm: Alarm) -> dict[str, object]:
    def look() -> dict[str, object] | None:
        found = [each for each in hub.rest.json("/v1/alarms") if each["hash"] == alarm.hash.hex()]
        return found[0] if found else None

    return eventually(lambda: look(), "the alarm") or {}


def test_a_segment_that_was_withheld_is_taken_up_when_it_comes(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    whole = gateway.block(8, classes=(0, 1))
    caller.say("block", replace(whole, segments=(whole.segments[0], b"")).encode())
    assert caller.final(4).custody[0].promise.classes == 1
    caller.say("block", whole.encode())
    assert caller.receipts().custody[0].promise.classes == 3


def test_a_grant_is_said_again_at_a_birth_for_the_broker_may_have_lost_it(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    grant = hub.fleet.grant(gateway.id, 1)
    hub.rest.post("/v1/records", hub.fleet.order_grant(grant))
    caller.queue("contract").get(timeout=PATIENCE)
    caller.birth()
    assert Signed.decode(caller.queue("contract").get(timeout=PATIENCE)) == grant
