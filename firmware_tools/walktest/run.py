"""Doing a walk test: beside the running gateway, or with a simulated one started for it.

Owns the order: gateway, hub, trials, decision, files. Nothing is written of a site that may not be certified, unless an
incomplete record is asked for, which says so.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_tools.errors import ToolError
from firmware_tools.files import write_whole
from firmware_tools.selftest.reach import hub_url
from firmware_tools.technician import Technician
from firmware_tools.walktest.certificate import draw
from firmware_tools.walktest.detectors import detectors_of
from firmware_tools.walktest.hand import Hand, SimulatedHand
from firmware_tools.walktest.session import Session, Site
from firmware_tools.walktest.trial import Hub, Outcome, Station, try_detector
from gateway.chain.workmanship import PASSED, sign_commissioning
from gateway.config import Config
from gateway.contracting import contracts_in_force
from gateway.machine import configured_catalogue, make_hardware
from gateway.outputs.wire import end_simulated
from gateway.simulation.simulation import Simulation

__all__ = ["Wish", "certify", "gateway_of", "open_session", "walk"]

_START_S = 20.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: which trials, how long each may take, whether passed ones are repeated."""

    only: tuple[str, ...] = ()
    again: bool = False
    timeout_s: float = 120.0


@contextlib.contextmanager
def gateway_of(config: Config, where: str, hand: Hand) -> Iterator[Hand]:
    """Have a gateway to try: the one that runs, or a simulated one for as long as this lasts; yield who sets it off."""
    if config.simulation is None:
        yield hand
        return
    from gateway.running import Running

    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What the gateway has to say stays out of the technician's screen.
    logging.basicConfig(filename=config.data / "walktest.log", level=logging.INFO, force=True)
    hardware, _ = make_hardware(config, configured_catalogue(config, where))
    assert isinstance(hardware, Simulation)
    running = Running(config, where, hardware)
    running.start()
    try:
        yield SimulatedHand(hardware)
    finally:
        running.stop()
        end_simulated(config.data)


def open_session(config: Config, where: str, name: str, notes: Path) -> Session:
    """Return the walk test of the gateway that runs there. Raises ConfigError, TransportError, ToolError."""
    catalogue, contracts = configured_catalogue(config, where), contracts_in_force(config, where)
    status = Station(config.data / "control.sock").status()
    site = Site(
        name or config.gateway.name,
        config,
        catalogue,
        contracts,
        detectors_of(catalogue, contracts.contracts, [each.name for each in config.outputs]),
        bytes.fromhex(status["gateway"]),
        bytes.fromhex(status["chain"]),
        status["software"],
        status["simulated"],
    )
    return Session(site, notes)


def walk(session: Session, url: str | None, hand: Hand, wish: Wish, note: Callable[[str], None]) -> list[str]:
    """Do what is due, and return what is missing for a certificate. Raises ToolError, TransportError."""
    site, config = session.site, session.site.config
    if strangers := set(wish.only) - {each.name for each in site.detectors}:
        known = ", ".join(each.name for each in site.detectors)
        raise ToolError(f"{min(strangers)!r} is no detector here; there are {known}")
    address = hub_url(config, url)
    if address is None:
        raise ToolError("the hub's address is not known: name it with --hub https://...")
    hub = Hub(address, site.gateway.hex(), config.enrolment.ca_file if config.enrolment else "")
    station = Station(config.data / "control.sock")
    _await_publishing(station)
    for detector in session.due(again=wish.again, only=wish.only):
        outcome = try_detector(detector, station, hub, hand, wish.timeout_s, note)
        session.note(detector.name, outcome)
        note(f"{detector.name}: {_said(outcome)}")
    return list(session.missing(station.status(), time.time_ns() // 1_000_000))


def _await_publishing(station: Station) -> None:
    ends = time.monotonic() + _START_S
    while not station.status()["publishing"]:
        if time.monotonic() > ends:
            raise ToolError(
                "the gateway does not publish: it is not enrolled, or no hub is reached; see its status"
            )
        time.sleep(0.2)


def _said(outcome: Outcome) -> str:
    if outcome.outcome != PASSED:
        return outcome.remark
    here, there = outcome.here / 1000, outcome.hub / 1000
    return f"passed: {outcome.contract} here after {here:.1f} s, at the hub after {there:.1f} s"


def certify(session: Session, technician: Technician, out: Path, *, complete: bool) -> Sequence[Path]:
    """Sign the record and draw its certificate; return the files. Raises BadFile, ToolError."""
    record = session.record(technician, complete=complete)
    signed = sign_commissioning(record, technician.key)
    beside = out.with_suffix(".commissioning")
    page = draw(record, signed, beside.name)
    for path, data in ((beside, signed), (out, page)):
        write_whole(path, data)
    return (out, beside)
