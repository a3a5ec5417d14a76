"""A named thread that works until it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Worker:
    """One thread. `run` is its work; `wake` makes `run` finish what is queued and return."""

    def __init__(self, name: str, run: Callable[[], None], wake: Callable[[], None]) -> None:
        self.name = name
        self._run, self._wake = run, wake
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the work goes on."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin to work."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait until what is queued is done. Idempotent."""
        if self._thread is not None:
            self._wake()
            self._thread.join()
            self._thread = None
