"""The way of the engine's light client to other hubs, while this hub begins by a snapshot.

The engine knows no certificates but the system's, and nothing of this hub's peers. So it asks on loopback, under one
path for each hub, and what it asks is handed on over the link that this hub has to that one.

Owned: the listener. Not owned: what is asked, and whether the answers hold: that is the light client's to verify.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self

from hub.errors import HubError
from hub.federation.engine_window import MAX_QUESTION
from hub.peers.link import PeerLink

ENGINE: Final = "/v1/engine"
_MAX_ANSWER: Final = 4 << 20
_SECONDS: Final = 10.0


class LightRelay:
    """Listens while the block runs."""

    def __init__(self, links: Sequence[PeerLink]) -> None:
        self._links = [(link, threading.Lock()) for link in links]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, name="light-relay", daemon=True)

    @property
    def urls(self) -> tuple[str, ...]:
        """One address for each link."""
        port = self._server.server_address[1]
        return tuple(f"http://127.0.0.1:{port}/{place}" for place in range(len(self._links)))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def ask(self, path: str, question: bytes) -> bytes:
        """Return what the hub under a path answers. Raises HubError, LookupError, ValueError."""
        link, lock = self._links[int(path.strip("/"))]
        with lock:
            return link.post(ENGINE, question, _MAX_ANSWER)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        relay = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _SECONDS

            def do_POST(self) -> None:
                """Hand a question on; what cannot be answered is an error of JSON-RPC, without an id."""
                question = self.rfile.read(min(int(self.headers["Content-Length"] or 0), MAX_QUESTION))
                try:
                    status, answer = 200, relay.ask(self.path, question)
                except (HubError, LookupError, ValueError) as error:
                    status, answer = (
                        502,
                        json.dumps({"error": {"code": -32000, "message": str(error)}}).encode(),
                    )
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing: the engine's log has it."""

        return Handler
