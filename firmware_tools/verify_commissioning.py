"""Verifying a commissioning record: signed by a technician who is known, of the trusted chain, and complete.

Owns the check and its words. That each alarm in it stands in the chain is for its evidence to show (`verify`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_tools.errors import BadFile, VerdictFailed
from firmware_tools.files import read_file
from firmware_tools.words import when
from gateway.chain.canonical import MAX_MESSAGE
from gateway.chain.errors import ChainError
from gateway.chain.genesis import read_trust
from gateway.chain.workmanship import Commissioning, read_commissioning

_MAX_TRUST = 1 << 20


@dataclass(frozen=True, slots=True)
class Certified:
    """A record that holds."""

    record: Commissioning

    def statement(self) -> dict[str, Any]:
        """Return it as plain values."""
        record = self.record
        return {
            "site": record.site,
            "gateway": record.gateway.hex(),
            "chain": record.genesis.hex(),
            "technician": {"name": record.name, "key": record.technician.hex()},
            "made_ms": record.made,
            "record": record.hash.hex(),
            "contracts": {each.contract: each.hash.hex() for each in record.contracts},
            "outputs": [each.output for each in record.outputs],
            "detectors": [
                {
                    "sensor": each.sensor,
                    "serial": each.serial,
                    "contract": each.contract,
                    "here_ms": each.here,
                    "hub_ms": each.hub,
                    "alarm": each.alarm.hex(),
                    "calibrated_until_ms": each.until or None,
                }
                for each in record.trials
            ],
        }


def verify_commissioning(path: Path, trust: Path, technician: str | None) -> Certified:
    """Check a record.

    Raises:
        BadFile: a file cannot be read or is no such record, or no technician's key is given.
        VerdictFailed: another technician signed it, it is of another chain, a rehearsal, or incomplete.
    """
    if technician is None:
        raise BadFile(
            f"{path}: anybody may sign a record: name the technician's key that you know, --technician KEY"
        )
    try:
        record = read_commissioning(read_file(path, MAX_MESSAGE))
        genesis, _ = read_trust(read_file(trust, _MAX_TRUST))
    except ChainError as error:
        raise BadFile(f"{path}: {error}") from error
    if record.technician.hex() != technician.lower():
        raise VerdictFailed(
            f"{path}: signed by {record.technician.hex()} ({record.name}), not by the key given"
        )
    if record.genesis != genesis:
        raise VerdictFailed(
            f"{path}: it is of chain {record.genesis.hex()[:16]}, not of {genesis.hex()[:16]}"
        )
    if not record.complete:
        raise VerdictFailed(f"{path}: incomplete: not every detector passed, so it certifies no working site")
    if record.simulated:
        raise VerdictFailed(f"{path}: a rehearsal in simulation: it certifies no site")
    return Certified(record)


def explain_commissioning(certified: Certified) -> Iterator[str]:
    """Yield it in words."""
    record = certified.record
    yield f"{record.site}: every detector passed, each alarm seen at the gateway and at the hub"
    yield f"  gateway {record.gateway.hex()} of chain {record.genesis.hex()[:16]}, {record.software}"
    yield f"  signed by {record.name} ({record.technician.hex()}) at {when(record.made)}"
    for each in record.trials:
        serial = f" ({each.serial})" if each.serial else ""
        yield (
            f"  {each.sensor}{serial}: {each.contract} here after {each.here / 1000:.1f} s, at the hub after"
            f" {each.hub / 1000:.1f} s; transition {each.alarm.hex()[:16]}"
        )
    for output in record.outputs:
        yield f"  {output.kind} {output.output} acted"
