"""Topics and their small envelopes: exactly what the format says, and nothing else."""

from __future__ import annotations

import pytest
from fleet import Fleet
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.canonical import encode
from gateway.chain.errors import FormatError
from gateway.chain.tenure import EpochChange, Rotation
from gateway.region.topics import Topics as GatewayTopics
from hub.topics import URGENT, Topics, read_record

TOPICS = Topics("north")


@given(st.binary(min_size=16, max_size=16), st.sampled_from((*URGENT, "block")))
def test_a_gateways_topic_is_read_as_the_gateway_wrote_it(gateway: bytes, kind: str) -> None:
    assert TOPICS.parse(GatewayTopics("north", gateway, "hub-1").own(kind)) == (gateway, kind)


@given(st.text(max_size=80))
def test_any_other_text_is_no_gateways_topic(text: str) -> None:
    found = TOPICS.parse(text)
    assert found is None or TOPICS.to(*found) == text


@pytest.mark.parametrize(
    "topic",
    [
        "tocsin/v1/north/hub/hub-1/state",
        f"tocsin/v1/south/{'0' * 32}/block",
        f"tocsin/v2/north/{'0' * 32}/block",
        f"tocsin/v1/north/{'0' * 31}/block",
        f"tocsin/v1/north/{'A' * 32}/block",
        f"tocsin/v1/north/{' ' * 32}/block",
    ],
)
def test_another_hubs_regions_or_spellings_topic_is_passed_over(topic: str) -> None:
    assert TOPICS.parse(topic) is None


def test_a_record_is_an_epoch_change_or_a_rotation() -> None:
    gateway = Fleet().gateway("a")
    change, rotation = gateway.epoch_change(), gateway.rotate()
    assert read_record(encode([1, change.to_item()])) == change
    assert read_record(encode([2, rotation.to_item()])) == rotation
    assert (EpochChange, Rotation) == (type(change), type(rotation))


@given(st.binary(max_size=200) | st.lists(st.integers(0, 9) | st.binary(max_size=9), max_size=4).map(encode))
def test_other_bytes_are_refused_as_a_record(payload: bytes) -> None:
    with pytest.raises(FormatError):
        read_record(payload)
