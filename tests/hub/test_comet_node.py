"""The engine's process and the watch over it: restarts, dialling, a bounded log, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comets import until
from enginekit import EngineRpc, Refusal
from fleet import seeded

from hub.consensus import comet_node, comet_watch
from hub.consensus.comet_home import CometSettings, Peer, address, peer_url
from hub.consensus.comet_node import LOG, Node
from hub.consensus.comet_rpc import RpcClient
from hub.consensus.comet_watch import Watch

PEERS = tuple(Peer(bytes([place]) * 32, f"hub-{place}.example:26656") for place in range(1, 4))

OWN = bytes([9]) * 32


class Program:
    """A program in the engine's place: a shell script, which is run as the engine is."""

    def __init__(self, home: Path, script: str) -> None:
        self.home, self.path = home, home / "engine.sh"
        self.path.write_text(f"#!/bin/sh\n{script}\n")
        self.path.chmod(0o700)
        self.reason, self.starts = "", 0
        self.node = Node(home, str(self.path), self.look, self.restarted)

    def look(self) -> str:
        self.node.answers()
        return self.reason

    def restarted(self) -> None:
        self.starts += 1
        self.reason = ""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comet_node, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(comet_node, "_STOP_SECONDS", 0.5)


def is_alive(pid: int | None) -> bool:
    assert pid is not None
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def test_a_killed_engine_is_started_again_and_ends_with_stop(tmp_path: Path) -> None:
    program = Program(tmp_path, "exec sleep 1000")
    program.node.start()
    first = program.node.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: program.starts == 2 and program.node.pid not in (None, first))
    assert program.node.restarts == 1
    second = program.node.pid
    program.node.stop()
    program.node.stop()
    assert not is_alive(second)
    assert program.node.pid is None


def test_an_engine_that_sticks_is_started_anew_even_if_it_heeds_no_signal(tmp_path: Path) -> None:
    program = Program(tmp_path, "trap '' TERM\nwhile :; do sleep 0.05; done")
    program.node.start()
    program.reason = "it sticks"
    until(lambda: program.starts == 2)
    until(lambda: program.node.pid)
    second = program.node.pid
    program.node.stop()
    assert not is_alive(second)


def test_an_engines_end_is_told_in_its_own_words(tmp_path: Path) -> None:
    first = "touch ended; sleep 0.3; echo 'E[today] CONSENSUS FAILURE'; echo bye; exit 7"
    program = Program(tmp_path, f"test -e ended && exec sleep 1000\n{first}")
    ends: list[str] = []
    program.restarted = lambda: ends.append(program.node.ended)  # type: ignore[method-assign]
    program.node = Node(tmp_path, str(program.path), program.look, program.restarted)
    program.node.start()
    until(lambda: len(ends) == 2)
    assert ends[1] == "the engine ended (code 7): E[today] CONSENSUS FAILURE"
    until(lambda: program.node.ended == "")
    program.node.stop()


def test_an_engine_that_runs_but_has_halted_is_told_apart(tmp_path: Path) -> None:
    words = r'''E[today] CONSENSUS FAILURE!!!   module=consensus err="wrong \\"Block.Header\\"" stack="goroutine"'''
    program = Program(tmp_path, f"echo '{words}'\nexec sleep 1000")
    program.node.start()
    until(lambda: program.node.halted)
    assert program.node.halted == r"""the engine has halted: wrong \"Block.Header\""""
    assert (program.node.ended, program.starts) == ("", 1)
    program.reason = "it sticks"
    until(lambda: program.starts == 2)
    program.node.stop()


def test_the_log_takes_a_bounded_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comet_node, "MAX_LOG", 100_000)
    program = Program(tmp_path, "while :; do head -c 20000 /dev/zero | tr '\\0' x; echo; sleep 0.01; done")
    program.node.start()
    log = tmp_path / LOG
    until(lambda: log.with_suffix(".log.1").exists())
    sizes: list[int] = []

    def is_emptied_again() -> bool:
        sizes.append(log.stat().st_size)
        return sizes != sorted(sizes)

    until(is_emptied_again)
    program.node.stop()
    assert max(sizes) < 2_000_000


OWNER = """
import sys, time
from pathlib import Path
from hub.consensus.comet_node import Node
node = Node(Path(sys.argv[1]), sys.argv[2], lambda: node.answers() or "", lambda: None)
node.start()
print(node.pid, flush=True)
time.sleep(1000)
"""


def test_the_engine_dies_with_the_hub_however_that_dies(tmp_path: Path) -> None:
    program = Program(tmp_path, "exec sleep 1000")
    command = [sys.executable, "-c", OWNER, str(tmp_path), str(program.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert is_alive(pid)
        owner.kill()
    until(lambda: not is_alive(pid))


class Shown:
    """What an engine says of itself."""

    def __init__(self, home: Path) -> None:
        self.height, self.peers = 1, [peer.key for peer in PEERS]
        self.dialled: list[str] = []
        self.rpc = EngineRpc(
            home,
            status=lambda params: {
                "sync_info": {"latest_block_height": str(self.height), "catching_up": False}
            },
            net_info=lambda params: {
                "peers": [{"node_info": {"id": address(key).hex()}} for key in self.peers]
            },
            dial_peers=self._dial,
        )
        self.client = RpcClient(home)
        self.watch = self.make()

    def make(self) -> Watch:
        settings = CometSettings(Path("/nowhere"), peers=PEERS, interval=0.0)
        powers = {address(key): 10 for key in (OWN, *(peer.key for peer in PEERS))}
        powers[address(bytes(32))] = 0  # a member that only reads, and is away
        return Watch(self.client, settings, address(OWN), powers.copy)

    def _dial(self, params: dict[str, Any]) -> dict[str, Any]:
        self.dialled += params["peers"]
        return {}

    def close(self) -> None:
        self.client.close()
        self.rpc.close()


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    made = Shown(tmp_path)
    yield made
    made.close()


def test_a_watch_says_who_is_reached_and_why_no_majority_is(shown: Shown) -> None:
    watch = shown.watch
    assert watch.silent
    assert watch.look() == ""
    assert (watch.silent, watch.too_few) == ("", "")
    assert set(watch.connected) == {address(peer.key) for peer in PEERS}
    del shown.peers[0]
    watch.look()
    assert watch.too_few == ""
    del shown.peers[0]
    watch.look()
    assert "only 2 of 4 voting hubs" in watch.too_few


def test_who_is_missed_is_dialled_again(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comet_watch, "REDIAL_SECONDS", 0.0)
    shown.watch.look()
    assert shown.dialled == []
    shown.peers = shown.peers[1:]
    shown.watch.look()
    assert shown.dialled == [peer_url(PEERS[0])]


def test_an_engine_that_is_connected_to_a_member_no_more_is_started_anew(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comet_watch, "_STRANGERS_SECONDS", 0.4 - address(OWN)[0] % 32)
    watch = shown.make()
    shown.peers.append(seeded("removed"))
    assert watch.look() == "", "a member with a new key starts anew by itself"
    time.sleep(0.5)
    assert "no member" in watch.look()
    watch.restarted()
    assert watch.look() == ""
    shown.peers.pop()
    time.sleep(0.5)
    assert watch.look() == ""


def test_an_engine_without_final_blocks_is_started_anew_unless_too_few_are_there(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comet_watch, "_SLACK_SECONDS", 0.5)
    watch = shown.make()
    watch.look()
    time.sleep(0.6)
    assert "no final block after 1" in watch.look()
    assert "no final block after 1" in watch.stuck
    shown.height = 2
    assert watch.look() == ""
    shown.peers = []
    time.sleep(0.6)
    assert watch.look() == ""
    watch.restarted()
    assert (watch.connected, watch.silent) == ((), "the engine starts")


def test_an_engine_that_falls_silent_is_started_anew_after_a_while(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown.watch.look()
    shown.close()
    assert shown.watch.look() == ""
    assert "does not answer" in shown.watch.silent
    monkeypatch.setattr(comet_watch, "_SILENT_SECONDS", 0.0)
    time.sleep(0.01)
    assert "not answered" in shown.watch.look()
    monkeypatch.setattr(comet_watch, "_SILENT_SECONDS", 60.0)
    shown.watch.decided(5)
    assert shown.watch.look() == ""


def test_a_refusal_of_the_engine_is_no_reason_to_start_it_anew(shown: Shown) -> None:
    def refuse(params: dict[str, Any]) -> dict[str, Any]:
        raise Refusal("no")

    shown.rpc.methods["status"] = refuse
    assert shown.watch.look() == ""
