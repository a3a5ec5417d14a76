"""Whether the gateway lives, told to systemd: its watchdog is fed only while every thread that matters ticks.

Owns when readiness is told, when the watchdog is fed, and the line that `systemctl status` shows. It does not own
what counts as a tick: that is the threads' own (`gateway.sampler`, `gateway.daemon`).

Invariant: what is stuck stops the feed, and says so once. A hanging disk is no reason: alarms sound without it, and
a restart would not cure it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from gateway.notify import Notifier

__all__ = ["Vigil"]

_log = logging.getLogger(__name__)

_LOOK_S: Final = 30.0
_FEEDS: Final = 4  # in the watchdog's interval, so that a late one is no hang


class Vigil:
    """Looks at the ticks now and then, whenever it is called.

    Attributes:
        interval_s: the longest time from one look to the next.
    """

    def __init__(self, notifier: Notifier | None = None) -> None:
        self._notifier = notifier or Notifier()
        watchdog = self._notifier.watchdog_s
        self.interval_s = _LOOK_S if watchdog is None else min(_LOOK_S, watchdog / _FEEDS)
        self._ready = False
        self._status = ""
        self._stuck: tuple[str, ...] = ()

    def look(self, ticks: Mapping[str, bool], status: str) -> None:
        """Feed the watchdog if all of them ticked in their time.

        Args:
            ticks: by a thread's name, whether it did.
            status: what the gateway is doing, in one line.
        """
        stuck = tuple(name for name, ticked in ticks.items() if not ticked)
        if stuck != self._stuck:
            _log.log(
                logging.CRITICAL if stuck else logging.WARNING,
                "threads that hang: %s",
                ", ".join(stuck) or "none any more",
            )
        self._stuck = stuck
        if stuck:
            status = f"hanging: {', '.join(stuck)}; {status}"
        else:
            self._feed()
        if status != self._status:
            self._status = status
            self._notifier.status(status)

    def end(self) -> None:
        """Say that the gateway stops."""
        self._notifier.stopping()

    def _feed(self) -> None:
        if not self._ready:
            self._ready = True
            self._notifier.ready()
        self._notifier.alive()
