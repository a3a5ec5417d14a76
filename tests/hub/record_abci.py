"""Records what a real engine says to a hub: python tests/hub/record_abci.py, with cometbft on PATH.

Four engines make final blocks of all kinds of transactions; everything that the first one asks, and is answered,
is written to tests/vectors/abci-trace.json in the order in which it was answered. Four others change their voters;
what the first one then shows of its headers is written to tests/vectors/comet-rpc.json.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
import tempfile
import threading
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "hub")]

from comets import Federation, until  # noqa: E402

from hub.consensus import abci_pb2 as pb  # noqa: E402
from hub.consensus.base import ValidatorUpdate, tx_id  # noqa: E402

TRACE = TESTS / "vectors/abci-trace.json"
SHOWN = TESTS / "vectors/comet-rpc.json"


class Recorder:
    """Stands between the socket of a member and its application."""

    def __init__(self, federation: Federation) -> None:
        self.exchanges: list[tuple[str, str, str]] = []
        self._lock = threading.Lock()
        member = federation.members[0]
        self._answer = member.comet._app.answer
        member.comet._server._answer = self.answer

    def answer(self, request: pb.Request) -> pb.Response:
        with self._lock:  # one at a time, so that the order recorded is the order that happened
            response = self._answer(request)
            kind = request.WhichOneof("value")
            assert kind is not None
            self.exchanges.append((kind, *(_text(each) for each in (request, response))))
            return response


def record(directory: Path, program: str) -> dict[str, object]:
    """Return a trace of a short life."""
    federation = Federation(directory, program, interval=2.0)
    recorder, fleet, member = Recorder(federation), federation.fleet, federation.members[0]
    a, b = fleet.gateway("a"), fleet.gateway("b")

    def final(*txs: bytes, by: int = 0) -> None:
        wanted = set(map(federation.members[by].comet.submit, txs))
        until(lambda: wanted <= {tx_id(tx) for event in member.events for tx in event.block.txs})

    try:
        federation.start()
        final(fleet.order_enrolment(a.enrol()), fleet.order_enrolment(b.enrol()))
        final(fleet.order_alarms(a.alarm()), fleet.order_headers(a.block(), b.block()), by=1)
        member.comet.submit(b"noise, which the machine refuses")
        skipped = fleet.order_headers(a.skip(), b.block())
        final(fleet.order_rotation(b.rotate()), skipped, by=2)
        final(fleet.order_headers(a.block(), b.block()), fleet.order_grant(fleet.grant(a.id)))
        final(fleet.order_epoch(a.epoch_change()), by=3)
        final(fleet.order_revocation(fleet.revocation(b.id, b.head)))
        height = member.height
        until(lambda: member.height > height + 1)  # an empty one after the pause
    finally:
        federation.close()
    assert any(kind == "check_tx" for kind, *_ in recorder.exchanges)
    return {
        "about": "what CometBFT 0.38.25 asked a hub, and was answered: kind, request, response (protobuf, base64)",
        "genesis": base64.b64encode(fleet.genesis.encode()).decode(),
        "app_hash": member.ledger.info().app_hash.hex(),
        "exchanges": recorder.exchanges,
    }


def show(directory: Path, program: str) -> dict[str, object]:
    """Return headers, commits and voters as the engine shows them, with one voter gaining, losing, leaving."""
    federation = Federation(directory, program, interval=1.0)
    member, key = federation.members[0], federation.genesis.validators[1].key
    federation.updates |= {
        3: (ValidatorUpdate(key, 12),),
        4: (ValidatorUpdate(key, 9),),
        6: (ValidatorUpdate(key, 0),),
    }
    try:
        federation.start()
        until(lambda: member.comet.status().height >= 9)
        heights = range(1, 11)
        commits = {height: member.comet.rpc.commit(height) for height in heights}
        voters = {height: member.comet.rpc.validators(height) for height in heights}
    finally:
        federation.close()
    return {
        "about": "signed headers and voters as CometBFT 0.38.25 shows them, by height; app is the state after 1 to 9",
        "genesis": base64.b64encode(federation.genesis.encode()).decode(),
        "app": member.ledger.committed.app.encode().hex(),
        "commits": commits,
        "validators": voters,
    }


def _text(message: pb.Request | pb.Response) -> str:
    return base64.b64encode(message.SerializeToString()).decode()


if __name__ == "__main__":
    found = shutil.which("cometbft")
    if found is None:
        sys.exit("cometbft is not on PATH: go install github.com/cometbft/cometbft/cmd/cometbft@v0.38.25")
    for file, recorded in ((TRACE, record), (SHOWN, show)):
        with tempfile.TemporaryDirectory() as scratch:
            file.write_text(json.dumps(recorded(Path(scratch), found), indent=0) + "\n", encoding="ascii")
