"""What a service tells systemd: ready, what it does, stopping, and that it is alive.

Owns the datagrams of sd_notify(3) and the watchdog's interval. It does not own when any of it is true
(`gateway.vigil`).

Invariant: without systemd every method does nothing, and no failure to tell ever reaches the caller.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

__all__ = ["Notifier"]

_log = logging.getLogger(__name__)


class Notifier:
    """Speaks to the service manager that the environment names.

    Attributes:
        watchdog_s: seconds within which `alive` is expected; None where nobody waits for it.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environ) if self._address else None

    def ready(self) -> None:
        """Say that the service does what it is for."""
        self._tell("READY=1")

    def status(self, text: str) -> None:
        """Say in one line what `systemctl status` is to show."""
        self._tell("STATUS=" + text.replace("\n", " "))

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._tell("WATCHDOG=1")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
                end.sendto(message.encode(), self._address)
        except OSError as error:
            _log.warning("systemd cannot be told %s: %s", message, error)


def _address(name: str) -> str:
    """Return a socket's address: a path, or an abstract name after an `@`; empty for what is neither."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    micros, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    is_ours = not pid or pid == str(os.getpid())
    return int(micros) / 1e6 if micros.isdecimal() and int(micros) and is_ours else None
