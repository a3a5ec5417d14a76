"""Handing transactions to the engine: in order, again when they were forgotten, never for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from comets import until
from enginekit import EngineRpc, Mempool

from gateway.chain.errors import TooLarge
from gateway.chain.finality import AppState
from hub.consensus import comet_sender
from hub.consensus.base import ALREADY_FINAL, CROWDED, FinalBlock, Result, TxResult, tx_id
from hub.consensus.comet_home import RPC_SOCKET
from hub.consensus.comet_rpc import RpcClient
from hub.consensus.comet_sender import Sender
from hub.consensus.sockets import listen
from hub.errors import ConsensusFull, ConsensusStopped, EngineRefusal, EngineSilent

REFUSED = TxResult(1, "BadRecord: no", 0, ((0, "BadRecord: no"),))


class Site:
    """A sender, and an engine that may be there or not."""

    def __init__(self, home: Path) -> None:
        self.home, self.mempool = home, Mempool()
        self.engine: EngineRpc | None = None
        self.told: list[tuple[bytes, TxResult]] = []
        self.sender = Sender(RpcClient(home), lambda identity, verdict: self.told.append((identity, verdict)))

    def serve(self) -> None:
        self.engine = EngineRpc(self.home, broadcast_tx_async=self.mempool.broadcast)

    def fall_silent(self) -> None:
        assert self.engine is not None
        self.engine.close()
        self.engine = None

    def final(self, height: int, *txs: bytes, code: int = 0) -> None:
        app = AppState(0, bytes(32), bytes(32))
        results = tuple(TxResult(code, "", 0) for _ in txs)
        self.sender.committed(FinalBlock(height, height, bytes(32), txs), Result(app, results))

    def close(self) -> None:
        self.sender.stop()
        if self.engine:
            self.engine.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def txs(count: int) -> list[bytes]:
    return [b"transaction %d" % number for number in range(count)]


def test_what_was_submitted_while_the_engine_was_away_comes_in_order_once_it_is_there(site: Site) -> None:
    site.sender.start()
    for tx in txs(50):
        assert site.sender.submit(tx) == tx_id(tx)
    site.serve()
    until(lambda: len(site.mempool.offered) == 50)
    assert site.mempool.offered == txs(50)


def test_a_full_mempool_is_offered_the_rest_later_and_in_order(site: Site) -> None:
    site.mempool.room = 25
    site.serve()
    site.sender.start()
    for tx in txs(50):
        site.sender.submit(tx)
    until(lambda: len(site.mempool.offered) == 25)
    site.mempool.room = 1000
    until(lambda: len(site.mempool.offered) == 50)
    assert site.mempool.offered == txs(50)


def test_an_engine_that_starts_anew_is_offered_everything_again_that_is_not_final(site: Site) -> None:
    site.serve()
    site.sender.start()
    first, second, third = txs(3)
    for tx in (first, second, third):
        site.sender.submit(tx)
    until(lambda: len(site.mempool.offered) == 3)
    site.final(1, second)
    site.mempool.cache.clear()
    site.sender.restarted()
    until(lambda: len(site.mempool.offered) == 5)
    assert site.mempool.offered[3:] == [first, third]


def test_what_the_mempool_dropped_in_silence_is_offered_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comet_sender, "AGAIN_SECONDS", 0.3)
    site.serve()
    site.sender.start()
    site.sender.submit(b"dropped")
    until(lambda: site.mempool.offered)
    site.mempool.cache.clear()
    until(lambda: len(site.mempool.offered) == 2)


def test_what_blocks_pass_over_is_offered_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comet_sender, "_LEAST_SECONDS", 0.0)
    site.serve()
    site.sender.start()
    site.sender.submit(b"passed over")
    until(lambda: site.mempool.offered)
    site.mempool.cache.clear()
    for height in range(1, comet_sender.AGAIN_BLOCKS + 1):
        site.final(height)
    until(lambda: len(site.mempool.offered) == 2)


def test_what_the_machine_refuses_is_told_once_and_not_offered_again(site: Site) -> None:
    site.serve()
    site.sender.start()
    identity = site.sender.submit(b"refused")
    until(lambda: site.mempool.offered)
    site.sender.checked(b"refused", REFUSED)
    site.sender.checked(b"refused", REFUSED)
    site.sender.checked(b"a stranger's", REFUSED)
    until(lambda: site.told)
    site.sender.restarted()
    site.sender.submit(b"next")
    until(lambda: len(site.mempool.offered) == 2)
    assert site.told == [(identity, REFUSED)]


def test_what_others_made_final_is_done_and_what_is_crowded_out_waits_for_the_next_final_block(
    site: Site,
) -> None:
    site.serve()
    site.sender.start()
    done, crowded = map(site.sender.submit, (b"done by others", b"crowded"))
    until(lambda: len(site.mempool.offered) == 2)
    site.mempool.cache.clear()
    site.sender.checked(b"crowded", TxResult(CROWDED, "", 0))
    site.sender.checked(b"done by others", TxResult(ALREADY_FINAL, "", 0))
    until(lambda: site.told)
    assert len(site.mempool.offered) == 2
    site.final(1)
    until(lambda: site.mempool.offered[2:] == [b"crowded"])
    assert site.told == [(done, TxResult(0, "", 0))]
    assert crowded == tx_id(b"crowded")


def test_whoever_submits_what_is_final_already_is_told_so(site: Site) -> None:
    site.serve()
    site.sender.start()
    site.final(1, b"done")
    identity = site.sender.submit(b"done")
    until(lambda: site.told)
    assert site.told == [(identity, TxResult(0, "", 0))]
    assert site.mempool.offered == []


def test_what_was_ordered_and_refused_may_be_submitted_again(site: Site) -> None:
    site.serve()
    site.sender.start()
    site.final(1, b"too early", code=1)
    site.sender.submit(b"too early")
    until(lambda: site.mempool.offered == [b"too early"])


def test_a_subscriber_that_fails_holds_up_no_transaction(site: Site) -> None:
    def fail(identity: bytes, verdict: TxResult) -> None:
        raise ZeroDivisionError

    site.sender = Sender(RpcClient(site.home), fail)
    site.serve()
    site.sender.start()
    site.sender.submit(b"refused")
    site.sender.checked(b"refused", REFUSED)
    site.sender.submit(b"next")
    until(lambda: b"next" in site.mempool.offered)


def test_what_waits_is_bounded_and_the_same_bytes_wait_once(site: Site) -> None:
    site.sender.start()
    for tx in txs(comet_sender.MAX_WAITING):
        site.sender.submit(tx)
    site.sender.submit(txs(1)[0])
    with pytest.raises(ConsensusFull):
        site.sender.submit(b"one more")
    with pytest.raises(TooLarge):
        site.sender.submit(bytes(65_537))
    site.sender.stop()
    with pytest.raises(ConsensusStopped):
        site.sender.submit(b"late")


def test_the_engines_silence_and_its_refusals_are_told_apart(site: Site) -> None:
    rpc = RpcClient(site.home)
    with pytest.raises(EngineSilent):
        rpc.call("status")
    site.serve()
    assert site.engine is not None
    site.engine.methods["status"] = lambda params: {"height": "1"}
    site.engine.methods["commit"] = lambda params: None
    assert rpc.call("status") == {"height": "1"}
    with pytest.raises(EngineRefusal):
        rpc.commit(7)
    (answer,) = rpc.broadcast([b"x"])
    assert not answer.error
    (again,) = rpc.broadcast([b"x"])
    assert again.is_known
    rpc.close()


def test_a_connection_that_the_engine_closed_while_it_was_idle_costs_no_question(tmp_path: Path) -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"result": "here"}'
    with listen(tmp_path, RPC_SOCKET) as listening:

        def serve() -> None:
            for _ in range(2):
                with listening.accept()[0] as connection:
                    while not connection.recv(65536).endswith(b"}"):
                        pass
                    connection.sendall(answer)

        engine = threading.Thread(target=serve)
        engine.start()
        rpc = RpcClient(tmp_path)
        assert [rpc.call("health"), rpc.call("health")] == ["here", "here"]
        engine.join()
        rpc.close()
