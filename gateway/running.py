"""A gateway's process life: one gateway after the other on the same directory and hardware, until the end.

Owns when a gateway is assembled anew: after another chain has taken its own over. What a gateway is, is
`gateway.daemon`'s.

Invariant: from one gateway to the next nothing is lost that the first had recorded, and what the contracts latched
stays latched: the second begins with what the first left in the store.
"""

from __future__ import annotations

import logging
import threading

from gateway.config import Config
from gateway.daemon import Gateway
from gateway.inspection.reporting import line_of
from gateway.sensors.base import Hardware
from gateway.vigil import Vigil

__all__ = ["Running"]

_log = logging.getLogger(__name__)


class Running:
    """Runs a configuration.

    Args:
        where: the configuration's name, for messages.
        hardware: in place of what the configuration names, for tests and benches.
        vigil: tells the service manager how it goes; by default the one that the environment names.

    Attributes:
        gateway: the present one, once there is one.
    """

    gateway: Gateway

    def __init__(
        self, config: Config, where: str, hardware: Hardware | None = None, vigil: Vigil | None = None
    ) -> None:
        self._config, self._where, self._hardware = config, where, hardware
        self._vigil = vigil or Vigil()
        self._wake = threading.Event()
        self._ending = False

    def start(self) -> None:
        """Assemble the gateway and start it. Raises ConfigError, StoreError, JournalError."""
        self.gateway = Gateway(self._config, self._where, self._hardware, self._wake.set)
        self.gateway.start()

    def wait(self) -> bool:
        """Return at the end, going on from chain to chain; False where the process has to be started anew."""
        while not self._ending:
            self._look()
            self._wake.wait(self._vigil.interval_s)
            self._wake.clear()
            if self.gateway.succession.is_over and not self._ending:
                self._go_on()
            elif self.gateway.is_mended:
                return False
        return True

    def end(self) -> None:
        """Let `wait` return. May be called in a signal's handler."""
        self._ending = True
        self._wake.set()

    def stop(self) -> None:
        """Stop the gateway; idempotent."""
        self._vigil.end()
        self.gateway.stop()

    def _look(self) -> None:
        self._vigil.look(self.gateway.ticks(), line_of(self.gateway))

    def _go_on(self) -> None:
        self._look()  # to stop and to begin may take a while
        self.gateway.stop(keep_hardware=True)
        self._hardware = self.gateway.hardware
        self.start()
        _log.info("the gateway goes on in its new chain")
