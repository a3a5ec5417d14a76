"""The REST interface's server: uvicorn in a thread of its own, on a socket that is bound before it starts."""

from __future__ import annotations

import socket
import threading
import time
from typing import Final

import uvicorn
from fastapi import FastAPI

from hub.api.connection import Connection
from hub.config import ApiTable
from hub.errors import ConfigError, HubError

_START_SECONDS: Final = 10.0


class ApiServer:
    """One server. `start` it once; `stop` is idempotent."""

    def __init__(self, app: FastAPI, table: ApiTable) -> None:
        """Bind the address. Raises ConfigError where that cannot be done."""
        self._tls = bool(table.cert_file)
        try:
            family = socket.AF_INET6 if ":" in table.host else socket.AF_INET
            self._socket = socket.create_server((table.host, table.port), family=family)
        except OSError as error:
            raise ConfigError(f"the API cannot listen on {table.host} port {table.port}: {error}") from error
        config = uvicorn.Config(
            app,
            http=Connection,
            backlog=64,  # as many are accepted at once, before the bound on connections sees them
            log_config=None,
            log_level="error",
            access_log=False,
            lifespan="off",
            ssl_certfile=table.cert_file or None,
            ssl_keyfile=table.key_file or None,
            timeout_graceful_shutdown=2,
        )
        try:
            config.load()
        except (OSError, ValueError) as error:
            self._socket.close()
            raise ConfigError(
                f"{table.cert_file} and {table.key_file} are no certificate and key: {error}"
            ) from error
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="api", daemon=True
        )

    @property
    def url(self) -> str:
        """The address, with the port that was bound."""
        host, port = self._socket.getsockname()[:2]
        return f"{'https' if self._tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def running(self) -> bool:
        """Whether requests are served."""
        return self._thread.is_alive() and self._server.started

    def start(self) -> None:
        """Serve, and return once it does. Raises HubError where it does not come up."""
        self._thread.start()
        end = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise HubError(f"the API did not start on {self.url}; see the log")
            time.sleep(0.005)

    def stop(self) -> None:
        """Finish the requests in hand and end."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()
