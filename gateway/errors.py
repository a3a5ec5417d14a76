"""Errors of the gateway: everything this package raises on purpose, and nothing else.

    GatewayError
    ├── ConfigError (ValueError)        a configuration that cannot be run
    ├── SensorError                     a sensor gave no usable sample; `.kind` says why
    ├── CalibrationError (ValueError)   a calibration record that does not fit its quantity
    ├── SimulationError                 a scenario or recording that cannot be played
    ├── OutputError                     a pin could not be opened or driven, or its guardian is not there
    ├── JournalError (OSError)          the open block's journal cannot be read or written
    │   └── JournalFull                 no room for the record: seal the block, then reset
    ├── StoreError                      the block database cannot be read or written
    │   └── StoreFull                   the disk or the quota is exhausted: shed, then retry
    ├── OrderRefused                    a command or grant that is not obeyed; its name is recorded as the reason
    │   ├── AnotherGateway              it is not for this gateway
    │   ├── AnotherBoot                 it is for another boot of this gateway
    │   ├── Delayed                     its time is over
    │   ├── Repeated                    it was obeyed before, or another one took its place
    │   └── TooMany                     its signer orders more than anybody needs to
    ├── NeighbourError                  a neighbour's message that is not acted on
    │   ├── Flooded                     too many datagrams of one source
    │   ├── Replayed                    it is of the past
    │   └── Unproven                    nothing shows that it is of the present
    └── TransportError                  the broker cannot be reached or refused us

The ledger format (`gateway.chain.errors`) and the contracts (`gateway.contracts.errors`) are leaves
with roots of their own. Foreign exceptions are translated once, where they enter the package. A
message names the thing and what to do about it: it is shown to people as it stands.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

__all__ = [
    "SENSOR_ERROR_KINDS",
    "AnotherBoot",
    "AnotherGateway",
    "CalibrationError",
    "ConfigError",
    "Delayed",
    "Flooded",
    "GatewayError",
    "JournalError",
    "JournalFull",
    "NeighbourError",
    "OrderRefused",
    "OutputError",
    "Repeated",
    "Replayed",
    "SensorError",
    "SensorErrorKind",
    "SimulationError",
    "StoreError",
    "StoreFull",
    "TooMany",
    "TransportError",
    "Unproven",
]

SensorErrorKind = Literal[
    "nack",  # the chip did not answer its address
    "timeout",  # the bus is held, or a conversion never became ready
    "checksum",  # the transfer was damaged
    "stuck",  # the value cannot be a measurement: frozen, or a cached answer
    "out-of-range",  # saturated, or outside what the chip can measure
    "slew",  # it changed faster than anything physical does
    "no-data",  # nothing was received
    "not-ready",  # powered, but still starting up or calibrating
    "wiring",  # the connection itself is open or shorted
    "silent",  # a neighbour has not been heard for too long
    "unproven",  # a neighbour is heard, but nothing shows that what it says is of the present
    "power",  # the sensor's supply is missing or browned out
]
SENSOR_ERROR_KINDS: Final[frozenset[str]] = frozenset(get_args(SensorErrorKind))


class GatewayError(Exception):
    """Root of every error the gateway raises on purpose."""


class ConfigError(GatewayError, ValueError):
    """The configuration cannot be run; the message names file, key and remedy."""


class SensorError(GatewayError):
    """A sensor gave no usable sample.

    Attributes:
        kind: one of `SENSOR_ERROR_KINDS`; contracts and findings carry it as the fault's reason.
    """

    def __init__(self, kind: SensorErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: Final[SensorErrorKind] = kind


class CalibrationError(GatewayError, ValueError):
    """A calibration record does not fit the quantity it is applied to."""


class SimulationError(GatewayError):
    """A scenario or a recording cannot be played."""


class OutputError(GatewayError):
    """A pin could not be opened or driven, or the guardian that holds it does not answer."""


class JournalError(GatewayError, OSError):
    """The open block's journal cannot be read or written."""


class JournalFull(JournalError):
    """The journal has no room for the record; seal the open block, then reset the journal."""


class StoreError(GatewayError):
    """The block database cannot be read or written."""


class StoreFull(StoreError):
    """The disk or the quota is exhausted; shed what may be shed, then retry."""


class OrderRefused(GatewayError):
    """A command or contract grant is not obeyed, although it may well be signed by whoever may give it."""


class AnotherGateway(OrderRefused):
    """It is for another gateway."""


class AnotherBoot(OrderRefused):
    """It is for another boot of this gateway."""


class Delayed(OrderRefused):
    """Its time is over."""


class Repeated(OrderRefused):
    """It was obeyed before, or another one took its place."""


class TooMany(OrderRefused):
    """Its signer orders more than anybody needs to."""


class NeighbourError(GatewayError):
    """A neighbour's message is not acted on."""


class Flooded(NeighbourError):
    """A source sends more datagrams than any neighbour does."""


class Replayed(NeighbourError):
    """A neighbour's message is of the past: a later one of the same boot was proven."""


class Unproven(NeighbourError):
    """A neighbour's message echoes no present challenge, so nothing shows when it was made."""


class TransportError(GatewayError):
    """The broker cannot be reached, or refused the connection."""
