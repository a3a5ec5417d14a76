"""The whole self-test, in order: configuration, buses, sensors, outputs, machine, network.

Owns the order, and that nothing is touched which a running gateway owns: then the gateway itself is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from firmware_tools.selftest.buses import Scan, i2c_buses, restless, scan, strangers
from firmware_tools.selftest.finding import FAILED, OK, WARNING, Finding, Verdict
from firmware_tools.selftest.machine import machine_findings
from firmware_tools.selftest.outputs import output_findings
from firmware_tools.selftest.reach import hub_url, neighbour_findings, reach_findings
from firmware_tools.selftest.sensing import REMEDIES, sensor_findings
from gateway.config import Config
from gateway.control import ask, is_running
from gateway.errors import ConfigError, TransportError
from gateway.inspection.checking import examine
from gateway.inspection.facts import Machine
from gateway.inspection.reporting import neighbour_words
from gateway.machine import configured_catalogue, make_hardware
from gateway.outputs.options import OutputOptions

__all__ = ["Plan", "self_test"]

_STOP = "for the whole test stop it: systemctl stop tocsin-gateway"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a self-test is done.

    Attributes:
        samples: of each quick sensor.
        cycles: wait for sensors that give one value in a cycle.
        asks: whether an output may act now.
        seconds: how long it then does.
        hub: the hub's REST address, where it is not the one of [enrolment].
    """

    samples: int
    cycles: bool
    asks: Callable[[OutputOptions], bool]
    seconds: int
    hub: str | None


def self_test(config: Config, where: str, plan: Plan, machine: Machine) -> Iterator[Finding]:
    """Yield finding by finding. Raises ConfigError: the configuration cannot be understood."""
    yield from _configuration(config, where)
    if config.simulation is None and is_running(config.data / "control.sock"):
        yield from _ask_gateway(config)
    else:
        yield from _hands_on(config, where, plan, machine)
        yield from neighbour_findings(config, where)
    yield from machine_findings(machine, config.data)
    yield from reach_findings(config, hub_url(config, plan.hub))


def _configuration(config: Config, where: str) -> Iterator[Finding]:
    try:
        report = examine(config, where)
    except ConfigError as error:
        yield Finding("configuration", "check", FAILED, str(error), "correct it: tocsin-gateway check")
        return
    yield Finding(
        "configuration",
        "check",
        OK,
        f"{len(report.catalogue.sensors)} sensors, {len(report.outputs)} outputs",
    )
    for warning in report.warnings:
        yield Finding("configuration", "check", WARNING, warning, "see tocsin-gateway check")


def _hands_on(config: Config, where: str, plan: Plan, machine: Machine) -> Iterator[Finding]:
    catalogue = configured_catalogue(config, where)
    hardware, _ = make_hardware(config, catalogue)
    try:
        scans: dict[str, Scan] = {}
        for bus, plans in i2c_buses(catalogue).items():
            scans[bus] = scan(hardware, bus)
            yield from strangers(bus, plans, scans[bus], machine)
        tallies = {bus: replace(hardware.tally(bus)) for bus in scans}
        yield from sensor_findings(catalogue, hardware, scans, plan.samples, cycles=plan.cycles)
        for bus, before in tallies.items():
            yield from restless(bus, before, hardware.tally(bus))
    finally:
        hardware.close()
    if is_running(
        config.data / "control.sock"
    ):  # a simulated one: buses are everybody's own, its outputs are not
        yield Finding("output", "all", WARNING, "not touched: a gateway runs here and owns them", _STOP)
    else:
        yield from output_findings(config, plan.asks, plan.seconds)


def _ask_gateway(config: Config) -> Iterator[Finding]:
    """Yield what the running gateway says: it owns buses and pins."""
    yield Finding("bus", "all", WARNING, "not touched: the gateway runs and owns them", _STOP)
    try:
        status = ask(config.data / "control.sock", {"do": "status"})
    except TransportError as error:
        yield Finding(
            "gateway", "status", FAILED, str(error), "run this as the gateway's user, or restart it"
        )
        return
    yield Finding(
        "gateway", "status", OK, f"{status['software']}, block {status['head'][0]}/{status['head'][1]}"
    )
    stale = status["clock"] == "stale"
    remedy = "let it reach a time server or a hub, or fit a real-time clock" if stale else ""
    yield Finding("clock", "gateway", WARNING if stale else OK, f"vouched for: {status['clock']}", remedy)
    for trouble in status["troubles"]:
        yield Finding("gateway", "trouble", FAILED, trouble, "see journalctl -u tocsin-gateway")
    for series, state in status["series"].items():
        yield _series(series, state)
    for name, state in status["neighbours"].items():
        yield _neighbour(name, state)
    for contract, state in status["contracts"].items():
        said = " ".join([state["condition"], *state["faults"]])
        calm = said == "normal"
        remedy = "" if calm else f"find its cause; tocsin-gateway reset {contract}"
        yield Finding("contract", contract, OK if calm else WARNING, said, remedy)


def _series(series: str, state: dict[str, Any]) -> Finding:
    known: dict[str, Verdict] = {"OK": OK, "FAULT": FAILED}
    verdict = known.get(state["state"], WARNING)
    said = f"{state['state']} {state['reason']}".strip()
    remedy = "" if verdict == OK else REMEDIES.get(state["reason"], "wait until it has warmed up")
    return Finding("series", series, verdict, said, remedy)


def _neighbour(name: str, state: dict[str, Any]) -> Finding:
    proven = state["standing"] == "proven"
    remedy = "" if proven else "see that it runs, and that its address in the roster is right"
    return Finding("neighbour", name, OK if proven else FAILED, neighbour_words(state), remedy)
