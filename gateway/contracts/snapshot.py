"""The saved state of a running contract (SEMANTICS.md, section 10), as an item of the canonical encoding.

A saved state comes from the gateway's own disk; it is checked for shape all the same, because a torn or foreign
one must not become a state that no contract can be in.
"""

from __future__ import annotations

from typing import Any

from gateway.chain.canonical import Item
from gateway.contracts.errors import SnapshotError
from gateway.contracts.machine import LATCHED, NORMAL, Machine, Transition


def save(machine: Machine, now: int) -> list[Item]:
    """Return `[id, hash, condition, latched, levels, inputs, faults, age]` of a contract at an instant.

    A level is `[on, elapsed]` (-1 for an idle timer), an input `[alias, reason, warm-up left]`; spans are ms.
    """
    return [
        machine.contract.id,
        machine.hash,
        machine.condition,
        int(machine.latched),
        [[int(level.on), level.timer.saved(now)] for level in machine.levels],
        [[i.alias, i.reason, i.warm_left(now)] for i in machine.inputs.values()],
        list(machine.faults),
        max(0, now - machine.since),
    ]


def restore(machine: Machine, item: Item, now: int) -> Transition | None:
    """Put a machine that has heard nothing yet into a saved state; return the transition when that is not it.

    Raises:
        SnapshotError: the item is not what `save` returns.
    """
    _, hashed, condition, latched, levels, inputs, faults, age = _saved(item)
    machine.faults = tuple(faults)
    machine.latched = bool(latched)
    if hashed != machine.hash:
        transition = machine.changed(condition, (), now)
    else:
        transition = None
        _restore_same(machine, levels, inputs, now)
        if machine.condition != condition:
            raise SnapshotError(f"the saved state of contract {machine.contract.id} contradicts itself")
        machine.since = now - age
    machine.settle_deadline()
    return transition


def saved_id(item: Item) -> str:
    """Return the id of the contract whose saved state an item is. SnapshotError when it is none."""
    return str(_saved(item)[0])


def fields(item: object, *types: type) -> list[Any]:
    """Return a list's elements after checking their number and types."""
    if not isinstance(item, list | tuple) or [type(part) for part in item] != list(types):
        raise SnapshotError("the saved state of the contracts is not of a known form; start without it")
    return list(item)


def _saved(item: Item) -> list[Any]:
    parts = fields(item, str, bytes, int, int, list, list, list, int)
    fields(parts[6], *(str for _ in parts[6]))
    if not NORMAL <= parts[2] <= LATCHED or (parts[2] == LATCHED and not parts[3]) or parts[7] < 0:
        raise SnapshotError(f"the saved state of contract {parts[0]} contradicts itself")
    return parts


def _restore_same(machine: Machine, levels: list[Item], inputs: list[Item], now: int) -> None:
    if len(levels) != len(machine.levels) or len(inputs) != len(machine.inputs):
        raise SnapshotError(f"the saved state of contract {machine.contract.id} is not of its form")
    for level, saved in zip(machine.levels, levels, strict=True):
        on, elapsed = fields(saved, int, int)
        level.on = bool(on)
        level.timer.restore(elapsed)
    for state, saved in zip(machine.inputs.values(), inputs, strict=True):
        alias, reason, warm_left = fields(saved, str, str, int)
        if alias != state.alias or warm_left < 0:
            raise SnapshotError(f"the saved state of contract {machine.contract.id} is not of its form")
        state.restore(reason, warm_left, now)
