"""What is refused is counted in few events, whoever sends it and however often."""

from __future__ import annotations

import threading
from hashlib import sha256

from gateway.chain.events import Refusal
from gateway.recording.refusals import COMMAND, GRANT, MAX_REASONS, NEIGHBOUR, Refusals


def made() -> tuple[Refusals, list[Refusal]]:
    events: list[Refusal] = []
    return Refusals(events.append), events


def test_the_first_is_recorded_at_once_and_the_rest_together_a_minute_later() -> None:
    refusals, events = made()
    assert refusals.note(COMMAND, "BadSignature", b"one", 1000)
    assert not refusals.note(COMMAND, "BadSignature", b"two", 1001)
    assert not refusals.note(COMMAND, "BadSignature", b"three", 60_000)
    refusals.flush(60_999)
    assert events == [Refusal(0, COMMAND, "BadSignature", 1, sha256(b"one").digest())]
    refusals.flush(61_000)
    assert events[1:] == [Refusal(0, COMMAND, "BadSignature", 2, sha256(b"two").digest())]
    refusals.note(COMMAND, "BadSignature", b"four", 61_001)
    refusals.flush(121_000 - 1)
    assert len(events) == 2
    refusals.flush(121_000)
    assert events[2:] == [Refusal(0, COMMAND, "BadSignature", 1, sha256(b"four").digest())]


def test_after_a_quiet_minute_the_next_is_recorded_at_once_again() -> None:
    refusals, events = made()
    refusals.note(GRANT, "Superseded", b"one", 0)
    refusals.flush(60_000)
    assert refusals.note(GRANT, "Superseded", b"two", 60_001)
    assert [each.count for each in events] == [1, 1]


def test_kinds_and_reasons_are_counted_apart() -> None:
    refusals, events = made()
    for what in (COMMAND, GRANT, NEIGHBOUR):
        for reason in ("BadSignature", "Repeated"):
            assert refusals.note(what, reason, b"", 0)
    assert len({(each.what, each.reason) for each in events}) == 6


def test_reasons_without_end_become_one() -> None:
    refusals, events = made()
    for number in range(100_000):
        refusals.note(NEIGHBOUR, f"Reason{number}", b"", number // 10_000)
    assert len(events) <= MAX_REASONS
    assert len(refusals._counts) <= MAX_REASONS
    refusals.flush(0, ending=True)
    assert sum(each.count for each in events) == 100_000
    assert (NEIGHBOUR, "other") in {(each.what, each.reason) for each in events}


def test_a_flood_of_a_day_is_an_event_a_minute_and_none_is_lost() -> None:
    refusals, events = made()
    for second in range(86_400):
        refusals.note(NEIGHBOUR, "BadSignature", b"x", second * 1000)
        refusals.flush(second * 1000)
    refusals.flush(86_400_000, ending=True)
    assert len(events) <= 24 * 60 + 1
    assert sum(each.count for each in events) == 86_400


def test_threads_lose_none() -> None:
    refusals, events = made()
    threads = [
        threading.Thread(target=lambda: [refusals.note(COMMAND, "Repeated", b"", 0) for _ in range(5000)])
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    refusals.flush(0, ending=True)
    assert [each.count for each in events] == [1, 19_999]
