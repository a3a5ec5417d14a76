"""A contract's condition is that of its latest alarm, whatever order its gateway's alarms come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fleet import Fleet, FleetGateway, seeded
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.alarm import ALARMED, NORMAL, Transition
from hub.conditions import MAX_BOOTS, Conditions


def transition(
    gateway: FleetGateway, after: int = ALARMED, *, contract: str = "gas-ch4", step: int = 60_000
) -> Transition:
    gateway.fleet.now += step
    return replace(Transition.decode(gateway.alarm(after).transition), contract=contract)


def shown(conditions: Conditions) -> dict[str, str]:
    return {contract: state.condition for contract, state in conditions.contracts().items()}


@given(st.permutations(range(12)))
def test_any_order_ends_in_the_same_conditions(order: Sequence[int]) -> None:
    gateway, boots, sent = Fleet().gateway("a"), [], []
    for _ in range(3):
        gateway.reboot()
        boots.append((gateway.boot, gateway.fleet.now))
        sent += [transition(gateway, n % 3, contract=f"contract-{n % 2}") for n in range(4)]
    conditions = Conditions()
    for boot in boots:
        conditions.born(*boot)
    for index in order:
        conditions.take(sent[index])
    assert shown(conditions) == {"contract-0": "alarm", "contract-1": "normal"}


def test_an_earlier_boots_alarm_that_comes_late_is_out_of_order_and_changes_nothing() -> None:
    gateway, conditions = Fleet().gateway("a"), Conditions()
    conditions.born(gateway.boot, gateway.fleet.now)
    early = transition(gateway, NORMAL)
    gateway.reboot()
    assert conditions.take(transition(gateway, ALARMED))
    assert not conditions.take(early)
    assert shown(conditions) == {"gas-ch4": "alarm"}


def test_a_boot_that_no_birth_named_is_placed_by_its_own_clock() -> None:
    gateway, conditions = Fleet().gateway("a"), Conditions()
    sent = []
    for after in (NORMAL, ALARMED):
        sent.append(transition(gateway, after))
        gateway.reboot()
    conditions.born(gateway.boot, gateway.fleet.now + 1)
    assert [conditions.take(each) for each in reversed(sent)] == [False, False]
    assert shown(conditions) == {"gas-ch4": "alarm"}


def test_the_boot_of_a_birth_is_the_latest_whatever_its_clock_says() -> None:
    gateway, conditions = Fleet().gateway("a"), Conditions()
    conditions.take(transition(gateway, NORMAL))
    gateway.reboot()
    conditions.born(gateway.boot, 0)
    assert conditions.take(transition(gateway, ALARMED, step=-3_600_000))
    assert shown(conditions) == {"gas-ch4": "alarm"}


def test_a_contracts_latest_alarm_counts_though_another_contracts_later_one_came_first() -> None:
    gateway, conditions = Fleet().gateway("a"), Conditions()
    first, second = transition(gateway, contract="smoke"), transition(gateway, NORMAL, contract="gas-ch4")
    assert conditions.take(second)
    assert not conditions.take(first)
    assert shown(conditions) == {"smoke": "alarm", "gas-ch4": "normal"}


def test_boots_beyond_memory_leave_their_conditions_behind() -> None:
    gateway, conditions = Fleet().gateway("a"), Conditions()
    conditions.take(transition(gateway, contract="smoke"))
    for number in range(2 * MAX_BOOTS):
        conditions.born(seeded("boot", number)[:8], gateway.fleet.now)
    assert shown(conditions) == {"smoke": "alarm"}
    gateway.boot = seeded("boot", 2 * MAX_BOOTS - 1)[:8]
    assert conditions.take(transition(gateway, NORMAL, contract="smoke"))
    assert shown(conditions) == {"smoke": "normal"}
