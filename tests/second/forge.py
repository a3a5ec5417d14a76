"""Forges evidence: a small ledger, written from the format's page alone, every stage of which can be bent.

Bytes changed in a finished file nearly always break some hash first. Here a lie is told at one stage, and everything
behind it is hashed and signed as honest hands would do it, so that a verifier must judge the lie itself.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

import cbor2
from nacl.signing import SigningKey
from second import curve
from second.hashing import (
    Item,
    State,
    domain_hash,
    encode,
    header_hash,
    in_order,
    log_path,
    log_root,
    set_hash,
    sha256,
    sign_bytes,
)

Bend = Callable[[Item], Item]

WALL: Final = 1_767_225_600_000
# What can be bent, in the order of making.
STAGES: Final = (
    "old_entry", "old_app", "import", "genesis", "ticket", "signed_ticket", "enrolment_body", "enrolment",
    "gateway", "transition", "transition_bytes", "leaf", "salt", "series", "documents", "seen_app", "seen_body",
    "validator_sets", "seen_header", "header", "header_bytes", "signed_header", "header_leaf", "alarm_leaf",
    "begin_key", "key_entry", "end_key", "key_end", "roster", "as_of_app", "block_app", "alarm_app",
    "seal_engine", "as_of_body", "block_body", "alarm_body", "step_header", "as_of_header", "block_header",
    "alarm_header", "commit", "comet_seal", "seal_data", "seal", "finality", "begin", "end", "roster_shown",
    "leaf_part", "block_part", "alarm", "alarm_part", "standing", "evidence",
)  # fmt: skip
OLD_CHAIN: Final = sha256(b"a chain taken over")
LEAVES: Final = (
    "public", "restricted", "status", "shedding", "clock_step", "outcome", "actuation", "refusal",
    "earlier", "transition",
)  # fmt: skip
VALIDATORS: Final = 4
SEALED: Final = {
    "seen": (6, WALL - 5),
    "alarm": (8, WALL + 59_000),
    "block": (9, WALL + 60_000),
    "as_of": (10, WALL + 61_000),
}  # final heights and times of a file's checkpoints


class Case(NamedTuple):
    """What a file is to hold before anything is bent."""

    engine: int = 1
    leaf: str = "public"
    block: bool = True
    alarm: bool = False
    mark: int = 0
    rotated: bool = False
    ended: int = 0  # the kind of the record that ended the key
    torsion: str = ""  # whose key, or "R", has a part of small order
    admitted: bool = False  # the ticket's authority stands in the roster alone
    imported: bool = False  # the key came from a chain taken over
    of_before: bool = False  # the transition is of that chain


def spelt(item: Item) -> bytes:
    """An item's bytes, which a bend may have spelt itself."""
    return item if isinstance(item, bytes) else encode(item)


class Key(NamedTuple):
    public: bytes
    sign: Callable[[bytes], bytes]

    def signed(self, domain: str, body: bytes) -> bytes:
        return self.sign(domain.encode() + b"\0\x01" + body)


def key_of(words: str, torsion: str = "") -> Key:
    seed = sha256(words.encode())
    if torsion == words:
        return Key(*curve.mixed_key(seed))
    key = SigningKey(seed)
    return Key(key.verify_key.encode(), lambda message: key.sign(message).signature)


class Forgery:
    """One evidence file, made stage by stage."""

    def __init__(self, case: Case, bends: Mapping[str, Bend] | None = None) -> None:
        self.case = case
        self.bends = bends or {}
        self.authority = key_of("authority")
        self.hub = key_of("hub", case.torsion)
        self.ticket_key = key_of("ticket")
        self.first_key = key_of("gateway", case.torsion)
        self.key = key_of("second", case.torsion) if case.rotated else self.first_key
        if case.torsion == "R":
            self.key = Key(self.key.public, lambda message: curve.sign_mixed(sha256(b"gateway"), message))
        self.voters = {voter.public: voter for voter in (key_of(f"voter {i}") for i in range(VALIDATORS))}
        self.imported = self._import()
        self.genesis = self.bent("genesis", self._genesis())
        self.chain = domain_hash("tocsin/genesis/v1", encode(self.genesis))

    def bent(self, stage: str, item: Item) -> Item:
        assert stage in STAGES
        return self.bends[stage](item) if stage in self.bends else item

    def file(self) -> tuple[bytes, bytes]:
        """The evidence file, and the genesis hash to trust."""
        enrolment = self._enrolment()
        self.gateway = self.bent("gateway", sha256(self.first_key.public)[:16])
        transition = self._transition()
        leaves, which = self._segments(transition)
        catalogue, documents = self._catalogue(), self._documents()
        seen = self._seen()
        header = self.bent("header", self._header(leaves, catalogue, documents, seen))
        body = self.bent("header_bytes", encode(header))
        log = self._log(header, body, transition)
        state_root, shown = self._state(header, body, enrolment)
        as_of = self._checkpoint("as_of", log, state_root)
        block = alarm = []
        if self.case.block:
            signed = self.bent("signed_header", [1, body, self.key.signed("tocsin/block/v1", body)])
            leaf = self.bent("leaf_part", self._leaf_part(leaves, which))
            series = self._series_part(leaves, which, catalogue)
            contracts = [[i, document, log_path(documents, i)] for i, document in enumerate(documents)]
            finality = self._finality("block", log, 2, state_root)
            block = self.bent("block_part", [signed, leaf, series, contracts, finality, seen[1]])
        if self.case.alarm:
            finality = self._finality("alarm", log[:2], 1, state_root)
            alarm = self._alarm_part(transition, documents, finality)
        origin = b"" if self.case.rotated else encode(enrolment)
        origin = encode(self.imported) if self.case.imported else origin
        standing = self.bent("standing", [self.key.public, origin, *shown, as_of])
        return spelt(self.bent("evidence", [1, self.genesis, block, alarm, standing])), self.chain

    def _genesis(self) -> Item:
        powers = [[public, 10 + i] for i, public in enumerate(self.voters)]
        validators = powers if self.case.engine == 2 else []
        authorities = [["fire", 2, self.authority.public], ["regulator", 1, key_of("regulator").public]]
        hubs = [["hub-1", "fire", self.hub.public]]
        hubs += [[f"hub-{i}", "fire", key_of(f"hub {i}").public] for i in range(2, len(validators) + 1)]
        takeover = [OLD_CHAIN, 4, domain_hash("tocsin/app/v1", encode(self.imported[1])), bytes(64)]
        takeovers = [takeover] if self.case.imported or self.case.of_before else []
        known = authorities[1:] if self.case.admitted else authorities
        return [1, 1, self.case.engine, "Forge", WALL, known, hubs, validators, 3, 1000, 1, takeovers]

    def _import(self) -> Item:
        """The gateway's entry and contract set under the last state of the chain taken over."""
        gateway = sha256(self.first_key.public)[:16]
        keys = [[self.first_key.public, 1], *([[self.key.public, 5]] if self.case.rotated else [])]
        old = ["north", keys, 0, 1, [1, 6, sha256(b"head")], 3, b"bootboot", 7, 2, [WALL - 9]]
        entry, contracts = encode([1, gateway]), encode([5, gateway])
        entries = {encode([1, bytes([i])]): bytes([i]) for i in range(9)}
        entries[entry] = spelt(self.bent("old_entry", old))
        if not self.case.rotated:
            entries[contracts] = encode([3, sha256(b"grant")])
        state = State(entries)
        app = self.bent("old_app", [9, sha256(b"old log"), state.root()])
        shown = [[entries.get(key, b""), state.proof(key)] for key in (entry, contracts)]
        return self.bent("import", [OLD_CHAIN, app, gateway, *shown])

    def _enrolment(self) -> Item:
        ticket = [self.chain, self.authority.public, self.ticket_key.public, "north", WALL]
        ticket = spelt(self.bent("ticket", ticket))
        signature = self.authority.signed("tocsin/ticket/v1", ticket)
        signed = self.bent("signed_ticket", [1, ticket, signature])
        body = spelt(self.bent("enrolment_body", [signed, self.first_key.public, "Flat 3"]))
        by_both = [key.signed("tocsin/enrolment/v1", body) for key in (self.ticket_key, self.first_key)]
        return self.bent("enrolment", [1, body, *by_both])

    def _transition(self) -> bytes:
        values = [["gas", 9120, 5], ["smoke", -3, 6]]
        contract = domain_hash("tocsin/contract/v1", self._documents()[0])
        chain = OLD_CHAIN if self.case.of_before else self.chain
        transition = [chain, self.gateway, b"bootboot", 1, "gas.high", contract, 0, 2]
        transition += [["gas:fault", "smoke:stale"], values, WALL + 21_000, 5, 1]
        return self.bent("transition_bytes", encode(self.bent("transition", transition)))

    def _segments(self, transition: bytes) -> tuple[list[list[bytes]], tuple[int, int]]:
        """The leaves of a public and a restricted segment, and where among them the file's leaf is."""
        body = {
            "public": [1, 500, 9120],
            "restricted": [1, 500, -7],
            "status": [2, [1, 500, 1, "nack"]],
            "shedding": [3, [2, 5, 9, 4]],
            "clock_step": [4, [500, -1234, 3]],
            "outcome": [5, [sha256(b"command"), 500, 3]],
            "actuation": [6, [500, "siren", 1, 9, "button silence", 2]],
            "earlier": [8, [1, 500, [[30_000, -5], [2500, 9], [2500, 8]]]],
            "refusal": [7, [500, 3, "Replayed", 1, sha256(b"message")]],
            "transition": [1, transition],
        }[self.case.leaf]
        segments = [[encode([0, i, i * i]) for i in range(count)] for count in (5, 3)]
        which = (1, 2) if self.case.leaf == "restricted" else (0, 4)
        segments[which[0]][which[1]] = spelt(self.bent("leaf", body))
        return segments, which

    def _catalogue(self) -> list[bytes]:
        klass = 2 if self.case.leaf == "restricted" else 0
        series = [
            [i, f"room.s{i}", "ch4", "ppm", -2, klass, 5, 60_000, 1000, 30_000, "a sensor", b""]
            for i in range(3)
        ]
        series[1] = self.bent("series", series[1])
        return [encode(one) for one in series]

    def _documents(self) -> list[bytes]:
        documents = [b"a contract", b"another contract", b"a third contract"]
        documents.sort(key=lambda document: domain_hash("tocsin/contract/v1", document))
        return self.bent("documents", documents)

    def _seen(self) -> tuple[Item, Item]:
        """What a header says of the seal that it saw, and the checkpoint that shows it."""
        app = self.bent("seen_app", [2, sha256(b"log"), sha256(b"state")])
        engine = self.case.engine
        seal, data = self._sealed("seen", app, engine)
        if engine == 1:
            height, seal_hash = seal[1], domain_hash("tocsin/seal/v1", encode(seal))
        else:
            height, seal_hash = seal[3] - 1, header_hash(seal)
        return [height, app[0], seal_hash], [app, [engine, data]]

    def _header(self, leaves: Item, catalogue: list[bytes], documents: list[bytes], seen: Item) -> Item:
        heads = []
        for klass, (place, segment) in zip((0, 2), enumerate(leaves), strict=True):
            root = log_root([self._salt(place, i) + leaf for i, leaf in enumerate(segment)])
            heads.append([klass, len(segment), root, sha256(b"segment"), 0])
        header = [self.chain, self.gateway, 2, 7, sha256(b"previous"), b"bootboot", WALL + 20_000, 5, 1000, 1]
        listings = [[len(entries), log_root(entries)] for entries in (catalogue, documents)]
        return [*header, *listings, seen[0], heads]

    def _salt(self, segment: int, index: int) -> bytes:
        message = b"tocsin/salt/v1\0" + index.to_bytes(8, "big")
        salt = hmac.new(bytes(32), message, hashlib.sha256).digest()[:16]
        return self.bent("salt", b"" if segment == 0 else salt)

    def _leaf_part(self, leaves: Item, which: tuple[int, int]) -> Item:
        segment, index = which
        hashed = [self._salt(segment, i) + leaf for i, leaf in enumerate(leaves[segment])]
        return [segment, index, leaves[segment][index], self._salt(*which), log_path(hashed, index)]

    def _series_part(self, leaves: Item, which: tuple[int, int], catalogue: list[bytes]) -> Item:
        if self.case.leaf not in ("public", "restricted", "status", "earlier"):
            return []
        return [cbor2.loads(catalogue[1]), log_path(catalogue, 1)]

    def _log(self, header: Item, body: bytes, transition: bytes) -> list[bytes]:
        header_leaf = [1, header[1], header[2], header[3], domain_hash("tocsin/block/v1", body)]
        alarm_leaf = [2, self.gateway, 0, self.case.mark, domain_hash("tocsin/alarm/v1", transition)]
        other = [3, self.gateway, 0, 0, sha256(b"enrolment")]
        leaves = [
            other,
            self.bent("alarm_leaf", alarm_leaf),
            self.bent("header_leaf", header_leaf),
            *[other] * 4,
        ]
        return [encode(leaf) for leaf in leaves]

    def _state(self, header: Item, body: bytes, enrolment: Item) -> tuple[bytes, Item]:
        """The state's root, and its entries of the key's beginning and end, and of the roster where it is wanted."""
        begun = [1, 3, domain_hash("tocsin/enrolment/v1", enrolment[1])]
        if self.case.rotated:
            begun = [5, 5, sha256(b"rotation")]
        if self.case.imported:
            transfer = encode([self.imported[0], self.imported[2]])
            begun = [begun[0], 16, domain_hash("tocsin/transfer/v1", transfer)]
        entry = spelt(self.bent("key_entry", [self.gateway, self.key.public, *begun]))
        entries = {encode([1, bytes([i])]): bytes([i]) for i in range(20)}
        begin = encode(self.bent("begin_key", [2, self.gateway, self.key.public]))
        end = encode(self.bent("end_key", [3, self.gateway, self.key.public]))
        entries[begin] = entry
        if self.case.ended == 5:
            last = [0, header[3] + 3, bytes(32)]
        else:
            last = [*header[2:4], domain_hash("tocsin/block/v1", body)]
        ending = b""
        if self.case.ended:
            ending = spelt(self.bent("key_end", [self.case.ended, last, sha256(b"end")]))
            entries[end] = ending
        roster = encode([6])
        if self.case.admitted:
            entries[roster] = spelt(self.bent("roster", self._roster()))
        state = State(entries)
        begin_entry = self.bent("begin", [entry, state.proof(begin)])
        shown = [entries[roster], state.proof(roster)] if self.case.admitted else []
        end_entry = self.bent("end", [ending, state.proof(end)])
        return state.root(), [begin_entry, end_entry, self.bent("roster_shown", shown)]

    def _roster(self) -> Item:
        authorities = [["regulator", 1, key_of("regulator").public], ["late", 2, self.authority.public]]
        members = [["hub-1", "fire", self.hub.public, key_of("voter 0").public, 10, 0, 0]]
        reader = ["hub-9", "gas", key_of("hub 9").public, b"", 0, 0, 2]
        suspended = ["hub-2", "gas", key_of("hub 2").public, key_of("voter 1").public, 0, 11, 0]
        return [3, authorities, [*members, reader, suspended]]

    def _checkpoint(self, role: str, log: list[bytes], state_root: bytes) -> Item:
        app = self.bent(f"{role}_app", [len(log), log_root(log), state_root])
        engine = self.bent("seal_engine", self.case.engine)
        _, data = self._sealed(role, app, engine)
        return [app, self.bent("seal", [engine, self.bent("seal_data", data)])]

    def _sealed(self, role: str, app: Item, engine: int) -> tuple[Item, bytes]:
        """What is signed, a seal's body or a header, and the seal's data."""
        app_hash = domain_hash("tocsin/app/v1", encode(app))
        return self._embedded(role, app_hash) if engine == 1 else self._comet(role, app_hash)

    def _embedded(self, role: str, app_hash: bytes) -> tuple[Item, bytes]:
        seal = self.bent(f"{role}_body", [self.chain, *SEALED[role], app_hash])
        body = spelt(seal)
        return seal, encode([1, body, self.hub.signed("tocsin/seal/v1", body)])

    def _comet(self, role: str, app_hash: bytes) -> tuple[Item, bytes]:
        """Bends of steps, commit and seal are those of the block's."""
        sets = self._validator_sets
        bent = self.bent if role == "block" else lambda _, item: item
        height, time = SEALED[role]
        steps = []
        for i, (now, following) in enumerate(pairwise(sets)):
            header = bent(
                "step_header", self._comet_header(10 * i + 1, WALL - 5, now, following, sha256(b"app"))
            )
            steps.append([header, self._commit(header, now), following])
        height += 10 * len(sets) - 10
        last = self._comet_header(height + 1, time, sets[-1], sets[-1], app_hash)
        last = self.bent(f"{role}_header", last)
        commit = self._commit(last, sets[-1], lambda commit: bent("commit", commit))
        return last, spelt(bent("comet_seal", [steps, last, commit]))

    @cached_property
    def _validator_sets(self) -> Item:
        """What the steps go through; the first is the genesis'."""
        sets = [in_order(self.genesis[7]), in_order([[public, 20] for public in self.voters])]
        return self.bent("validator_sets", sets)

    def _comet_header(self, height: int, time: int, now: Item, following: Item, app_hash: bytes) -> Item:
        seconds, nanos = divmod(time * 1_000_000 + 456_789, 1_000_000_000)
        header = [11, 1, f"tocsin-{self.chain.hex()[:40]}", height, seconds, nanos, sha256(b"block"), 1]
        header += [sha256(b"parts"), sha256(b"commit"), b"", set_hash(now), set_hash(following)]
        return [*header, sha256(b"consensus"), app_hash, b"", sha256(b"evidence"), sha256(b"proposer")[:20]]

    def _commit(self, header: Item, validators: Item, bend: Bend = lambda commit: commit) -> Item:
        precommits = [[i, header[4], 999_999_999 - i, b""] for i in range(len(validators))]
        commit = bend([0, 1, sha256(b"parts"), precommits])
        for vote in commit[3]:
            if vote[3] == b"" and vote[0] < len(validators):  # a bend may have signed otherwise
                voter = self.voters[validators[vote[0]][0]]
                vote[3] = voter.sign(sign_bytes(header, commit, vote[1], vote[2]))
        return commit

    def _finality(self, role: str, log: list[bytes], index: int, state_root: bytes) -> Item:
        checkpoint = self._checkpoint(role, log, state_root)
        return self.bent("finality", [index, log_path(log, index), checkpoint])

    def _alarm_part(self, transition: bytes, documents: list[bytes], finality: Item) -> Item:
        domain = "tocsin/alarm-unrecorded/v1" if self.case.mark else "tocsin/alarm/v1"
        alarm = self.bent("alarm", [self.case.mark, 1, transition, self.key.signed(domain, transition)])
        return self.bent("alarm_part", [alarm, documents[0], finality])


def forge(case: Case, bends: Mapping[str, Bend] | None = None) -> tuple[bytes, bytes]:
    """An evidence file of that case, bent at some stages, and the genesis hash to trust."""
    return Forgery(case, bends).file()
