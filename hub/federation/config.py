"""The parts of `hub.toml` that only a federation's hub has: the engine, the peers, what is replicated, witnesses.

Owned: these tables. Not owned: the file they stand in (`hub.config`), what the parts do with them.
Invariant: a table is understood whole or refused; nothing here says who a member is: that is the chain's word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

from gateway.chain.notes import COSIGNATURE, NoteKey
from hub.consensus.comet_home import Timeouts

__all__ = ["BodiesTable", "FederationTable", "KeepTable", "PeerTable", "WitnessTable", "split_address"]

Klass: TypeAlias = Literal["public", "internal", "restricted"]
CLASSES: Final[tuple[Klass, ...]] = ("public", "internal", "restricted")
_TIMEOUTS: Final = {
    "lan": Timeouts(),
    "wan": Timeouts(propose=3000, prevote=1000, precommit=1000, delta=1000, commit=1000),
}


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of `host:port`, IPv6 hosts in brackets. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535 or (":" in host and host[0] != "["):
        raise ValueError(f"{text!r} is not host:port")
    return host.strip("[]"), int(port)


@dataclass(frozen=True, slots=True)
class PeerTable:
    """`[[federation.peers]]`: where another member can be reached.

    Attributes:
        name: its name, as the federation has it; its key is looked up there.
        p2p: its engine, `host:port`; empty where that one calls this one.
        url: its REST interface; empty where nothing is to be asked of it.
        ca_file: the certificate authority that vouches for its https address; empty: those that this machine trusts.
        archive: its engine keeps every block, as its operator says.
    """

    name: str
    p2p: str = ""
    url: str = ""
    ca_file: str = ""
    archive: bool = False

    def __post_init__(self) -> None:
        if not (self.p2p or self.url):
            raise ValueError(f"peer {self.name!r} has neither p2p nor url: it could not be reached")
        if self.p2p:
            split_address(self.p2p)
        if self.url and not re.match(r"https?://", self.url):
            raise ValueError(f"url {self.url!r} does not start with https:// or http://")


@dataclass(frozen=True, slots=True)
class FederationTable:
    """`[federation]`: the engine beside this hub.

    Attributes:
        engine_home: its directory, within the hub's.
        binary: CometBFT, a path or a name on PATH.
        p2p: where the engine listens for its peers, `host:port`.
        timeouts: how long a round waits: "lan" within one network, "wan" between cities; the same on all hubs.
        idle_seconds: between final blocks when nothing waits; the same on all hubs.
        checkpoint_seconds: between checkpoints of the log; the same on all hubs, or they cosign few of each other's.
        predecessor: the directory of the hub alone whose chain this federation takes over; empty without.
        snapshot_every: final blocks between two snapshots; the same on all hubs, or they show few alike.
        snapshot_from: names of two or more peers by whose snapshot a new hub begins; empty: it replays everything.
        archive: whether the engine keeps every block; each region needs one such hub, so that another one has to
            be named among the peers before this one drops any.
        prune_after: how many of its latest blocks the engine keeps otherwise; evidence of misbehaviour expires after
            100000. What this hub itself keeps of them is not touched: they prove what they proved.
        peers: the other members.
    """

    engine_home: str = "engine"
    binary: str = "cometbft"
    p2p: str = "127.0.0.1:26656"
    timeouts: Literal["lan", "wan"] = "lan"
    idle_seconds: int = 30
    checkpoint_seconds: int = 60
    predecessor: str = ""
    snapshot_every: int = 10_000
    snapshot_from: tuple[str, ...] = ()
    archive: bool = True
    prune_after: int = 100_000
    peers: tuple[PeerTable, ...] = ()

    def __post_init__(self) -> None:
        split_address(self.p2p)
        for key in ("idle_seconds", "checkpoint_seconds"):
            if not 1 <= getattr(self, key) <= 3600:
                raise ValueError(f"{key} must be 1 to 3600")
        names = [peer.name for peer in self.peers]
        if len(set(names)) != len(names):
            raise ValueError("a peer's name stands twice")
        self._check_snapshots()

    def _check_snapshots(self) -> None:
        if not 2 <= self.snapshot_every <= 1 << 30 or self.prune_after < 2:
            raise ValueError("snapshot_every and prune_after must be at least 2")
        if silent := [name for name in self.snapshot_from if not self.url(name)]:
            raise ValueError(f"snapshot_from names {silent[0]!r}, of which no peer's url is known")
        if len(set(self.snapshot_from)) == 1:
            raise ValueError("snapshot_from needs two peers, so that one alone is not believed")
        if not self.archive and not any(peer.archive for peer in self.peers):
            raise ValueError(
                "archive = false needs a peer with archive = true: someone has to keep every block"
            )

    @property
    def keep_blocks(self) -> int:
        """How many blocks the engine keeps, 0 for all."""
        return 0 if self.archive else self.prune_after

    @property
    def waits(self) -> Timeouts:
        """How long the engine waits, in ms."""
        return _TIMEOUTS[self.timeouts]

    def url(self, name: str) -> str:
        """Return the REST address of a peer, empty where none is known."""
        return next((peer.url for peer in self.peers if peer.name == name), "")

    def within(self, base: Path) -> FederationTable:
        """Return the table with its relative paths found from a directory; a bare name of a binary stays."""
        binary = str(base / self.binary) if "/" in self.binary else self.binary
        predecessor = str(base / self.predecessor) if self.predecessor else ""
        peers = tuple(
            replace(each, ca_file=str(base / each.ca_file) if each.ca_file else "") for each in self.peers
        )
        home = str(base / self.engine_home)
        return replace(self, engine_home=home, binary=binary, predecessor=predecessor, peers=peers)


@dataclass(frozen=True, slots=True)
class KeepTable:
    """`[bodies.keep_days]`: how long segments are kept, by class; 0 is for ever.

    No promise of custody is given beyond it, and nothing is given up before a promise runs out.
    """

    public: int = 3650
    internal: int = 365
    restricted: int = 365

    def __post_init__(self) -> None:
        for name in CLASSES:
            if not 0 <= getattr(self, name) <= 36_500:
                raise ValueError(f"{name} must be 0 to 36500 days")


@dataclass(frozen=True, slots=True)
class BodiesTable:
    """`[bodies]`: which bodies are had from other hubs, kept, and given to them.

    Attributes:
        regions: replicated in full; empty: the hub's own, "*": every one.
        classes: of those regions.
        elsewhere: classes that are had of every other region; of the rest only headers are kept.
        gives: classes that any other member may have from here; those of the same agency may have all.
        trusted: names of members that may have all, too.
        keep_days: how long.
        archive: give nothing up, ever; each region needs one such hub.
        kib_per_second: at most so much is fetched, and so much given to each peer.
        challenge_seconds: between two challenges to show that a promise of custody is kept.
        silent_hours: how long a hub may leave challenges unanswered before it is summoned.
    """

    regions: tuple[str, ...] = ()
    classes: tuple[Klass, ...] = CLASSES
    elsewhere: tuple[Klass, ...] = ("public",)
    gives: tuple[Klass, ...] = ("public", "internal")
    trusted: tuple[str, ...] = ()
    keep_days: KeepTable = field(default_factory=KeepTable)
    archive: bool = False
    kib_per_second: int = 1024
    challenge_seconds: int = 60
    silent_hours: int = 24

    def __post_init__(self) -> None:
        if not 1 <= self.kib_per_second <= 1 << 20:
            raise ValueError("kib_per_second must be 1 to 1048576")
        if not 1 <= self.challenge_seconds <= 86_400:
            raise ValueError("challenge_seconds must be 1 to 86400")
        if not 0 <= self.silent_hours <= 8760:
            raise ValueError("silent_hours must be 0 to 8760")


@dataclass(frozen=True, slots=True)
class WitnessTable:
    """`[[witnesses]]`: someone outside who cosigns checkpoints of the log.

    Attributes:
        url: its submission prefix, under which `add-checkpoint` is.
        vkey: its verifier key, `<name>+<key id>+<base64>`, of cosignature/v1; `tocsin-tools witness` prints it.
        ca_file: the certificate authority that vouches for its https address; empty: those that this machine trusts.
    """

    url: str
    vkey: str
    ca_file: str = ""

    def __post_init__(self) -> None:
        if NoteKey.parse(self.vkey).kind != COSIGNATURE:
            raise ValueError(f"vkey {self.vkey!r:.100} is no key of cosignature/v1")
        if not re.match(r"https?://", self.url):
            raise ValueError(f"url {self.url!r} does not start with https:// or http://")

    @property
    def key(self) -> NoteKey:
        """The key under which it cosigns."""
        return NoteKey.parse(self.vkey)
