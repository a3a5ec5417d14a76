"""A power supply's contacts on GPIO pins: is the mains there, is the battery good.

Owns their meaning: 1 is well, 0 is not, however they are wired. Polarity, pulls and debouncing are `contact`'s.

Wired so that the contact is closed while all is well, a cut wire reads as a failure and is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.sensors import contact
from gateway.sensors.base import Claim, Hardware, Quantity, SensorInfo

__all__ = ["Options", "Power", "connect", "describe"]


@dataclass(frozen=True, slots=True)
class Options:
    """One or both contacts of a power supply.

    Attributes:
        mains_pin, battery_pin: BCM numbers; at least one.
        closed: what a closed contact says: "good" (preferred), or "failed".
        pull, debounce_ms: as in `contact.Options`.
    """

    mains_pin: int | None = None
    battery_pin: int | None = None
    closed: Literal["good", "failed"] = "good"
    pull: Literal["up", "down", "external-up", "external-down"] = "up"
    debounce_ms: int = 50

    def __post_init__(self) -> None:
        if not self.contacts():
            raise ValueError("a power supply needs mains_pin, battery_pin or both")
        if self.mains_pin == self.battery_pin:
            raise ValueError("mains_pin and battery_pin must be two pins")

    def contacts(self) -> dict[str, contact.Options]:
        """Return the contacts by quantity; each is active when its supply has failed."""
        kind: Literal["nc", "no"] = "nc" if self.closed == "good" else "no"
        pins = {"mains": self.mains_pin, "battery": self.battery_pin}
        return {
            name: contact.Options(pin, kind, self.pull, self.debounce_ms)
            for name, pin in pins.items()
            if pin is not None
        }


class Power:
    """1 while the mains are there (`mains`), 1 while the battery is good (`battery`)."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._contacts: dict[str, contact.Contact] = {}
        try:
            for name, each in options.contacts().items():
                self._contacts[name] = contact.connect(each, hardware)
        except BaseException:
            self.close()
            raise

    def sample(self) -> Mapping[str, int]:
        return {name: 1 - each.sample()["active"] for name, each in self._contacts.items()}

    def close(self) -> None:
        for each in self._contacts.values():
            each.close()


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    contacts = options.contacts()
    return SensorInfo(
        driver="power",
        model="power supply on " + " and ".join(f"GPIO{each.pin}" for each in contacts.values()),
        quantities=tuple(Quantity(name, "1", 0) for name in contacts),
        min_interval_ms=1,
        warm_up_ms=0,
        bus="gpio",
        claim=Claim(pins=tuple(each.pin for each in contacts.values())),
    )


def connect(options: Options, hardware: Hardware) -> Power:
    """Open the pins.

    Raises:
        SensorError: wiring, when there are no pins here or one is in use.
    """
    return Power(options, hardware)
