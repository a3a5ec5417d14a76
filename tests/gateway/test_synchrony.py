"""Who vouches for wall time: a time server, a hub, a battery, nobody; and what each may move."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import Authority

from gateway import synchrony
from gateway.chain.block import HUB, NTP, RTC, STALE
from gateway.clock import SimulatedClock
from gateway.synchrony import Synchrony, Word, system_word
from gateway.tls import client_context

NOW = 1_760_000_000_000
HOUR = 3_600_000
YEAR = 365 * 24 * HOUR


class Machine:
    """A machine's clock and what its system says of it."""

    def __init__(self, wall: int = NOW, word: Word | None = None, floor: int = 0) -> None:
        self.clock = SimulatedClock(0, start_wall_ms=wall)
        self.clock.advance(1)
        self.word = word or Word()
        self.time = Synchrony(self.clock, lambda: self.word, floor_ms=floor)

    def pass_ms(self, ms: int) -> None:
        self.clock.advance(ms / 1000)

    def set_by_server(self) -> None:
        self.word = Word(self.clock.wall_ms(), self.word.is_rtc)

    def hears(self, hub_ms: int, took_ms: int = 100) -> None:
        """A hub's answer, made half way through the time that asking it took."""
        asked = self.clock.monotonic_ms()
        self.pass_ms(took_ms)
        self.time.hear(hub_ms + took_ms // 2, asked)


def test_a_kernel_that_says_so_a_moment_later_vouches() -> None:
    machine = Machine()
    machine.word = Word(machine.clock.wall_ms() + 2)
    assert machine.time() == NTP


def test_nobody_vouches_for_a_clock_that_nobody_set() -> None:
    machine = Machine(wall=0)
    assert machine.time() == STALE
    assert machine.time.wall_ms() == machine.clock.wall_ms()


def test_a_time_servers_word_is_good_until_it_has_been_silent_for_too_long() -> None:
    machine = Machine()
    machine.set_by_server()
    assert machine.time() == NTP
    machine.pass_ms(2 * HOUR - 20_000)
    assert machine.time() == NTP
    machine.pass_ms(40_000)
    assert machine.time() == STALE
    machine.set_by_server()
    machine.pass_ms(20_000)
    assert machine.time() == NTP


@pytest.mark.parametrize("step", [YEAR, -YEAR, HOUR // 60])
def test_a_time_servers_word_ends_where_somebody_else_steps_the_clock(step: int) -> None:
    machine = Machine()
    machine.set_by_server()
    assert machine.time() == NTP
    machine.clock.step_wall(step)
    assert machine.time() == STALE
    machine.clock.step_wall(-step)
    machine.pass_ms(1000)
    machine.set_by_server()
    assert machine.time() == NTP


def test_a_battery_vouches_only_for_a_time_that_it_can_be() -> None:
    assert Machine(word=Word(None, True)).time() == RTC
    assert Machine(wall=0, word=Word(None, True), floor=NOW).time() == STALE  # its battery was empty


def test_wall_time_follows_a_hub_where_nobody_vouches_for_it() -> None:
    machine = Machine(wall=0)
    machine.hears(NOW)
    assert machine.time() == HUB
    assert abs(machine.time.wall_ms() - (NOW + 50)) <= 50
    machine.pass_ms(HOUR)
    assert abs(machine.time.wall_ms() - (NOW + HOUR)) <= 200


def test_a_hub_moves_no_wall_time_that_agrees_with_it() -> None:
    machine = Machine(word=Word(None, True))
    machine.hears(machine.clock.wall_ms() + 300)
    assert machine.time() == HUB
    assert machine.time.wall_ms() == machine.clock.wall_ms()


def test_a_hub_is_not_followed_where_a_time_server_vouches() -> None:
    machine = Machine()
    machine.set_by_server()
    machine.hears(NOW + YEAR)
    assert machine.time() == NTP
    assert machine.time.wall_ms() == machine.clock.wall_ms()


def test_a_hub_that_falls_silent_vouches_no_longer_and_wall_time_goes_on() -> None:
    machine = Machine(wall=0)
    machine.hears(NOW)
    machine.pass_ms(3 * HOUR)
    assert machine.time() == STALE
    assert abs(machine.time.wall_ms() - (NOW + 3 * HOUR)) <= 200


def test_a_time_server_takes_over_from_a_hub() -> None:
    machine = Machine(wall=0)
    machine.hears(NOW)
    machine.clock.step_wall(NOW)
    machine.set_by_server()
    assert machine.time() == NTP
    assert machine.time.wall_ms() == machine.clock.wall_ms()


def test_a_step_of_the_systems_clock_does_not_move_a_time_that_follows_a_hub() -> None:
    machine = Machine(wall=0)
    machine.hears(NOW)
    machine.clock.step_wall(YEAR)
    assert machine.time() == HUB
    assert abs(machine.time.wall_ms() - NOW) <= 200


@pytest.mark.parametrize("held_back_ms", [6_000, YEAR])
def test_an_answer_that_was_held_back_or_played_again_moves_nothing(held_back_ms: int) -> None:
    machine = Machine(wall=0)
    machine.hears(NOW, took_ms=held_back_ms)
    assert machine.time() == STALE
    assert machine.time.wall_ms() == machine.clock.wall_ms()


def test_a_time_that_is_signed_before_it_was_asked_for_moves_nothing() -> None:
    machine = Machine(wall=0)
    machine.time.hear(NOW, machine.clock.monotonic_ms() + 1)
    assert machine.time() == STALE


def test_hubs_that_answer_narrow_each_others_word_down() -> None:
    machine = Machine(wall=0)
    machine.hears(NOW, took_ms=4_000)
    for _ in range(3):
        machine.hears(NOW + machine.clock.monotonic_ms() - 1000, took_ms=20)
    assert abs(machine.time.wall_ms() - (NOW + machine.clock.monotonic_ms() - 1000)) <= 2_500
    assert machine.time() == HUB


def test_a_simulation_that_runs_faster_follows_no_hub() -> None:
    clock = SimulatedClock(0, start_wall_ms=0)
    fast = Synchrony(clock, Word, follows=False)
    fast.hear(NOW, clock.monotonic_ms())
    assert fast() == STALE


def test_what_can_be_where_nobody_vouches_is_not_before_the_program_was_made() -> None:
    assert Machine(wall=0, floor=NOW).time.doubt_ms == NOW
    assert Machine(wall=NOW + 5, floor=NOW).time.doubt_ms == NOW + 1005
    vouched = Machine(wall=0, floor=NOW)
    vouched.hears(NOW)
    assert vouched.time.doubt_ms is None


def test_timesyncds_flag_says_when_it_set_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag, rtcs = tmp_path / "synchronized", tmp_path / "rtc"
    (rtcs / "rtc0").mkdir(parents=True)
    monkeypatch.setattr(synchrony, "_TIMESYNCD", flag)
    monkeypatch.setattr(synchrony, "_RTCS", rtcs)
    monkeypatch.setattr(synchrony, "_is_set_by_kernel", lambda: False)
    clock = SimulatedClock(0, start_wall_ms=NOW)
    assert system_word(clock) == Word()
    (rtcs / "rtc0/hctosys").write_text("1\n")
    flag.touch()
    os.utime(flag, (NOW / 1000, NOW / 1000))
    assert system_word(clock) == Word(NOW, True)


# certificates


@pytest.fixture
def authority(tmp_path: Path, require: Callable[[str], Path]) -> Authority:
    return Authority(tmp_path, require("openssl"))


def shake_hands(chain: Path, secret: Path, trusted: Path, doubt_ms: int | None) -> None:
    """Connect to a server with a certificate. Raises ssl.SSLError."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, secret)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            end, _ = listener.accept()
            try:
                server.wrap_socket(end, server_side=True).close()
            except OSError:
                end.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            context = client_context(str(trusted), doubt_ms)
            with socket.create_connection(listener.getsockname(), timeout=10) as end:
                context.wrap_socket(end, server_hostname="127.0.0.1").close()
        finally:
            thread.join(10)


DAY = 86_400


@pytest.mark.parametrize(
    ("begins", "ends", "doubt"),
    [
        (-30 * DAY, 30 * DAY, None),  # in its time, which is known
        (30 * DAY, 60 * DAY, -30 * DAY),  # made while the gateway was in a drawer
        (-30 * DAY, -5 * DAY, -6 * DAY),  # not yet expired at the earliest moment that it can be
    ],
)
def test_a_certificate_is_good_where_it_can_be(
    authority: Authority, begins: int, ends: int, doubt: int | None
) -> None:
    today = int(time.time())
    chain, secret = authority.certify_between("hub", today + begins, today + ends)
    shake_hands(chain, secret, authority.file, None if doubt is None else (today + doubt) * 1000)


@pytest.mark.parametrize(
    ("begins", "ends", "doubt"),
    [
        (-30 * DAY, -5 * DAY, None),
        (30 * DAY, 60 * DAY, None),
        (-30 * DAY, -5 * DAY, -4 * DAY),  # expired however early it is
    ],
)
def test_a_certificate_that_cannot_be_good_is_refused(
    authority: Authority, begins: int, ends: int, doubt: int | None
) -> None:
    today = int(time.time())
    chain, secret = authority.certify_between("hub", today + begins, today + ends)
    with pytest.raises(ssl.SSLError, match=r"expired|not yet valid"):
        shake_hands(chain, secret, authority.file, None if doubt is None else (today + doubt) * 1000)


def test_a_stranger_is_refused_whatever_time_it_is(
    authority: Authority, tmp_path: Path, require: Callable[[str], Path]
) -> None:
    (tmp_path / "theirs").mkdir()
    chain, secret = Authority(tmp_path / "theirs", require("openssl")).certify("hub")
    with pytest.raises(ssl.SSLError, match="verify failed"):
        shake_hands(chain, secret, authority.file, 0)
