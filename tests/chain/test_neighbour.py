"""A building's roster and its gateways' messages: what is refused, and that the largest fit one datagram."""

from __future__ import annotations

from dataclasses import replace

import pytest
from chain import examples
from chain.examples import GATEWAY, NEIGHBOUR_KEY, building, told

from gateway.chain.canonical import decode, encode
from gateway.chain.errors import (
    BadSignature,
    FormatError,
    OtherBuilding,
    TooLarge,
    UnknownNeighbour,
    UnsupportedSuite,
    WrongShape,
)
from gateway.chain.keys import HEARTBEAT, Signed
from gateway.chain.neighbour import (
    MAX_DATAGRAM,
    MAX_ECHOES,
    MAX_RAISED,
    Building,
    Neighbour,
    NeighbourState,
    Raised,
    read_message,
    sign_message,
    verify_message,
)

LONGEST = NeighbourState(
    building="b" * 64,
    gateway=bytes(16),
    boot=bytes(8),
    counter=2**63 - 1,
    challenge=bytes(16),
    asks=1,
    raised=tuple(Raised(str(i) * 64, 3) for i in range(MAX_RAISED)),
    more=65_535,
    faults=65_535,
    echoes=(bytes(16), bytes(16)),
)


def verified(data: bytes, roster: Building) -> Neighbour:
    return verify_message(*read_message(data), roster)


def test_a_message_is_read_and_its_sender_found_in_the_roster() -> None:
    data = sign_message(GATEWAY, told())
    assert read_message(data)[1] == told()
    assert verified(data, building()).name == "flat-1"
    assert told().alarm == 2


@pytest.mark.parametrize(("condition", "alarm"), [(1, 1), (2, 2), (3, 2)])
def test_a_latched_alarm_is_an_alarm(condition: int, alarm: int) -> None:
    assert told(raised=(Raised("gas", condition),)).alarm == alarm
    assert told(raised=()).alarm == 0


def test_the_longest_message_to_one_fits_a_datagram_and_to_all_leaves_echoes_out() -> None:
    assert len(sign_message(GATEWAY, LONGEST)) < MAX_DATAGRAM - 20 * 17
    usual = told(echoes=(bytes(16),) * MAX_ECHOES)
    assert len(sign_message(GATEWAY, usual)) <= MAX_DATAGRAM
    with pytest.raises(TooLarge):
        sign_message(GATEWAY, replace(LONGEST, echoes=(bytes(16),) * MAX_ECHOES))


def test_a_forged_message_is_refused() -> None:
    forged = GATEWAY.signed("tocsin/neighbour/v1", told().encode())
    for bad in (
        replace(forged, body=told(raised=()).encode()),
        replace(forged, signature=bytes(64)),
        NEIGHBOUR_KEY.signed("tocsin/neighbour/v1", told().encode()),  # a neighbour speaks for another
        GATEWAY.signed(HEARTBEAT, told().encode()),  # a signature of another kind
    ):
        with pytest.raises(BadSignature):
            verified(bad.encode(), building())
    with pytest.raises(UnsupportedSuite):
        verified(replace(forged, suite=2).encode(), building())


def test_a_message_for_another_building_or_of_a_stranger_is_refused_before_its_signature_is_checked() -> None:
    unsigned = Signed(1, told(building="oak-street-1").encode(), bytes(64))
    with pytest.raises(OtherBuilding):
        verified(unsigned.encode(), building())
    alone = replace(building(), members=building().members[1:])
    with pytest.raises(UnknownNeighbour):
        verified(replace(unsigned, body=told().encode()).encode(), alone)


def test_truncated_and_oversized_messages_are_refused_as_a_whole() -> None:
    data = sign_message(GATEWAY, told())
    for end in range(len(data)):
        with pytest.raises(FormatError):
            read_message(data[:end])
    with pytest.raises(FormatError):
        read_message(data + b"\0")
    with pytest.raises(TooLarge):
        read_message(bytes(MAX_DATAGRAM + 1))


@pytest.mark.parametrize(
    "wrong",
    [
        told(counter=0),
        told(challenge=bytes(15)),
        told(raised=(Raised("gas", 0),)),
        told(raised=(Raised("gas", 1), Raised("smoke", 2))),
        told(raised=(Raised("gas", 3), Raised("gas", 1))),
        told(more=1),
        told(faults=-1),
        told(echoes=(bytes(16),) * (MAX_ECHOES + 1)),
    ],
)
def test_a_message_whose_fields_do_not_hold_together_is_refused(wrong: NeighbourState) -> None:
    with pytest.raises(FormatError):
        wrong.encode()
    with pytest.raises(FormatError):
        NeighbourState.decode(encode(wrong.to_item()))


def test_a_roster_names_each_gateway_once_and_in_order() -> None:
    roster = building()
    one, two = roster.members
    assert Building.read(roster.encode()) == roster
    for members in (
        (two, one),
        (one, one),
        (one, replace(two, key=one.key)),
        (one, replace(two, gateway=one.gateway)),
        (),
    ):
        with pytest.raises(FormatError):
            Building.read(encode(replace(roster, members=members).to_item()))
    for address in ("192.0.2.1", "localhost:1", "[::1]", "192.0.2.1:123456"):
        with pytest.raises(WrongShape):
            replace(roster, members=(replace(one, addresses=(address,)),)).encode()


def test_a_contract_is_no_roster_and_a_roster_no_contract() -> None:
    with pytest.raises(FormatError):
        Building.read(examples.DOCUMENT)
    item = decode(building().encode())
    assert isinstance(item, list)
    assert item[0] == 2
