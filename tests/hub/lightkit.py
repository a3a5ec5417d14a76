"""CometBFT's own light client against an engine's answers, as they are or as a test alters them.

`Answers` serves the two calls that a light client makes (`commit`, `validators`) from any source of signed headers;
`LightClient` is the binary's `light` command, which trusts header 1 and verifies what it is asked for.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, TypeAlias

from hubs import PATIENCE, free_port

from gateway.chain.cometbft import CometHeader, CometSeal, Commit, Precommit, Step, validators_hash
from gateway.chain.genesis import Validator
from hub.consensus.comet_seals import read_signed_header, read_validator
from hub.errors import EngineRefusal

Json: TypeAlias = dict[str, Any]
Source: TypeAlias = Callable[[str, int], Json]
"""The engine's answer to a call at a height."""

_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455


def signed_header_json(header: CometHeader, commit: Commit, voters: Sequence[Validator]) -> Json:
    """A signed header as the engine answers it; voters without a precommit are absent."""
    votes = {vote.validator: vote for vote in commit.precommits}
    found = {
        "version": {"block": str(header.block_version), "app": str(header.app_version)},
        "chain_id": header.chain_id,
        "height": str(header.height),
        "time": _time(header.seconds, header.nanos),
        "last_block_id": _block_id(header.last_hash, header.last_parts, header.last_parts_hash),
        "last_commit_hash": _hex(header.last_commit),
        "data_hash": _hex(header.data),
        "validators_hash": _hex(header.validators),
        "next_validators_hash": _hex(header.next_validators),
        "consensus_hash": _hex(header.consensus),
        "app_hash": _hex(header.app_hash),
        "last_results_hash": _hex(header.last_results),
        "evidence_hash": _hex(header.evidence),
        "proposer_address": _hex(header.proposer),
    }
    signed = {
        "height": str(header.height),
        "round": commit.round,
        "block_id": _block_id(header.hash, commit.parts, commit.parts_hash),
        "signatures": [_vote(voter, votes.get(place)) for place, voter in enumerate(voters)],
    }
    return {"signed_header": {"header": found, "commit": signed}, "canonical": True}


def validators_json(height: int, voters: Sequence[Validator]) -> Json:
    """A set of voters as the engine answers it."""
    found = [
        {
            "address": _hex(sha256(each.key).digest()[:20]),
            "pub_key": {"type": "tendermint/PubKeyEd25519", "value": base64.b64encode(each.key).decode()},
            "voting_power": str(each.power),
            "proposer_priority": "0",
        }
        for each in voters
    ]
    return {
        "block_height": str(height),
        "validators": found,
        "count": str(len(found)),
        "total": str(len(found)),
    }


def absent() -> Json:
    """The place of a voter that is not in a commit."""
    return {
        "block_id_flag": 1,
        "validator_address": "",
        "timestamp": "0001-01-01T00:00:00Z",
        "signature": None,
    }


def seal_from(source: Source, height: int) -> CometSeal:
    """The seal that the same answers make for our own verifier, set changes since header 1 included."""
    steps = []
    for below in range(1, height):
        header, commit = read_signed_header(source("commit", below)["signed_header"])
        following = [read_validator(each) for each in source("validators", below + 1)["validators"]]
        if validators_hash(following) != header.validators:
            steps.append(Step(header, commit, tuple(following)))
    return CometSeal(tuple(steps), *read_signed_header(source("commit", height)["signed_header"]))


class Answers:
    """An engine's RPC on loopback, answered from a source. A context manager."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.source = source  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        height = int(call["params"].get("height") or 1)
        try:
            answer = {"result": self.server.source(call["method"], height)}  # type: ignore[attr-defined]
        except (LookupError, EngineRefusal) as error:
            answer = {"error": {"code": -32603, "message": "Internal error", "data": repr(error)}}
        body = json.dumps({"jsonrpc": "2.0", "id": call["id"], **answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Take up the WebSocket that the client's proxy wants for events; none is ever sent."""
        accept = sha1(self.headers["Sec-WebSocket-Key"].encode() + _ACCEPT).digest()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode())
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            while self.connection.recv(4096):
                pass

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class LightClient:
    """`cometbft light` over some answers, trusting header 1 of them. A context manager."""

    def __init__(self, program: Path, home: Path, answers: Answers, name: str, *options: str) -> None:
        trusted, _ = read_signed_header(answers.source("commit", 1)["signed_header"])
        self._port, self._log = free_port(), home.with_suffix(".log")
        self._command = [
            str(program),
            "light",
            name,
            f"--primary={answers.url}",
            f"--witnesses={answers.url}",
            f"--laddr=tcp://127.0.0.1:{self._port}",
            f"--home-dir={home}",
            "--height=1",
            f"--hash={trusted.hash.hex()}",
            "--trusting-period=876000h",  # what was recorded grows old
            *(options or ("--sequential",)),
        ]

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def header(self, height: int) -> Json:
        """The verified header of a height; an AssertionError with the client's reason where it refuses."""
        answer = self._ask(f"commit?height={height}")
        assert "error" not in answer, answer["error"]["data"]
        found: Json = answer["result"]["signed_header"]["header"]
        return found

    def refusal(self, height: int) -> str:
        """Why the client refuses a height; fails where it accepts it."""
        answer = self._ask(f"commit?height={height}")
        assert "error" in answer, f"the light client accepts header {height}"
        return str(answer["error"]["data"])

    def _ask(self, path: str) -> Json:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{self._port}/{path}", timeout=PATIENCE
                ) as answer:
                    return json.load(answer)  # type: ignore[no-any-return]
            except urllib.error.HTTPError as error:
                with error:
                    return json.load(error)  # type: ignore[no-any-return]
            except OSError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < end, self._log.read_text()
                time.sleep(0.02)


def _vote(voter: Validator, vote: Precommit | None) -> Json:
    if vote is None:
        return absent()
    return {
        "block_id_flag": 2,
        "validator_address": _hex(sha256(voter.key).digest()[:20]),
        "timestamp": _time(vote.seconds, vote.nanos),
        "signature": base64.b64encode(vote.signature).decode(),
    }


def _block_id(identity: bytes, parts: int, parts_hash: bytes) -> Json:
    return {"hash": _hex(identity), "parts": {"total": parts, "hash": _hex(parts_hash)}}


def _hex(data: bytes) -> str:
    return data.hex().upper()


def _time(seconds: int, nanos: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"
