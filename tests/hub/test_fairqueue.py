"""No gateway's alarm waits behind another's flood."""

from __future__ import annotations

from pathlib import Path

from fleet import FleetGateway
from hubs import RunningHub, eventually
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.alarm import Alarm
from hub.fairqueue import FairQueue
from hub.loading import load_view
from hub.view import View


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=2)), max_size=60))
def test_each_gateways_order_is_kept_and_nothing_is_lost_where_there_is_room(
    sent: list[tuple[bytes, bytes]],
) -> None:
    queue = FairQueue(60)
    assert all(queue.put(*each) for each in sent)
    queue.close()
    taken: list[tuple[bytes, bytes]] = []
    while (batch := queue.take(7, 0.0)) is not None:
        taken += batch
    for name in (b"a", b"b", b"c"):
        assert [each for each in taken if each[0] == name] == [each for each in sent if each[0] == name]


def test_gateways_take_turns() -> None:
    queue = FairQueue(100)
    for number in range(50):
        queue.put(b"flood", bytes([number]))
    queue.put(b"one", b"alarm")
    assert (b"one", b"alarm") in (queue.take(2, 0.0) or ())


def test_without_room_whoever_has_the_most_loses_its_newest() -> None:
    queue = FairQueue(3)
    for payload in (b"1", b"2", b"3"):
        assert queue.put(b"flood", payload)
    assert not queue.put(b"one", b"alarm")
    assert not queue.put(b"flood", b"4")
    assert queue.take(9, 0.0) == [(b"flood", b"1"), (b"one", b"alarm"), (b"flood", b"2")]


def test_a_wake_ends_the_wait_and_a_close_the_queue() -> None:
    queue = FairQueue(3)
    queue.wake()
    assert queue.take(1, 60.0) == []
    queue.put(b"a", b"1")
    queue.close()
    assert queue.take(1, 60.0) == [(b"a", b"1")]
    assert queue.take(1, 60.0) is None


def test_an_alarm_is_taken_while_another_gateway_floods(tmp_path: Path) -> None:
    with RunningHub(tmp_path / "hub") as hub:
        liar, _ = hub.join("liar")
        gateway, caller = hub.join("a")
        lane, alarm = hub.service._intake._alarms, gateway.alarm()
        flood = [liar.alarm() for _ in range(1500)]
        store = hub.service._core.store
        with store.database.write():  # all wait before anything is stored
            for each in flood:
                lane.offer(liar.id, each.encode())
            lane.offer(gateway.id, alarm.encode())
        assert caller.alarm_receipt().alarms == (alarm.hash,)
        eventually(lambda: stored(hub, liar) == len(flood), "all of the flood")
        order = {each.hash: each.id for each in store.alarms(limit=10_000)}
        assert order[alarm.hash] < max(order[each.hash] for each in flood)
        eventually(lambda: shown(hub, alarm), "finality")
        view = View()
        load_view(hub.service._core, view)
        assert alarm.hash.hex() in {each["hash"] for each in view.alarms(limit=10_000)}


def stored(hub: RunningHub, gateway: FleetGateway) -> int:
    return len(hub.service._core.store.alarms(gateway=gateway.id, limit=10_000))


def shown(hub: RunningHub, alarm: Alarm) -> bool:
    listed = hub.rest.json("/v1/alarms?limit=1000")
    return any(each["hash"] == alarm.hash.hex() and each["final_ms"] for each in listed)
