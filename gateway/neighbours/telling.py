"""What this gateway tells its neighbours, out of what its own contracts and sensors say.

Invariant: it comes only from contracts that read no neighbour's series, and from sensors that are no neighbour, so an
alarm never comes back as an echo of itself.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from gateway.chain.alarm import CONDITIONS, NORMAL
from gateway.chain.neighbour import MAX_RAISED, Raised
from gateway.neighbours.circle import Said
from gateway.recording.recorder import Recorder

__all__ = ["tell"]

_MOST: Final = 65_535


def tell(recorder: Recorder, foreign: Collection[str]) -> Said:
    """Return what there is to tell.

    Args:
        foreign: the series of neighbours.
    """
    own = {
        each.id for each in recorder.contracts.contracts if all(i.series not in foreign for i in each.inputs)
    }
    conditions = {
        name: CONDITIONS.index(word) for name, (word, _) in recorder.conditions().items() if name in own
    }
    raised = [Raised(name, condition) for name, condition in conditions.items() if condition != NORMAL]
    raised.sort(key=lambda each: (-each.condition, each.contract))
    faults = sum(name not in foreign for name in recorder.faulty)
    return Said(tuple(raised[:MAX_RAISED]), min(max(0, len(raised) - MAX_RAISED), _MOST), min(faults, _MOST))
