"""An engine's RPC without an engine: answers on the Unix socket in a home as it is told to."""

from __future__ import annotations

import base64
import json
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from hub.consensus.comet_home import RPC_SOCKET

Method = Callable[[dict[str, Any]], Any]


class Refusal(Exception):
    """What the engine answers as an error."""


class EngineRpc:
    """Serves methods by name; each gets the parameters and returns a result or raises Refusal."""

    def __init__(self, home: Path, **methods: Method) -> None:
        self.methods = methods
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                one = isinstance(asked, dict) or len(asked) == 1
                calls = [asked] if isinstance(asked, dict) else asked
                answers = [engine.answer(call) for call in calls]
                body = json.dumps(answers[0] if one else answers).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Say nothing."""

            def address_string(self) -> str:
                return "unix"

        (home / RPC_SOCKET).unlink(missing_ok=True)
        self._server = socketserver.ThreadingUnixStreamServer(str(home / RPC_SOCKET), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"id": call["id"], "result": self.methods[call["method"]](call["params"])}
        except Refusal as refusal:
            return {"id": call["id"], "error": {"message": "Internal error", "data": str(refusal)}}

    def close(self) -> None:
        """End it; clients must have closed their connections, or close them soon. Idempotent."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Mempool:
    """What was offered to an engine, in order, and what it says to that."""

    def __init__(self) -> None:
        self.offered: list[bytes] = []
        self.cache: set[bytes] = set()
        self.room = 1 << 30

    def broadcast(self, params: dict[str, Any]) -> dict[str, Any]:
        tx = base64.b64decode(params["tx"])
        if len(self.cache) >= self.room:
            raise Refusal(f"mempool is full: number of txs {self.room} (max: {self.room})")
        if tx in self.cache:
            raise Refusal("tx already exists in cache")
        self.cache.add(tx)
        self.offered.append(tx)
        return {"code": 0}
