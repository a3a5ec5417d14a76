"""The guardian's process: `python -m gateway.outputs.guardian --in DIRECTORY...`.

Owns arguments, log and signals. It loads little and starts fast, because sirens wait for it: no configuration, no
ledger, no network. What it does is `gateway.outputs.server`'s.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import OutputError
from gateway.notify import Notifier
from gateway.outputs.server import Server
from gateway.outputs.wire import Listener

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run until SIGTERM; return 1 where there can be no socket."""
    parser = argparse.ArgumentParser(prog="tocsin-guardian", description="Hold the gateway's output pins.")
    parser.add_argument("--in", dest="directories", type=Path, nargs="+", required=True, metavar="DIRECTORY")
    parser.add_argument("--spawned", action="store_true", help="end when simulated outputs are left alone")
    given = parser.parse_args(arguments)
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, stream=sys.stderr)
    try:
        notifier = Notifier()
        server = Server(Listener(given.directories), lingers=not given.spawned, notifier=notifier)
    except OutputError as error:
        print(f"tocsin-guardian: {error}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    notifier.ready()
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
