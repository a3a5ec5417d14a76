"""Commands and grants: what is obeyed once, what is refused and recorded, and what a flood of them costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import pytest
from rig import START_MS, Rig
from testchain import AUTHORITY, HUB_KEY, make_genesis

from gateway.chain.events import Actuation, Outcome, Refusal
from gateway.chain.keys import COMMAND, Signed, SigningKey, digest, gateway_id
from gateway.chain.keys import GRANT as GRANT_DOMAIN
from gateway.chain.messages import NEW_EPOCH, RESET, SILENCE, TEST, Command
from gateway.chain.reading import open_segment, parse_leaf
from gateway.chain.tenure import ContractGrant
from gateway.clock import SimulatedClock
from gateway.recording.refusals import COMMAND as A_COMMAND
from gateway.recording.refusals import GRANT as A_GRANT
from gateway.region.federation import Federation
from gateway.region.orders import Orders

STRANGER = SigningKey(b"\x77" * 32)
GENESIS = make_genesis()


@dataclass
class Ordered:
    """A gateway's recording half that takes orders."""

    rig: Rig
    orders: Orders
    changes: list[None] = field(default_factory=list)

    def message(self, key: SigningKey = AUTHORITY, **changes: object) -> bytes:
        identity, now = self.rig.identity, self.rig.clock.wall_ms()
        command = Command(
            identity.genesis, key.public, identity.gateway, identity.boot, bytes(16), SILENCE, "gas-ch4", now + 60_000
        )  # fmt: skip
        command = replace(command, **changes)  # type: ignore[arg-type]
        return key.signed(COMMAND, command.encode()).encode()

    def grant(self, version: int, key: SigningKey = AUTHORITY, **changes: object) -> bytes:
        identity = self.rig.identity
        documents = self.rig.recorder.contracts.documents
        body = ContractGrant(identity.genesis, key.public, identity.gateway, version, documents)
        body = replace(body, **changes)  # type: ignore[arg-type]
        return key.signed(GRANT_DOMAIN, body.encode()).encode()

    def events(self) -> list[Actuation | Outcome | Refusal]:
        """What stands in blocks, once the rig has stopped."""
        self.rig.recorder.end()
        self.rig.settle()
        found: list[Actuation | Outcome | Refusal] = []
        for stored in sorted(self.rig.store.drafts(), key=lambda each: each.number):
            block = self.rig.store.message(stored)
            leaves = [parse_leaf(leaf) for _, leaf in open_segment(0, block.segments[0]).events]
            found += [each for each in leaves if isinstance(each, Actuation | Outcome | Refusal)]
        return found

    def refused(self) -> list[tuple[int, str, int]]:
        return [(each.what, each.reason, each.count) for each in self.events() if isinstance(each, Refusal)]


@pytest.fixture
def ordered(tmp_path: Path) -> Iterator[Ordered]:
    clock = SimulatedClock(speed=0, start_wall_ms=START_MS)
    rig = Rig(tmp_path / "g", clock, genesis=GENESIS.hash)
    changes: list[None] = []
    orders = Orders(
        rig.identity, Federation(GENESIS, rig.store), rig.recorder, rig.store, rig.keeper, clock,
        rig.catalogue.series, lambda: changes.append(None),
    )  # fmt: skip
    yield Ordered(rig, orders, changes)
    rig.stop()


def test_forged_commands_are_refused_and_recorded_each_by_its_rule(ordered: Ordered) -> None:
    honest = ordered.message()
    for message in (
        ordered.message(STRANGER),
        ordered.message(STRANGER, signer=AUTHORITY.public),
        ordered.message(genesis=bytes(32)),
        ordered.message(gateway=bytes(16)),
        honest[:-1],
        honest[:-1] + bytes([honest[-1] ^ 1]),
        b"",
    ):
        ordered.orders.command(message)
    ordered.rig.advance(61)
    ordered.rig.recorder.tick()
    assert sorted(ordered.refused()) == [
        (A_COMMAND, "AnotherGateway", 1),
        (A_COMMAND, "BadSignature", 1),
        (A_COMMAND, "BadSignature", 1),
        (A_COMMAND, "NotCanonical", 1),
        (A_COMMAND, "NotCanonical", 1),
        (A_COMMAND, "UnknownSigner", 1),
        (A_COMMAND, "WrongChain", 1),
    ]


def test_a_replayed_command_has_no_second_turn_and_is_recorded(ordered: Ordered) -> None:
    message = ordered.message(action=NEW_EPOCH)
    for _ in range(4):
        ordered.orders.command(message)
    events = ordered.events()
    assert len(ordered.changes) == 1
    assert [each.code for each in events if isinstance(each, Outcome)] == [0]
    refusals = [each for each in events if isinstance(each, Refusal)]
    assert [(each.reason, each.count) for each in refusals] == [("Repeated", 1), ("Repeated", 2)]
    assert refusals[0].first == sha256(message).digest()


@pytest.mark.parametrize(
    ("changes", "reason", "code"),
    [({"not_after": START_MS - 1}, "Delayed", 1), ({"boot": bytes(8)}, "AnotherBoot", 2)],
)
def test_a_delayed_command_and_one_for_another_boot_are_refused_and_their_signer_is_told(
    ordered: Ordered, changes: dict[str, object], reason: str, code: int
) -> None:
    message = ordered.message(action=NEW_EPOCH, **changes)
    ordered.orders.command(message)
    events = ordered.events()
    (outcome,) = (each for each in events if isinstance(each, Outcome))
    (refusal,) = (each for each in events if isinstance(each, Refusal))
    assert (outcome.code, refusal.reason, ordered.changes) == (code, reason, [])


def test_a_clock_that_goes_back_makes_no_command_good_again(
    ordered: Ordered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.region.orders._REMEMBERED", 2)
    clock = ordered.rig.clock
    assert isinstance(clock, SimulatedClock)
    first = ordered.message(action=NEW_EPOCH, nonce=b"1" * 16)
    ordered.orders.command(first)
    ordered.orders.command(ordered.message(action=NEW_EPOCH, nonce=b"2" * 16))
    clock.step_wall(120_000)
    ordered.orders.command(ordered.message(action=NEW_EPOCH, nonce=b"3" * 16))  # the first two are forgotten
    clock.step_wall(-120_000)
    ordered.orders.command(first)
    assert len(ordered.changes) == 3
    assert [reason for _, reason, _ in ordered.refused()] == ["Delayed"]


def test_one_signer_cannot_fill_chain_or_memory_nor_keep_another_from_commanding(ordered: Ordered) -> None:
    for number in range(500):
        ordered.orders.command(
            ordered.message(HUB_KEY, action=RESET, contract="no-such", nonce=number.to_bytes(16, "big"))
        )
    ordered.orders.command(ordered.message(action=NEW_EPOCH))
    events = ordered.events()
    assert len(ordered.changes) == 1
    assert len([each for each in events if isinstance(each, Outcome)]) == 31
    assert sum(each.count for each in events if isinstance(each, Refusal)) == 470
    assert len([each for each in events if isinstance(each, Refusal)]) == 2


def test_a_flood_of_commands_gives_few_events_and_all_are_counted(ordered: Ordered) -> None:
    done = ordered.message(action=NEW_EPOCH, nonce=b"9" * 16)
    ordered.orders.command(done)
    honest = ordered.message()
    flood = [ordered.message(STRANGER), done, honest[:-1], ordered.message(boot=bytes(8)), b"\xff" * 100]
    for number in range(100_000):
        ordered.orders.command(flood[number % len(flood)])
        if number % 1000 == 0:  # it takes ten minutes
            ordered.rig.advance(6)
            ordered.rig.recorder.tick()
    events = [each for each in ordered.events() if not isinstance(each, Actuation)]
    refusals = [each for each in events if isinstance(each, Refusal)]
    assert sum(each.count for each in refusals) == 100_000
    assert len(refusals) <= 4 * 12
    assert len(events) <= 5 * 12
    assert len(ordered.changes) == 1


def test_refused_grants_are_recorded_and_the_one_in_force_may_be_said_again(ordered: Ordered) -> None:
    good = ordered.grant(5)
    ordered.orders.grant(good)
    assert ordered.rig.recorder.contracts.version == 5
    for message in (
        good,
        good,
        ordered.grant(4),
        ordered.grant(5, documents=()),
        ordered.grant(6, HUB_KEY),
        ordered.grant(6, gateway=gateway_id(HUB_KEY.public)),
        ordered.grant(6, documents=(b"no contract",)),
        ordered.grant(6, STRANGER, authority=AUTHORITY.public),
        b"no grant",
    ):
        ordered.orders.grant(message)
    assert ordered.rig.recorder.contracts.version == 5
    assert len(ordered.changes) == 1
    assert sorted(ordered.refused()) == [
        (A_GRANT, "AnotherGateway", 1),
        (A_GRANT, "BadRecord", 1),
        (A_GRANT, "BadSignature", 1),
        (A_GRANT, "NotCanonical", 1),
        (A_GRANT, "Repeated", 1),
        (A_GRANT, "Repeated", 1),
        (A_GRANT, "UnknownSigner", 1),
    ]


def test_an_outcome_names_the_command_it_is_of(ordered: Ordered) -> None:
    message = ordered.message(action=RESET, contract="no-such")
    ordered.orders.command(message)
    (outcome,) = (each for each in ordered.events() if isinstance(each, Outcome))
    assert outcome.code == 3

    assert outcome.command == digest(COMMAND, Signed.decode(message).body)


def test_an_ordered_test_lets_the_output_act_and_is_recorded_with_who_ordered_it(ordered: Ordered) -> None:
    good = ordered.message(action=TEST, contract="siren", nonce=b"1" * 16)
    ordered.orders.command(good)
    ordered.orders.command(ordered.message(action=TEST, contract="no-such", nonce=b"2" * 16))
    assert ordered.rig.siren
    ordered.rig.advance(6)
    ordered.rig.recorder.tick()
    assert not ordered.rig.siren
    events = ordered.events()
    assert [each.code for each in events if isinstance(each, Outcome)] == [0, 3]
    hashed = digest(COMMAND, Signed.decode(good).body)
    moved = [each for each in events if isinstance(each, Actuation) and each.output == "siren"]
    assert (moved[0].active, moved[0].cause, moved[0].by) == (1, 6, hashed[:16].hex())
    assert moved[1].active == 0
