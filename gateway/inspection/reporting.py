"""What a running gateway says of itself to people, over its control socket.

Owns the words and their order; the facts are the parts'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gateway.machine import software
from gateway.outputs.orders import CAUSES, OutputState
from gateway.recording.health import STATES
from gateway.synchrony import CLOCK_STATES

if TYPE_CHECKING:
    from gateway.daemon import Gateway

__all__ = ["line_of", "neighbour_words", "status_of"]


def status_of(gateway: Gateway) -> dict[str, Any]:
    """Return what a person asks first, as plain values for JSON."""
    head, states = gateway.keeper.head, gateway.recorder.conditions()
    return {
        "gateway": gateway.identity.gateway.hex(),
        "software": software(),
        "chain": gateway.identity.genesis.hex(),
        "contracts": {name: {"condition": c, "faults": list(faults)} for name, (c, faults) in states.items()},
        "series": {
            name: {"state": STATES[status.state], "reason": status.reason}
            for name, status in gateway.recorder.statuses().items()
        },
        "buses": {
            bus: asdict(gateway.hardware.tally(bus))
            for bus in sorted({plan.info.bus for plan in gateway.catalogue.sensors})
            if bus.startswith("i2c-")
        },
        "outputs": sorted(gateway.outputs.active),
        "output_states": [_output(gateway, each) for each in gateway.outputs.states],
        "guardian": gateway.outputs.trouble,
        "faults": gateway.recorder.faults,
        "lost": gateway.recorder.lost,
        "neighbours": gateway.neighbours.status(),
        "head": [head.epoch, head.height],
        "clock": CLOCK_STATES[gateway.time()],
        "simulated": gateway.hardware.is_simulated,
        "publishing": gateway.keeper.is_confirmed,
        "hubs": [hub.is_connected for hub in gateway.hubs],
        "troubles": _troubles(gateway),
    }


def _output(gateway: Gateway, state: OutputState) -> dict[str, Any]:
    """Return an output's state: whether it acts (None: nobody knows), by whose doing, and what is wrong with it."""
    line = gateway.lines.get(state.name)
    faults = [f"its line is in fault, see {line}"] if line in gateway.recorder.faulty else []
    cause = f"{CAUSES[state.cause.code]} {state.cause.by}".strip()
    return {
        "name": state.name,
        "active": state.active,
        "cause": cause,
        "faults": [*state.faults, *faults],
    }


def line_of(gateway: Gateway) -> str:
    """Return the same in one line, for the service manager."""
    states = gateway.recorder.conditions().values()
    unwell = sum(1 for condition, faults in states if condition != "normal" or faults)
    head = gateway.keeper.head
    return (
        f"{len(gateway.catalogue.sensors)} sensors, {gateway.recorder.faults} series in fault, {unwell} of"
        f" {len(states)} contracts not normal, block {head.epoch}/{head.height}"
    )


def neighbour_words(state: Mapping[str, Any]) -> str:
    """Return how a neighbour stands, as in the status, in one line."""
    if state["age_ms"] is None:
        return str(state["standing"])
    raised = f" ({', '.join(state['raised'])})" if state["raised"] else ""
    alarm = ("normal", "pre-alarm", "alarm")[state["alarm"]]
    age = f"{state['age_ms'] / 1000:.0f} s ago"
    return f"{state['standing']}, {alarm}{raised}, {state['faults']} series in fault, {age}"


def _troubles(gateway: Gateway) -> list[str]:
    worn = "the data directory cannot be written: nothing is recorded"
    return [
        *([] if gateway.store.is_writable else [worn]),
        *gateway.outputs.faults,
        *gateway.buttons.faults,
        *([gateway.neighbours.trouble] if gateway.neighbours.trouble else []),
        *(hub.trouble for hub in gateway.hubs if hub.trouble),
    ]
