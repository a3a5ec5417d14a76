"""The saved state of a running contract (SEMANTICS.md, section 10), as an item of the canonical encoding.

A saved state comes from the gateway's own disk; it is checked for shape all the same, because a torn or foreign
one must not become a state that no contract can be in.
"""

from __future__ import annotations

import re
from typing import Any, Final

from gateway.chain.canonical import Item
from gateway.contracts.errors import SnapshotError
from gateway.contracts.machine import LATCHED, NORMAL, Machine, Transition
from gateway.contracts.spans import MAX_SPAN

_MAX_AGE: Final = 1 << 62
_REASON = re.compile(r"([a-z][a-z0-9-]{0,31})?")
_FAULT = re.compile(r"[a-z][a-z0-9_]{0,31}:[a-z][a-z0-9-]{0,31}")


def save(machine: Machine, now: int) -> list[Item]:
    """Return `[id, hash, condition, latched, levels, inputs, faults, age]` of a contract at an instant.

    A level is `[on, elapsed]` (-1 for an idle timer), an input `[alias, reason, warm-up left]`; spans are ms.
    """
    return [
        machine.contract.id,
        machine.hash,
        machine.condition,
        int(machine.latched),
        [[int(level.on), min(level.timer.saved(now), MAX_SPAN)] for level in machine.levels],
        [[i.alias, i.reason, i.warm_left(now)] for i in machine.inputs.values()],
        list(machine.faults),
        min(max(0, now - machine.since), _MAX_AGE),
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
        _require(machine.contract.id, machine.condition == condition)
        machine.since = now - age
    machine.settle_deadline()
    return transition


def saved_id(item: Item) -> str:
    """Return the id of the contract whose saved state an item is. SnapshotError when it is none."""
    return str(_saved(item)[0])


def saved_state(item: Item) -> tuple[str, bytes, int, tuple[str, ...]]:
    """Return id, hash, condition and faults of a saved contract. SnapshotError when the item is none."""
    name, hashed, condition, _, _, _, faults, _ = _saved(item)
    return name, hashed, condition, tuple(faults)


def fields(item: object, *types: type) -> list[Any]:
    """Return a list's elements after checking their number and types."""
    if not isinstance(item, list | tuple) or [type(part) for part in item] != list(types):
        raise SnapshotError("the saved state of the contracts is not of a known form; start without it")
    return list(item)


def _saved(item: Item) -> list[Any]:
    name, hashed, condition, latched, levels, inputs, faults, age = fields(
        item, str, bytes, int, int, list, list, list, int
    )
    fields(faults, *(str for _ in faults))
    _require(
        name,
        NORMAL <= condition <= LATCHED
        and latched in (0, 1)
        and (latched or condition != LATCHED)
        and 0 <= age <= _MAX_AGE
        and faults == sorted(set(faults))
        and all(_FAULT.fullmatch(fault) for fault in faults),
    )
    return [name, hashed, condition, latched, levels, inputs, faults, age]


def _restore_same(machine: Machine, levels: list[Item], inputs: list[Item], now: int) -> None:
    name = machine.contract.id
    _require(name, len(levels) == len(machine.levels) and len(inputs) == len(machine.inputs))
    for level, saved in zip(machine.levels, levels, strict=True):
        on, elapsed = fields(saved, int, int)
        _require(name, on in (0, 1) and -1 <= elapsed <= MAX_SPAN)
        level.on = bool(on)
        level.timer.restore(elapsed)
    for state, saved in zip(machine.inputs.values(), inputs, strict=True):
        alias, reason, warm_left = fields(saved, str, str, int)
        _require(
            name, alias == state.alias and bool(_REASON.fullmatch(reason)) and 0 <= warm_left <= MAX_SPAN
        )
        state.restore(reason, warm_left, now)


def _require(name: str, holds: bool) -> None:
    if not holds:
        raise SnapshotError(f"the saved state of contract {name} is none that it can have; start without it")
