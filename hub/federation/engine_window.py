"""What a hub shows of its engine to hubs that join: snapshots, and the four questions of a light client.

Owned: the list of questions, and how much of it all is answered. Not owned: HTTP (`hub.api.engine`).

Invariants:
- Nothing is asked of the engine but what is in the list, which changes nothing there; no address of it is shown.
- Nobody is asked who he is: it is what every evidence file contains, and CometBFT's light client signs nothing.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, Final

from hub.consensus.comet_rpc import RpcClient
from hub.errors import ConsensusError, EngineRefusal, HubError
from hub.federation.snapshots import Snapshots
from hub.peers.link import Bucket

MAX_QUESTION: Final = 4096
METHODS: Final = frozenset({"commit", "validators", "consensus_params"})
_PARAMETERS: Final = frozenset({"height", "page", "per_page"})
_SECONDS: Final = 5.0
_BYTES_PER_SECOND: Final = 1 << 20
_AT_ONCE: Final = 4  # an engine that does not answer must not hold up who asks the hub itself


class BadQuestion(HubError):
    """What is asked is no question of a light client."""


class EngineWindow:
    """Answers strangers. Safe for several threads."""

    def __init__(self, home: Path, snapshots: Snapshots) -> None:
        self._rpc, self._snapshots = RpcClient(home, _SECONDS), snapshots
        self._bucket = Bucket(_BYTES_PER_SECOND)
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def close(self) -> None:
        """Ask the engine no more."""
        self._rpc.close()

    def snapshots(self) -> list[dict[str, Any]]:
        """Return what may be had here, as plain JSON values."""
        found = self._snapshots.snapshots()
        return [{"height": each.height, "chunks": each.chunks, "hash": each.hash.hex()} for each in found]

    def answer(self, question: bytes) -> dict[str, Any]:
        """Return the answer to a JSON-RPC question, an error among them. Raises BadQuestion, ConsensusError."""
        identity, method, params = _read(question)
        if self._bucket.wait() or not self._places.acquire(blocking=False):
            raise ConsensusError("too much is asked just now; ask again")
        answer = {"jsonrpc": "2.0", "id": identity}
        try:
            result = self._rpc.call(method, **params)
        except EngineRefusal as error:
            return answer | {"error": {"code": -32603, "message": str(error)}}
        finally:
            self._places.release()
        self._bucket.spend(len(json.dumps(result)))
        return answer | {"result": result}


def _read(question: bytes) -> tuple[Any, str, dict[str, Any]]:
    """Return a question's id, method and parameters. Raises BadQuestion."""
    try:
        asked = json.loads(question)
        identity, method = asked["id"], str(asked["method"])
        params = {name: value for name, value in asked["params"].items() if name in _PARAMETERS}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadQuestion(f"no question of a light client: {error!r}") from error
    if method not in METHODS or not all(isinstance(each, str | int) for each in (identity, *params.values())):
        raise BadQuestion(f"{method!r:.40} is not answered here: {', '.join(sorted(METHODS))} are")
    return identity, method, params
