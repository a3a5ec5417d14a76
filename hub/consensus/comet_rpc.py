"""What the hub asks of its engine: JSON-RPC over the Unix socket in the engine's home.

Owned: one connection, kept open, and the translation of its errors. Not owned: when to ask again.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hub.consensus.comet_home import RPC_SOCKET
from hub.consensus.sockets import connect
from hub.errors import EngineRefusal, EngineSilent

MAX_BATCH: Final = 10
MAX_BATCH_BYTES: Final = 512 << 10  # base64 makes it 4/3, and the engine reads at most 1 MB
_SECONDS: Final = 10.0
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Why the mempool did not take a transaction; empty where it did. How it is judged shows at the machine."""

    error: str = ""

    @property
    def is_known(self) -> bool:
        """Whether the mempool has had these bytes before: they wait there, or are final."""
        return "already exists in cache" in self.error


class RpcClient:
    """One connection to the engine. Safe for several threads, which take turns."""

    def __init__(self, home: Path, seconds: float = _SECONDS) -> None:
        self._connection = _Connection(home, seconds)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._lock:
            self._connection.close()

    def call(self, method: str, **params: object) -> Any:
        """Return a method's result. Raises EngineSilent, EngineRefusal."""
        return _result(self._post({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}))

    def broadcast(self, txs: Sequence[bytes]) -> list[Broadcast]:
        """Offer transactions, at most MAX_BATCH and MAX_BATCH_BYTES, in order. Raises EngineSilent.

        The engine does not wait for the machine's judgement here: it passes each on only within 20 ms, so that
        waiting would leave fifty a second.
        """
        calls = [
            {
                "jsonrpc": "2.0",
                "id": place,
                "method": "broadcast_tx_async",
                "params": {"tx": base64.b64encode(tx).decode()},
            }
            for place, tx in enumerate(txs)
        ]
        answers = self._post(calls)
        if isinstance(answers, dict):
            answers = [answers]  # so it answers a list of one
        if not isinstance(answers, list) or len(answers) != len(txs):
            raise EngineSilent(f"the engine answers {len(txs)} transactions by {str(answers)[:200]}")
        return [_broadcast(answer) for answer in answers]

    def commit(self, height: int) -> dict[str, Any]:
        """Return the signed header of a height, as JSON. Raises EngineSilent, EngineRefusal."""
        found: dict[str, Any] | None = self.call("commit", height=str(height))
        if found is None:
            raise EngineRefusal(f"the engine has no header {height}")
        signed: dict[str, Any] = found["signed_header"]
        return signed

    def validators(self, height: int) -> list[dict[str, Any]]:
        """Return the validators that vote at a height, as JSON. Raises EngineSilent, EngineRefusal."""
        answer = self.call("validators", height=str(height), page="1", per_page=str(_PAGE))
        found: list[dict[str, Any]] = answer["validators"]
        return found

    def _post(self, body: object) -> Any:
        data = json.dumps(body).encode()
        with self._lock:
            try:
                return json.loads(self._answer(data))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._connection.close()
                raise EngineSilent(f"the engine does not answer: {error!r}") from error

    def _answer(self, data: bytes) -> bytes:
        """Ask once more where the engine closed the connection, as it does with one that was idle for seconds."""
        was_open = self._connection.sock is not None
        try:
            return self._ask(data)
        except ConnectionError:
            self._connection.close()
            if not was_open:
                raise
            return self._ask(data)

    def _ask(self, data: bytes) -> bytes:
        self._connection.request("POST", "/", data, {"Content-Type": "application/json"})
        return self._connection.getresponse().read()


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, home: Path, seconds: float) -> None:
        super().__init__("localhost")
        self._home, self._seconds = home, seconds

    def connect(self) -> None:
        self.sock: socket.socket = connect(self._home, RPC_SOCKET, self._seconds)


def _result(answer: Mapping[str, Any]) -> Any:
    if "result" in answer:
        return answer["result"]
    raise EngineRefusal(_words(answer))


def _broadcast(answer: Mapping[str, Any]) -> Broadcast:
    return Broadcast() if "result" in answer else Broadcast(_words(answer))


def _words(answer: Mapping[str, Any]) -> str:
    error = answer.get("error") or {}
    return f"{error.get('message', 'an error without words')}: {error.get('data', '')}"
