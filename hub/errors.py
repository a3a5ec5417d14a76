"""Errors of the hub: everything this package raises on purpose, and nothing else.

    HubError
    ├── BrokerError                     the embedded broker cannot be configured, started or reloaded
    └── LinkError                       the link to the broker
        ├── LinkDown (hub.mqtt)         not connected, or no room for another message on the way
        ├── LinkUrlError (hub.mqtt, ValueError)
        └── PayloadTooLarge (hub.mqtt, ValueError)

Foreign exceptions are translated once, where they enter the package. A message names the thing and
what to do about it: it is shown to people as it stands.
"""

from __future__ import annotations

__all__ = ["BrokerError", "HubError", "LinkError"]


class HubError(Exception):
    """Root of every error the hub raises on purpose."""


class BrokerError(HubError):
    """The embedded broker cannot be configured, started or reloaded."""


class LinkError(HubError):
    """The link to the broker failed, or was used wrongly."""
