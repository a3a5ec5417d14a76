"""A guardian for tests: its real server, on simulated pins, in a thread of the test's process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.errors import OutputError
from gateway.outputs.server import Server
from gateway.outputs.wire import Listener, ask, places


class GuardianThread:
    """A guardian of a data directory, which must exist; where there is one already, that."""

    def __init__(self, data: Path) -> None:
        self.places = places(data)
        self._server: Server | None
        try:
            self._server = Server(Listener(self.places), lingers=True)
        except OutputError:
            ask(self.places, {"do": "status"})
            self._server = None
        else:
            self._thread = threading.Thread(target=self._server.serve, daemon=True)
            self._thread.start()

    def ask(self, **request: Any) -> Mapping[str, Any]:
        return ask(self.places, request)

    def level(self, pin: int) -> bool:
        return bool(self.ask(do="pin", pin=pin)["level"])

    def changes(self, pin: int) -> list[tuple[int, bool]]:
        return [(at, level) for at, level in self.ask(do="pin", pin=pin)["changes"]]

    def stop(self) -> None:
        if self._server is not None and self._thread.is_alive():
            self._server.stop()
            self._thread.join()
