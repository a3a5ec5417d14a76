"""What the REST interface stands on, and how things are named in its paths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from hub.commands import Commands
from hub.core import Core, Refusals
from hub.enrolment import Registry
from hub.errors import HubError
from hub.evidence import Archive
from hub.federation.desk import FederationDesk
from hub.federation.engine_window import EngineWindow
from hub.peers.peers import Peers
from hub.view import View
from hub.witnessing.publisher import Publisher
from hub.witnessing.witness import Witness

CBOR: Final = "application/cbor"


class NotFound(HubError):
    """What was asked for is not there, or is not a name of anything."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What the interface shows and feeds. `health` and `status` return plain JSON values; health has an `ok`."""

    core: Core
    archive: Archive
    registry: Registry
    commands: Commands
    view: View
    refusals: Refusals
    witness: Witness
    publisher: Publisher
    health: Callable[[], dict[str, Any]]
    status: Callable[[], dict[str, Any]]
    federation: FederationDesk | None = None
    peers: Peers | None = None
    window: EngineWindow | None = None


def identity(text: str, size: int) -> bytes:
    """Return the bytes of a hexadecimal name in a path. Raises NotFound."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != size:
        raise NotFound(f"{text!r:.80} is not {2 * size} hexadecimal digits")
    return found
