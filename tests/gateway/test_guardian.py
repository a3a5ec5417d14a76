"""The guardian's socket: who may speak, where it is, and what a daemon on the other side makes of it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from guardians import GuardianThread
from testhub import wait_until

from gateway.errors import OutputError
from gateway.outputs import wire
from gateway.outputs.client import Guardian
from gateway.outputs.options import OutputOptions
from gateway.outputs.orders import CONTRACT, MOVED, Cause, Order, Want
from gateway.outputs.server import Server
from gateway.outputs.wire import Listener, ask, end_simulated, meet, places, receive, send

SIREN = OutputOptions("siren", "siren", 17)
VALVE = OutputOptions("valve", "valve", 22)
ALARM = Order({"siren": Want(Cause(CONTRACT, "gas")), "valve": Want(Cause(CONTRACT, "gas"))})


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def guardian(stack: ExitStack, data: Path) -> GuardianThread:
    data.mkdir(mode=0o700, exist_ok=True)
    made = GuardianThread(data)
    stack.callback(made.stop)
    return made


def daemon(
    stack: ExitStack, data: Path, *, poke: Callable[[], None] = lambda: None, wait: bool = True
) -> Guardian:
    made = Guardian([SIREN, VALVE], places(data), hold_s=3, simulated=True, spawns=False, poke=poke)
    stack.callback(made.close)
    made.start()
    if wait:
        made.wait(10)
    return made


def test_an_order_has_moved_the_pins_when_it_returns(stack: ExitStack, tmp_path: Path) -> None:
    held, ours = guardian(stack, tmp_path), daemon(stack, tmp_path)
    ours.order(Order())
    assert [held.level(17), held.level(22)] == [False, True]
    ours.order(ALARM)
    assert [held.level(17), held.level(22)] == [True, False]
    assert ours.active == {"siren", "valve"}
    assert [(each.output, each.active) for each in ours.take()] == [
        ("valve", False),
        ("siren", True),
        ("valve", True),
    ]
    assert ours.take() == []


def test_an_order_given_before_there_is_a_guardian_is_kept_for_it(stack: ExitStack, tmp_path: Path) -> None:
    ours = daemon(stack, tmp_path, wait=False)
    ours.order(ALARM)
    held = guardian(stack, tmp_path)
    wait_until(lambda: "siren" in ours.active, "the siren")
    assert held.level(17)


def test_a_daemon_gets_every_movement_once_whoever_had_it_before(stack: ExitStack, tmp_path: Path) -> None:
    guardian(stack, tmp_path)
    first = daemon(stack, tmp_path)
    first.order(Order())
    first.order(ALARM)
    first.take()
    first.order(Order())
    first.close()  # what it did not take is the next one's
    second = daemon(stack, tmp_path)
    assert [(each.output, each.active) for each in second.take()] == [("siren", False), ("valve", False)]


def test_a_second_daemon_is_refused_while_the_first_one_speaks(stack: ExitStack, tmp_path: Path) -> None:
    held, first = guardian(stack, tmp_path), daemon(stack, tmp_path)
    first.order(ALARM)
    second = daemon(stack, tmp_path, wait=False)
    second.order(Order())
    with pytest.raises(OutputError, match=rf"process {os.getpid()} gives the orders; stop it first"):
        second.wait(2)
    assert held.level(17)
    first.close()
    wait_until(lambda: not second.trouble, "its turn")
    wait_until(lambda: not held.level(17), "its order")


@pytest.mark.parametrize(
    "request_",
    [
        {"do": "order", "order": Order().plain(), "seen": 0, "id": 1},
        {"do": "hello"},
        {"do": "hello", "outputs": [{"name": "Bad Name"}], "hold_s": 3, "simulated": True, "speed": 1},
        {"do": "hello", "outputs": [], "hold_s": 10_000, "simulated": True, "speed": 1},
        {"do": "fly"},
        {"do": 5},
        {"do": "test", "output": "siren"},
    ],
)
def test_what_is_no_order_of_the_daemon_is_refused_and_changes_nothing(
    request_: dict[str, object], stack: ExitStack, tmp_path: Path
) -> None:
    held, ours = guardian(stack, tmp_path), daemon(stack, tmp_path)
    ours.order(ALARM)
    with pytest.raises(OutputError):
        ask(places(tmp_path), request_)
    assert held.level(17)
    assert ours.trouble == ""


HELLO = b'{"do":"hello","outputs":[],"simulated":true,'


@pytest.mark.parametrize(
    "packet",
    [
        b"\0", b"[]", b"{", b'{"do":"order"}', b"[" * 5000, b"\xff" * 100,
        HELLO + b'"hold_s":Infinity,"speed":1}', b'{"do":"pin","pin":1e999}',
    ],
)  # fmt: skip
def test_no_packet_ends_the_guardian(packet: bytes, stack: ExitStack, tmp_path: Path) -> None:
    held, ours = guardian(stack, tmp_path), daemon(stack, tmp_path)
    ours.order(ALARM)
    with meet(places(tmp_path)) as stranger:
        stranger.send(packet)
        assert wire.is_readable(stranger, 5)
        assert (receive(stranger) or {})["ok"] is False
    assert held.level(17)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as somebody else")
def test_a_foreign_user_is_refused_even_where_the_directory_would_let_it_in(stack: ExitStack) -> None:
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        guardian(stack, data)
        for path in (Path(name), data, data / "guardian.sock"):
            path.chmod(0o777 if path.suffix else 0o755)
        code = (
            f"import os, socket; os.setuid(65534); s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
            f' s.connect({str(data / "guardian.sock")!r}); s.send(b\'{{"do": "end"}}\'); print(s.recv(100))'
        )
        stranger = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert stranger.stdout == "b''\n" or "reset" in stranger.stderr or "Broken pipe" in stranger.stderr
        assert ask(places(data), {"do": "status"})["ok"]


def test_the_socket_is_its_owners_alone(stack: ExitStack, tmp_path: Path) -> None:
    guardian(stack, tmp_path)
    assert (tmp_path / "guardian.sock").stat().st_mode & 0o777 == 0o600


def test_a_path_longer_than_a_sockets_address_is_reached_all_the_same(
    stack: ExitStack, tmp_path: Path
) -> None:
    data = tmp_path / ("d" * 120)
    guardian(stack, data)
    daemon(stack, data)
    assert (data / "guardian.sock").exists()


def test_where_the_data_directory_takes_no_socket_another_place_does(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = tmp_path / "file"
    data.write_text("no directory")
    held = GuardianThread(data)
    stack.callback(held.stop)
    ours = daemon(stack, data)
    ours.order(ALARM)
    assert held.level(17)


def test_a_directory_that_others_can_write_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(OutputError, match=r"others can write there; chown it .* its user owns and can write"):
        Listener([tmp_path / "open", tmp_path / "missing" / "deeper"])


def test_a_second_guardian_is_refused_and_one_that_died_is_in_nobodys_way(tmp_path: Path) -> None:
    first = Listener([tmp_path])
    with pytest.raises(OutputError, match="another guardian holds"):
        Listener([tmp_path])
    first._close()  # as its death does; the socket stays
    first.socket.close()
    Listener([tmp_path]).close()
    assert not (tmp_path / "guardian.sock").exists()


def test_a_daemon_that_dies_before_its_first_order_again_and_again_does_not_prolong_the_hold(
    stack: ExitStack, tmp_path: Path
) -> None:
    held, ours = guardian(stack, tmp_path), daemon(stack, tmp_path)
    ours.order(Order({}, gone=ALARM.want))
    ours.close()
    end = time.monotonic() + 20
    while held.level(22):
        assert time.monotonic() < end, "its hold never ends"
        next_one = daemon(stack, tmp_path)
        time.sleep(0.3)
        next_one.close()
    assert held.level(17)


def test_a_directory_that_somebody_else_may_read_is_not_theirs_to_lock(tmp_path: Path) -> None:
    theirs = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        Listener([tmp_path]).close()
    finally:
        os.close(theirs)


def test_a_guardian_that_takes_no_more_connections_keeps_nobody_waiting(tmp_path: Path) -> None:
    listener = Listener([tmp_path])
    with ExitStack() as waiting:
        for _ in range(9):  # as many as wait to be let in
            waiting.enter_context(meet([tmp_path]))
        with pytest.raises(OutputError, match="no guardian answers"):
            meet([tmp_path])
    listener.close()


def test_a_daemon_that_comes_back_just_as_another_takes_its_place_does_not_end_the_guardian(
    tmp_path: Path,
) -> None:
    server = Server(Listener([tmp_path]), lingers=True)
    hello = {"do": "hello", "outputs": [], "hold_s": 3, "simulated": True, "speed": 1}
    with meet([tmp_path]) as first, meet([tmp_path]) as second:
        peers = server._peers
        peers._accept()
        known = {key.fd for key in peers._selector.get_map().values()}
        peers._accept()
        last = next(key for key in peers._selector.get_map().values() if key.fd not in known)
        send(first, hello)
        server._turn()
        hung = server._daemon
        server._heard -= 60
        send(second, hello)
        send(first, {"do": "seen", "seen": 0})
        for each in (last.fileobj, hung):  # both in one turn, as the system may report them
            server._hear(each)
        assert server._daemon is last.fileobj
    server._close()


def test_a_fault_of_the_guardian_itself_does_not_end_it(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, ours = guardian(stack, tmp_path), daemon(stack, tmp_path)
    failures = iter((True, True))
    look = Server._look

    def fails(server: Server) -> None:
        if next(failures, False):
            raise RuntimeError("a defect")
        look(server)

    monkeypatch.setattr(Server, "_look", fails)
    ours.order(ALARM)
    wait_until(lambda: next(failures, None) is None, "the failures")
    assert held.level(17)


def test_a_guardian_that_does_not_answer_is_a_fault_and_holds_nobody_up(
    stack: ExitStack, tmp_path: Path
) -> None:
    listener = Listener([tmp_path])
    stack.callback(listener.close)
    ours = daemon(stack, tmp_path, wait=False)
    with listener.socket.accept()[0] as deaf:
        assert receive(deaf) is not None
        send(deaf, {"ok": True, "re": "hello", "born": "x", "states": [], "moves": []})
        ours.wait(10)
        begun = time.monotonic()
        for _ in range(20):
            ours.order(ALARM)
        with pytest.raises(OutputError, match="does not answer"):
            ours.test("siren", 1, "console")
        assert time.monotonic() - begun < 2
        assert ours.faults == ("guardian: the guardian does not answer",)


def test_a_guardian_is_started_where_there_is_none_and_killed_where_it_hangs(
    stack: ExitStack, tmp_path: Path
) -> None:
    ours = Guardian([SIREN], places(tmp_path), hold_s=3, simulated=True)
    stack.callback(end_simulated, tmp_path)
    stack.callback(ours.close)
    ours.start()
    ours.wait(20)
    ours.order(ALARM)
    pid = own_pid(tmp_path)
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3] == str(pid)  # its own session
    resident = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line)
    assert int(resident.split()[1]) < 40_000  # kB
    os.kill(pid, 19)  # SIGSTOP
    ours.order(Order())
    wait_until(lambda: ours.faults == () and own_pid(tmp_path) != pid, "another guardian")


def own_pid(data: Path) -> int:
    with meet(places(data)) as connection:
        return wire.peer(connection)[0]


def test_nobody_is_started_for_a_gateway_without_outputs(tmp_path: Path) -> None:
    ours = Guardian([], places(tmp_path), simulated=True)
    ours.start()
    ours.order(Order())
    with pytest.raises(OutputError, match="no outputs are configured"):
        ours.test("siren", 1, "console")
    ours.close()
    assert (ours.faults, list(tmp_path.iterdir())) == ((), [])


def test_a_jammed_relay_shows_in_the_movement_and_as_a_fault(stack: ExitStack, tmp_path: Path) -> None:
    from gateway.outputs.options import ReadBack

    held = guardian(stack, tmp_path)
    relay = OutputOptions("fan", "relay", 27, read_back=ReadBack(6, within_ms=200))
    ours = Guardian([relay], places(tmp_path), simulated=True, spawns=False)
    stack.callback(ours.close)
    ours.start()
    ours.wait(10)
    ours.order(Order({"fan": Want(Cause(CONTRACT, "gas"))}))
    moved = []
    wait_until(lambda: moved.extend(ours.take()) or moved, "the proof")  # type: ignore[func-returns-value]
    assert [each.moved for each in moved] == [MOVED]
    held.ask(do="jam", output="fan", jammed=True)
    ours.order(Order())
    wait_until(lambda: ours.faults, "the fault")
    held.ask(do="jam", output="fan", jammed=False)
    wait_until(lambda: not ours.faults, "its end")
