"""What this hub replicates, keeps and gives: the operator's will as bits, one a class.

Pure. A *subnet* is a region of which a hub has every body; of the others it has the headers, and the bodies of the
classes that `elsewhere` names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.chain.governance import Member
from gateway.chain.reading import INTERNAL, PUBLIC, RESTRICTED
from hub.federation.config import BodiesTable, KeepTable

CLASSES: Final = {"public": PUBLIC, "internal": INTERNAL, "restricted": RESTRICTED}
ALL: Final = 0b111
EVERY: Final = "*"
_DAY_MS: Final = 86_400_000
FOR_EVER_MS: Final = 36_500 * _DAY_MS


def bits(names: Iterable[str]) -> int:
    """Return the bits of classes by name (bit c: class c)."""
    return sum(1 << CLASSES[name] for name in set(names))


@dataclass(frozen=True, slots=True)
class Policy:
    """What to replicate, to keep and to give.

    Attributes:
        regions: replicated in full, as far as `classes` goes; "*" is every one.
        classes: wanted of those (bit c: class c).
        elsewhere: classes wanted of all other regions.
        gives: classes that any member may have; members of this hub's agency, and `trusted` ones, may have all.
        trusted: names of members.
        keep_ms: how long each class is kept, by class.
        archive: whether nothing is ever given up.
        bytes_per_second: fetched from all hubs together, and given to each.
        pulls: how many hubs are asked for bodies at once.
        patience_ms: how long a body is left to come from its gateway.
        challenge_ms: between two challenges.
        tries: unanswered challenges, over at least `silent_ms`, that make a summons.
    """

    regions: tuple[str, ...]
    classes: int = ALL
    elsewhere: int = 1 << PUBLIC
    gives: int = 1 << PUBLIC | 1 << INTERNAL
    trusted: tuple[str, ...] = ()
    keep_ms: tuple[int, int, int] = (FOR_EVER_MS,) * 3
    archive: bool = False
    bytes_per_second: int = 1 << 20
    pulls: int = 4
    patience_ms: int = 3000
    challenge_ms: int = 60_000
    tries: int = 5
    silent_ms: int = _DAY_MS
    idle_seconds: float = 1.0

    @classmethod
    def of(cls, region: str, table: BodiesTable) -> Policy:
        """Return the policy of a hub of a region."""
        days = table.keep_days if not table.archive else KeepTable(0, 0, 0)
        return cls(
            regions=table.regions or (region,),
            classes=bits(table.classes),
            elsewhere=bits(table.elsewhere),
            gives=bits(table.gives),
            trusted=table.trusted,
            keep_ms=(_ms(days.public), _ms(days.internal), _ms(days.restricted)),
            archive=table.archive,
            bytes_per_second=table.kib_per_second * 1024,
            challenge_ms=table.challenge_seconds * 1000,
            silent_ms=table.silent_hours * 3_600_000,
        )

    def wants(self, region: str) -> int:
        """Return the classes wanted of a region."""
        return self.classes if EVERY in self.regions or region in self.regions else self.elsewhere

    def allows(self, member: Member, own: Member) -> int:
        """Return the classes that a member may have from this one."""
        return ALL if member.agency == own.agency or member.name in self.trusted else self.gives


def _ms(days: int) -> int:
    return days * _DAY_MS or FOR_EVER_MS
