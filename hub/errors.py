"""Errors of the hub: everything this package raises on purpose, and nothing else.

    HubError
    ├── AuditError                      an audit cannot be made at all (what it finds is in its report)
    ├── BrokerError                     the broker cannot be configured, started, reloaded or reached
    ├── ConfigError                     hub.toml, a key or the genesis beside it cannot be used
    ├── ConsensusError                  the engine or the ledger cannot go on as they are
    │   ├── ConsensusFull               too many transactions wait already
    │   ├── ConsensusStopped            the engine is not running
    │   ├── EngineRefusal               the engine's program answers that it will not
    │   └── EngineSilent                the engine's program does not answer
    ├── StoreError                      the hub's database cannot be opened, read or written
    └── TakeoverError                   a chain cannot be closed, or not be taken over as it stands

Foreign exceptions are translated once, where they enter the package. A message names the thing and
what to do about it: it is shown to people as it stands.
"""

from __future__ import annotations

__all__ = [
    "AuditError",
    "BrokerError",
    "ConfigError",
    "ConsensusError",
    "ConsensusFull",
    "ConsensusStopped",
    "EngineRefusal",
    "EngineSilent",
    "HubError",
    "StoreError",
    "TakeoverError",
]


class HubError(Exception):
    """Root of every error the hub raises on purpose."""


class AuditError(HubError):
    """An audit cannot be made: what it needs is missing or cannot be read."""


class BrokerError(HubError):
    """The broker cannot be configured, started, reloaded or reached."""


class ConfigError(HubError):
    """The hub's configuration, its key or its genesis cannot be used."""


class ConsensusError(HubError):
    """The engine or the ledger cannot go on as they are."""


class ConsensusFull(ConsensusError):
    """Too many transactions wait for their order; offer this one again later."""


class ConsensusStopped(ConsensusError):
    """The engine is not running."""


class EngineRefusal(ConsensusError):
    """The engine's program refuses what it was asked; its words are the message."""


class EngineSilent(ConsensusError):
    """The engine's program does not answer: it starts, has ended, or is stuck."""


class StoreError(HubError):
    """The hub's database cannot be opened, read or written."""


class TakeoverError(HubError):
    """A chain cannot be closed for its successor, or not be taken over as it stands."""
