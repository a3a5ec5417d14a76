"""Honest gateways in memory that make real signed bytes, with one verb per lie.

A `Fleet` is one chain: its genesis, authority and hub keys, and gateways by name. Everything is derived from
the seed, so equal fleets make equal bytes. Honest verbs move a gateway forward; lies are listed last, return
what a liar would send, and leave the honest gateway as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from gateway.chain.alarm import ALARMED, NORMAL, Alarm, Deciding, Transition, contract_hash
from gateway.chain.block import (
    NOTHING_SEEN,
    NTP,
    Block,
    Header,
    Seen,
    SegmentHead,
    list_catalogue,
    listing,
)
from gateway.chain.finality import Checkpoint, verify_seal
from gateway.chain.genesis import AGENCY, EMBEDDED, REGULATOR, Authority, Genesis, Hub
from gateway.chain.keys import (
    BIRTH,
    BLOCK,
    COMMAND,
    ENROLMENT,
    EPOCH,
    GRANT,
    HEARTBEAT,
    REVOCATION,
    ROTATION,
    SUITE,
    TICKET,
    Signed,
    SigningKey,
    gateway_id,
)
from gateway.chain.messages import Birth, Command, Heartbeat
from gateway.chain.ordered import (
    Alarms,
    Enrol,
    EpochOrder,
    Equivocate,
    Grant,
    Headers,
    Revoke,
    Rotate,
    encode_transaction,
)
from gateway.chain.reading import (
    Series,
    build_segment,
    leaf_hashes,
    reading_leaf,
    segment_hash,
    transition_leaf,
)
from gateway.chain.tenure import (
    NOWHERE,
    ContractGrant,
    Enrolment,
    EnrolmentBody,
    EpochChange,
    EpochChangeBody,
    Position,
    Revocation,
    Rotation,
    RotationBody,
    Ticket,
)
from gateway.chain.trees import root_of

START_MS = 1_760_000_000_000
DAY_MS = 86_400_000
CONTRACT_DOCUMENT = b"contract gas-ch4: ch4 > 2 %"


def seeded(*parts: object) -> bytes:
    """Return 32 bytes that depend on the parts alone."""
    return sha256("/".join(map(str, parts)).encode()).digest()


class Fleet:
    """One chain of an embedded hub, its authority and its gateways. `now` is everyone's wall clock in Unix ms."""

    def __init__(self, seed: int = 0, *, epoch_changes: int = 3, region: str = "north") -> None:
        self.seed, self.region, self.now = seed, region, START_MS
        self.regulator = SigningKey(seeded(seed, "regulator"))
        self.agency = SigningKey(seeded(seed, "agency"))
        self.hub_key = SigningKey(seeded(seed, "hub"))
        self.genesis = Genesis(
            1,
            SUITE,
            EMBEDDED,
            f"test chain {seed}",
            START_MS - DAY_MS,
            (
                Authority("regulator", REGULATOR, self.regulator.public),
                Authority("agency", AGENCY, self.agency.public),
            ),
            (Hub("hub", "agency", self.hub_key.public),),
            (),
            epoch_changes,
            30 * DAY_MS,
            1,
            (),
        )
        self.gateways: dict[str, FleetGateway] = {}
        self.commands = 0

    def gateway(self, name: str) -> FleetGateway:
        """Return the gateway of a name; the same one each time."""
        if name not in self.gateways:
            self.gateways[name] = FleetGateway(self, name)
        return self.gateways[name]

    def ticket(self, name: str, *, not_after: int = 0, authority: SigningKey | None = None) -> Signed:
        """Return a ticket for the ticket key of a name, valid for a day unless `not_after` is given."""
        authority = authority or self.agency
        body = Ticket(
            self.genesis.hash,
            authority.public,
            self.ticket_key(name).public,
            self.region,
            not_after or self.now + DAY_MS,
        )
        return authority.signed(TICKET, body.encode())

    def ticket_key(self, name: str) -> SigningKey:
        return SigningKey(seeded(self.seed, name, "ticket"))

    def revocation(self, gateway: bytes, last: Position = NOWHERE, *, by: SigningKey | None = None) -> Signed:
        """Return an authority's revocation of a gateway's keys."""
        by = by or self.regulator
        body = Revocation(self.genesis.hash, by.public, gateway, last, "stolen", self.now)
        return by.signed(REVOCATION, body.encode())

    def grant(
        self, gateway: bytes, version: int = 1, documents: Sequence[bytes] = (CONTRACT_DOCUMENT,)
    ) -> Signed:
        """Return an authority's contract set for a gateway."""
        body = ContractGrant(self.genesis.hash, self.agency.public, gateway, version, tuple(documents))
        return self.agency.signed(GRANT, body.encode())

    def command(
        self, gateway: FleetGateway, *, action: int = 1, not_after: int = 0, by: SigningKey | None = None
    ) -> Signed:
        """Return an authority's command to a gateway in its boot, good for a day unless `not_after` is given."""
        by, self.commands = by or self.agency, self.commands + 1
        nonce, until = seeded(self.seed, "command", self.commands)[:16], not_after or self.now + DAY_MS
        body = Command(
            self.genesis.hash, by.public, gateway.id, gateway.boot, nonce, action, "gas-ch4", until
        )
        return by.signed(COMMAND, body.encode())

    # transactions

    def order_headers(self, *blocks: Block) -> bytes:
        return encode_transaction(Headers(tuple(block.signed for block in blocks)))

    def order_alarms(self, *alarms: Alarm) -> bytes:
        return encode_transaction(Alarms(alarms))

    def order_enrolment(self, enrolment: Enrolment) -> bytes:
        return encode_transaction(Enrol(enrolment))

    def order_epoch(self, change: EpochChange, time: int = 0) -> bytes:
        return encode_transaction(EpochOrder(change, time or self.now))

    def order_rotation(self, rotation: Rotation) -> bytes:
        return encode_transaction(Rotate(rotation))

    def order_revocation(self, revocation: Signed) -> bytes:
        return encode_transaction(Revoke(revocation))

    def order_equivocation(self, one: Block, other: Block) -> bytes:
        first, second = sorted((one.signed, other.signed), key=lambda signed: signed.body)
        return encode_transaction(Equivocate(first, second))

    def order_grant(self, grant: Signed) -> bytes:
        return encode_transaction(Grant(grant))


class FleetGateway:
    """One gateway: signs like a good one until a lie is asked for."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name = fleet, name
        self.epoch, self.head, self.seen = 1, NOWHERE, NOTHING_SEEN
        self.keys: list[tuple[int, SigningKey]] = [(1, SigningKey(seeded(fleet.seed, name, "key", 0)))]
        self.id = gateway_id(self.key.public)
        self.boot, self.mono, self.counter, self.births = seeded(fleet.seed, name, "boot", 1)[:8], 1000, 0, 0
        self.blocks: list[Block] = []
        self.alarms: list[Alarm] = []
        self.pending: list[bytes] = []
        self.catalogue = tuple(
            Series(index, quantity, quantity, unit, -3, klass, 0, 0, 0, 0, f"{name}/sim", b"")
            for index, (quantity, unit, klass) in enumerate(
                (("ch4", "%", 0), ("temperature", "Cel", 0), ("strain", "um/m", 1), ("occupancy", "1", 2))
            )
        )
        self.documents: tuple[bytes, ...] = (CONTRACT_DOCUMENT,)

    @property
    def key(self) -> SigningKey:
        """The key that signs the next block."""
        return self.key_at(self.head.height + 1)

    def key_at(self, height: int) -> SigningKey:
        return next(key for first, key in reversed(self.keys) if first <= max(height, 1))

    # honest verbs

    def enrol(self, *, ticket: Signed | None = None, ticket_key: SigningKey | None = None) -> Enrolment:
        """Return the enrolment that spends this gateway's ticket."""
        ticket_key = ticket_key or self.fleet.ticket_key(self.name)
        first = self.keys[0][1]
        body = EnrolmentBody(ticket or self.fleet.ticket(self.name), first.public, self.name).encode()
        return Enrolment(SUITE, body, ticket_key.sign(ENROLMENT, body), first.sign(ENROLMENT, body))

    def block(self, readings: int = 8, *, classes: Sequence[int] = (0,), **header: object) -> Block:
        """Sign the next block, of `readings` readings in each class, with the transitions that wait for one.

        `header` replaces header fields before signing.
        """
        block = self._take_up(self._sign_block(readings, classes, **header))
        self.pending.clear()
        return block

    def block_of(self, leaves: dict[int, list[bytes]], **header: object) -> Block:
        """Sign the next block, of exactly these leaves by class."""
        return self._take_up(self._sign_leaves(leaves, 1, **header))

    def alarm(self, after: int = ALARMED, *, mark: int = 0, before: int = NORMAL) -> Alarm:
        """Sign an alarm; its transition goes into the next block's public segment."""
        self.counter += 1
        transition = Transition(
            self.fleet.genesis.hash,
            self.id,
            self.boot,
            self.counter,
            "gas-ch4",
            contract_hash(CONTRACT_DOCUMENT),
            before,
            after,
            (),
            (Deciding("ch4", 2100 + self.counter, self.mono),),
            self.fleet.now,
            self.mono,
            NTP,
        ).encode()
        alarm = Alarm.sign(self.key, transition, mark)
        self.alarms.append(alarm)
        self.pending.append(transition)
        return alarm

    def see(self, checkpoint: Checkpoint) -> None:
        """Remember a checkpoint as the highest verified seal."""
        sealed = verify_seal(checkpoint.seal, self.fleet.genesis)
        self.seen = Seen(sealed.height, checkpoint.app.log_size, sealed.hash)

    def reboot(self) -> None:
        """Start again: a new boot nonce, monotonic time from the beginning."""
        self.boot = sha256(self.boot).digest()[:8]
        self.mono, self.counter, self.births = 1000, 0, 0

    def rotate(self, first: int = 0) -> Rotation:
        """Return the rotation to a new key from block `first` on (by default the next one), and take it up."""
        old, first = self.keys[-1][1], first or self.head.height + 1
        new = SigningKey(seeded(self.fleet.seed, self.name, "key", len(self.keys)))
        body = RotationBody(self.fleet.genesis.hash, self.id, old.public, new.public, first).encode()
        self.keys.append((first, new))
        return Rotation(SUITE, body, old.sign(ROTATION, body), new.sign(ROTATION, body))

    def epoch_change(
        self, closes: Position | None = None, *, reason: int = 1, approver: SigningKey | None = None
    ) -> EpochChange:
        """Return the change to the next epoch and take it up: blocks above `closes` become orphans.

        The next block needs a checkpoint that has seen the order: `see` it first.
        """
        closes = self.head if closes is None else closes
        at = [self.position(block) for block in self.blocks]
        above = [each for each in at if each.epoch == self.epoch and each.height > closes.height]
        orphans = tuple(sorted(above, key=lambda each: (each.height, each.hash)))
        body = EpochChangeBody(
            self.fleet.genesis.hash, self.id, self.boot, self.epoch + 1, closes, orphans, reason
        ).encode()
        key = self.key_at(closes.height + 1)
        approval = (approver.public, approver.sign(EPOCH, body)) if approver else (b"", b"")
        self.epoch, self.head = self.epoch + 1, closes
        return EpochChange(SUITE, body, key.sign(EPOCH, body), *approval)

    @property
    def classes(self) -> list[int]:
        """The classes of the catalogue's series, as `open_block` asks for them."""
        return [series.klass for series in self.catalogue]

    def birth(self, *, whole: int = 1) -> Signed:
        """Return this boot's next birth, signed."""
        self.births += 1
        body = Birth(
            self.fleet.genesis.hash,
            self.id,
            self.boot,
            self.births,
            self.fleet.now,
            whole,
            self.head,
            self.seen,
            self.catalogue,
            self.documents,
            10_000,
            "fleet",
        )
        return self.key.signed(BIRTH, body.encode())

    def heartbeat(self, counter: int = 1) -> Signed:
        body = Heartbeat(
            self.fleet.genesis.hash, self.id, self.boot, counter, self.fleet.now, self.head, 0, 0, 0
        )
        return self.key.signed(HEARTBEAT, body.encode())

    @staticmethod
    def position(block: Block) -> Position:
        header = Header.decode(block.header)
        return Position(header.epoch, header.height, block.hash)

    # lies: each returns what a liar would send

    def replay(self, height: int) -> Block:
        """An old block once more."""
        return next(block for block in self.blocks if Header.decode(block.header).height == height)

    def fork(self, height: int) -> Block:
        """Another block at a position that is signed already."""
        header = Header.decode(self.replay(height).header)
        return self._resign(replace(header, wall=header.wall + 1), self.replay(height).segments)

    def skip(self, by: int = 1) -> Block:
        """A block that leaves out `by` heights."""
        return self._sign_block(8, (0,), height=self.head.height + 1 + by, previous=seeded("skipped"))

    def forge_epoch(self) -> Block:
        """A block of an epoch that nobody ordered."""
        return self._sign_block(8, (0,), epoch=self.epoch + 1)

    def old_epoch(self) -> Block:
        """A block of the epoch before the one in force."""
        return self._sign_block(8, (0,), epoch=self.epoch - 1)

    def detach(self) -> Block:
        """A next block that follows something else than the head."""
        return self._sign_block(8, (0,), previous=seeded("elsewhere"))

    def back_date(self) -> Block:
        """A next block that begins before its predecessor's end."""
        return self._sign_block(8, (0,), mono=0)

    def unsee(self) -> Block:
        """A next block that has seen less than its predecessor."""
        return self._sign_block(8, (0,), seen=NOTHING_SEEN)

    def elsewhere(self) -> Block:
        """A next block of another chain."""
        return self._sign_block(8, (0,), genesis=seeded("other chain"))

    def impersonate(self) -> Block:
        """A next block signed by a stranger's key."""
        header = self._sign_block(8, (0,))
        stranger = SigningKey(seeded(self.fleet.seed, "stranger"))
        return replace(header, signature=stranger.sign(BLOCK, header.header))

    def stale_key(self) -> Block:
        """A next block signed by the key before the one in force."""
        block = self._sign_block(8, (0,))
        return replace(block, signature=self.keys[-2][1].sign(BLOCK, block.header))

    def misroot(self) -> Block:
        """A next block whose signed header names a root that its segment does not yield."""
        block = self._sign_block(8, (0,))
        header = Header.decode(block.header)
        head = replace(header.segments[0], root=seeded("another root"))
        return self._resign(replace(header, segments=(head,)), block.segments)

    def miscount(self) -> Block:
        """A next block whose signed header counts one leaf more than its segment holds."""
        block = self._sign_block(8, (0,))
        header = Header.decode(block.header)
        head = replace(header.segments[0], count=header.segments[0].count + 1)
        return self._resign(replace(header, segments=(head,)), block.segments)

    def overreach(self) -> Block:
        """A next block with a reading of a series that its catalogue does not have."""
        return self._sign_leaves({0: [reading_leaf(len(self.catalogue), 0, 1)]}, 1)

    @staticmethod
    def tamper(block: Block, part: str = "segment", bit: int = 200) -> Block:
        """A block with one bit of its header, signature or first segment flipped."""
        if part == "segment":
            return replace(block, segments=(flip(block.segments[0], bit), *block.segments[1:]))
        return replace(block, **{part: flip(getattr(block, part), bit)})

    # building

    def _take_up(self, block: Block) -> Block:
        made = Header.decode(block.header)
        self.head = Position(made.epoch, made.height, block.hash)
        self.mono, self.fleet.now = self.mono + made.span + 1, self.fleet.now + made.span + 1
        self.blocks.append(block)
        return block

    def _sign_block(self, readings: int, classes: Sequence[int], **header: object) -> Block:
        by_class = {0: [0, 1], 1: [2], 2: [3]}
        leaves: dict[int, list[bytes]] = {}
        for klass in classes:
            series = by_class[klass]
            leaves[klass] = [
                reading_leaf(series[i % len(series)], i * 100, 1000 * (klass + 1) + self.head.height + i)
                for i in range(readings)
            ]
        leaves.setdefault(0, [])
        leaves[0] += [transition_leaf(each) for each in self.pending]
        return self._sign_leaves({k: v for k, v in sorted(leaves.items()) if v}, readings, **header)

    def _sign_leaves(self, leaves: dict[int, list[bytes]], readings: int, **fields: object) -> Block:
        secrets = {
            k: seeded(self.fleet.seed, self.name, self.epoch, self.head.height, k) if k else b""
            for k in leaves
        }
        segments = {k: build_segment(k, secrets[k], v) for k, v in leaves.items()}
        heads = tuple(
            SegmentHead(k, len(v), root_of(leaf_hashes(secrets[k], v)), segment_hash(segments[k]), 0)
            for k, v in leaves.items()
        )
        header = Header(
            self.fleet.genesis.hash,
            self.id,
            self.epoch,
            self.head.height + 1,
            self.head.hash,
            self.boot,
            self.fleet.now,
            self.mono,
            max(readings - 1, 0) * 100,
            NTP,
            list_catalogue(self.catalogue),
            listing(sorted(self.documents, key=contract_hash)),
            self.seen,
            heads,
        )
        return self._resign(replace(header, **fields), tuple(segments.values()))  # type: ignore[arg-type]

    def _resign(self, header: Header, segments: tuple[bytes, ...]) -> Block:
        body = header.encode()
        return Block(SUITE, body, self.key_at(header.height).sign(BLOCK, body), segments)


def flip(data: bytes, bit: int) -> bytes:
    """Return the data with one bit flipped; bits beyond the end wrap round."""
    at, mask = divmod(bit % (len(data) * 8), 8)
    return data[:at] + bytes((data[at] ^ (1 << mask),)) + data[at + 1 :]
