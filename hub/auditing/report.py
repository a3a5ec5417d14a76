"""What an audit found: faults, findings and counts.

A fault is something that does not verify. A finding is something that people should look at although every
byte verifies: an alarm whose block has not come, a segment that was withheld.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from gateway.chain.errors import ChainError
from gateway.chain.leaf import (
    ALARMS,
    APPROVE,
    BREACH,
    CHANGE_EPOCH,
    ENROL,
    EQUIVOCATE,
    GRANT_CONTRACTS,
    HEADERS,
    IMPORT,
    MISBEHAVE,
    NO_GATEWAY,
    PROPOSE,
    RESPOND,
    REVOKE,
    ROTATE,
    SUMMON,
    SUSPEND,
    LogLeaf,
)
from hub.errors import HubError

LEDGER: Final = "ledger"
STORAGE: Final = "storage"
AGAINST: Final = "against"
MAX_FAULTS: Final = 1000


NAMES: Final = {
    HEADERS: "header",
    ALARMS: "alarm",
    ENROL: "enrolment",
    CHANGE_EPOCH: "epoch change",
    ROTATE: "rotation",
    REVOKE: "revocation",
    EQUIVOCATE: "equivocation",
    GRANT_CONTRACTS: "contract grant",
    PROPOSE: "proposal",
    APPROVE: "approval",
    SUSPEND: "suspension",
    MISBEHAVE: "misbehaviour",
    SUMMON: "summons",
    RESPOND: "response",
    BREACH: "breach",
    IMPORT: "import",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that does not verify.

    Kind "ledger": bytes that contradict a signature or a hash. "storage": SQLite itself finds its file damaged,
    which tells of a bad disk rather than of tampering. "against": the history is not the one kept elsewhere.
    """

    kind: str
    text: str


@dataclass(slots=True)
class Report:
    """An audit's outcome. Counts are of what was re-verified; `blocks` are gateways', `final_blocks` the consensus'."""

    faults: list[Fault] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    gateways: int = 0
    blocks: int = 0
    waiting: int = 0
    readings: int = 0
    alarms: int = 0
    actuations: int = 0
    """Times that an output was driven or let go, by the gateways' word."""
    refused: int = 0
    """Commands, contract grants and neighbours' messages that gateways say they did not obey."""
    records: int = 0
    promises: int = 0
    bodiless: int = 0
    """Blocks of which this hub has the header alone."""
    begins: int = 1
    """The first final block that was replayed: above 1 where the hub began with a snapshot."""
    final_blocks: int = 0
    height: int = 0
    app_hash: bytes = b""
    against: str = ""
    """What was kept elsewhere and this history was held against, in words; empty where nothing was given."""
    seconds: float = 0.0
    unused: int = 0
    """Bytes of the database that hold nothing: damage there changes nothing and is looked for by nobody."""

    @property
    def verdict(self) -> str:
        """ "ok", or the first fault in words."""
        return self.faults[0].text if self.faults else "ok"

    def fault(self, text: str, kind: str = LEDGER) -> None:
        """Note a fault; beyond MAX_FAULTS they are no longer listed."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(kind, text))

    def finding(self, text: str) -> None:
        """Note a finding; beyond MAX_FAULTS they are no longer listed."""
        if len(self.findings) < MAX_FAULTS:
            self.findings.append(text)

    def relabel(self, first: int, kind: str) -> None:
        """Give faults from index `first` on another kind."""
        self.faults[first:] = [Fault(kind, each.text) for each in self.faults[first:]]

    @contextmanager
    def at(self, where: str) -> Iterator[None]:
        """Note what the block raises as a fault of `where`, and go on."""
        try:
            yield
        except ChainError as error:
            self.fault(f"{where}: {type(error).__name__}: {error}")
        except HubError as error:
            self.fault(f"{where}: {error}", STORAGE)


def short(identity: bytes) -> str:
    """Return an identity as people read it."""
    return f"{identity.hex()[:16]}…"


def describe(leaf: LogLeaf) -> str:
    """Return a leaf in words."""
    if leaf.kind == HEADERS:
        return f"block {leaf.epoch}/{leaf.height} of gateway {short(leaf.gateway)}"
    return name_record(leaf.kind, leaf.gateway, leaf.hash)


def name_record(kind: int, gateway: bytes, identity: bytes) -> str:
    """Return an alarm or record in words."""
    whose = "" if gateway == NO_GATEWAY else f" of gateway {short(gateway)}"
    return f"{NAMES[kind]} {short(identity)}{whose}"
