"""A walk test as a whole: which trials are done, what is still missing, and the record of it.

Owns the notes that make it resumable, beside the certificate, and the decision whether a site may be certified. Notes
hold for one gateway, catalogue and contract set: whatever changes one of them begins anew.

Invariant: what was not seen is never certified. A record is complete only where nothing is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from firmware_tools.errors import BadFile
from firmware_tools.files import write_whole
from firmware_tools.technician import Technician
from firmware_tools.walktest.detectors import Detector
from firmware_tools.walktest.trial import Outcome
from gateway.catalogue import Catalogue
from gateway.chain.workmanship import PASSED, UNTRIED, Commissioning, InForce, Moving, Trial
from gateway.config import Config
from gateway.decider import ContractSet

__all__ = ["Session", "Site"]

_MAX_NOTES = 1 << 20
_REMARK = 200


@dataclass(frozen=True, slots=True)
class Site:
    """What is tried: the gateway with its chain, catalogue and contracts. `name` is what people call the place.

    `is_simulated` is the running gateway's word: nothing real hangs on it.
    """

    name: str
    config: Config
    catalogue: Catalogue
    contracts: ContractSet
    detectors: Sequence[Detector]
    gateway: bytes
    genesis: bytes
    software: str
    is_simulated: bool

    @property
    def identity(self) -> str:
        """What notes hold for."""
        roots = self.catalogue.listing.root + self.contracts.listing.root
        return f"{self.gateway.hex()} {roots.hex()}"

    @property
    def driven(self) -> list[str]:
        """The outputs that some detector's alarm drives, in the configuration's order."""
        named = {name for each in self.detectors for name in each.driven()}
        return [each.name for each in self.config.outputs if each.name in named]


@dataclass(slots=True)
class Session:
    """Trials of one site, kept in a file of notes.

    Attributes:
        outcomes: by sensor, the latest trial.
    """

    site: Site
    path: Path
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def resume(self) -> bool:
        """Take up the notes, if there are any of this very site; say whether there were. Raises BadFile."""
        try:
            with self.path.open(encoding="utf-8") as file:
                notes: Mapping[str, Any] = json.loads(file.read(_MAX_NOTES))
            if notes["site"] != self.site.identity:
                return False
            known = {each.name for each in self.site.detectors}
            self.outcomes = {
                name: Outcome(**{**each, "acted": tuple(each["acted"])})
                for name, each in notes["outcomes"].items()
                if name in known
            }
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BadFile(
                f"{self.path}: not the notes of a walk test: {error}; remove it to begin anew"
            ) from error
        return True

    def note(self, sensor: str, outcome: Outcome) -> None:
        """Keep a trial's outcome. Raises BadFile: it cannot be written."""
        self.outcomes[sensor] = outcome
        notes = {"site": self.site.identity, "outcomes": {n: asdict(o) for n, o in self.outcomes.items()}}
        write_whole(self.path, (json.dumps(notes, indent=1) + "\n").encode())

    def due(self, *, again: bool, only: Sequence[str]) -> list[Detector]:
        """Return the detectors to try now: those that have not passed, or all."""
        return [
            each
            for each in self.site.detectors
            if (not only or each.name in only)
            and (again or self.outcomes.get(each.name, Outcome(UNTRIED)).outcome != PASSED)
        ]

    def acted(self) -> set[str]:
        """Return the outputs that acted in some trial."""
        return {name for each in self.outcomes.values() for name in each.acted}

    def missing(self, status: Mapping[str, Any], wall_ms: int) -> Iterator[str]:
        """Yield what keeps the site from being certified, given how its gateway is now."""
        if not self.site.detectors:
            yield "no contract decides on any sensor: there is nothing to certify"
        for detector in self.site.detectors:
            outcome = self.outcomes.get(detector.name, Outcome(UNTRIED))
            if outcome.outcome == UNTRIED:
                yield f"{detector.name} was not tried{f': {outcome.remark}' if outcome.remark else ''}"
            elif outcome.outcome != PASSED:
                yield f"{detector.name} failed: {outcome.remark}"
            if detector.until_ms and wall_ms >= detector.until_ms:
                yield f"{detector.name}: its calibration has expired; tocsin-tools calibrate"
        for name, state in status["series"].items():
            if state["state"] == "FAULT":
                yield f"{name} is in fault: {state['reason']}"
        for name in self.site.driven:
            if name not in self.acted():
                yield f"output {name} did not act in any trial"
        yield from status["troubles"]

    def record(self, technician: Technician, *, complete: bool) -> Commissioning:
        """Return the record of the trials as they stand."""
        site, acted = self.site, self.acted()
        kinds = {each.name: each.kind for each in site.config.outputs}
        return Commissioning(
            technician.key.public,
            technician.name,
            site.genesis,
            site.gateway,
            site.name,
            site.software,
            site.catalogue.listing.root,
            tuple(InForce(each.id, each.version, each.hash) for each in site.contracts.contracts),
            tuple(Moving(name, kinds[name], int(name in acted)) for name in site.driven),
            tuple(map(self._trial, site.detectors)),
            int(complete),
            int(site.is_simulated),
            time.time_ns() // 1_000_000,
        )

    def _trial(self, detector: Detector) -> Trial:
        outcome = self.outcomes.get(detector.name, Outcome(UNTRIED))
        serials = {each.name: each.serial for each in self.site.config.sensors}
        return Trial(
            detector.label,
            serials.get(detector.name, ""),
            outcome.outcome,
            outcome.contract,
            outcome.begun,
            outcome.here,
            outcome.hub,
            bytes.fromhex(outcome.alarm),
            detector.until_ms,
            outcome.remark.encode()[:_REMARK].decode(errors="ignore"),
        )
