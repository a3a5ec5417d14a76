"""CometBFT's seal: header H+1, which carries the application hash of H, with its commit.

A light verifier's view: starting from the genesis' validators, or from a set that it has verified before, each
change of the set is shown by the header that names the next set and a commit of the set before. Encodings are
CometBFT 0.38's (protobuf with zero values left out); the Merkle tree is that of RFC 6962. A seal lists only
precommits for the block, each of which must verify; a sealing hub leaves out nil and absent votes, and any
signature that libsodium refuses although CometBFT's laxer rule took it, so that no single validator can spoil a
proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Annotated, Final

from nacl.bindings import crypto_sign_open
from nacl.exceptions import CryptoError

from gateway.chain.errors import BadProof, BadSignature
from gateway.chain.genesis import Genesis, Validator
from gateway.chain.record import MAX_MILLIS, Hash, Many, Octets, Range, Record, Signature, Text, UInt
from gateway.chain.trees import leaf_hash, root_of

MAX_VALIDATORS: Final = 64
MAX_STEPS: Final = 256
Digest = Annotated[bytes, Octets(0, 32)]
Seconds = Annotated[int, Range(0, MAX_MILLIS // 1000 - 1)]
Nanos = Annotated[int, Range(0, 999_999_999)]


@dataclass(frozen=True, slots=True)
class CometHeader(Record):
    """The fields of a CometBFT header, in its order."""

    block_version: UInt
    app_version: UInt
    chain_id: Annotated[str, Text(50)]
    height: Annotated[int, Range(1, (1 << 63) - 1)]
    seconds: Seconds
    nanos: Nanos
    last_hash: Digest
    last_parts: Annotated[int, Range(0, 0xFFFFFFFF)]
    last_parts_hash: Digest
    last_commit: Digest
    data: Digest
    validators: Hash
    next_validators: Hash
    consensus: Digest
    app_hash: Hash
    last_results: Digest
    evidence: Digest
    proposer: Annotated[bytes, Octets(20, 20)]

    @property
    def time(self) -> int:
        """The header's time in Unix ms, rounded down."""
        return self.seconds * 1000 + self.nanos // 1_000_000

    @property
    def hash(self) -> bytes:
        """The header's hash: the root over its fields' protobuf encodings."""
        version = _number(1, self.block_version) + _number(2, self.app_version)
        leaves = [
            version,
            _octets(1, self.chain_id.encode()),
            _number(1, self.height),
            _time(self.seconds, self.nanos),
            _block_id(self.last_hash, self.last_parts, self.last_parts_hash),
            *(
                _octets(1, each)
                for each in (self.last_commit, self.data, self.validators, self.next_validators)
            ),
            *(_octets(1, each) for each in (self.consensus, self.app_hash, self.last_results, self.evidence)),
            _octets(1, self.proposer),
        ]
        return root_of([leaf_hash(leaf) for leaf in leaves])


@dataclass(frozen=True, slots=True)
class Precommit(Record):
    """One validator's vote for the block: its index in the set, its time, its signature."""

    validator: Annotated[int, Range(0, MAX_VALIDATORS - 1)]
    seconds: Seconds
    nanos: Nanos
    signature: Signature


@dataclass(frozen=True, slots=True)
class Commit(Record):
    """The precommits of one round for a block whose parts set is (`parts`, `parts_hash`), by rising index."""

    round: Annotated[int, Range(0, 0x7FFFFFFF)]
    parts: Annotated[int, Range(1, 0xFFFFFFFF)]
    parts_hash: Hash
    precommits: Annotated[tuple[Precommit, ...], Many(1, MAX_VALIDATORS)]


@dataclass(frozen=True, slots=True)
class Step(Record):
    """A change of the validator set: the header that names the next set, its commit, and that set."""

    header: CometHeader
    commit: Commit
    validators: Annotated[tuple[Validator, ...], Many(1, MAX_VALIDATORS)]


@dataclass(frozen=True, slots=True)
class CometSeal(Record):
    """All changes of the validator set since genesis, then header H+1 with its commit.

    The compact form leaves out changes that its reader has seen; it holds for nobody else.
    """

    steps: Annotated[tuple[Step, ...], Many(0, MAX_STEPS)]
    header: CometHeader
    commit: Commit


@dataclass(frozen=True, slots=True)
class Known:
    """What a reader has verified: the set that decides header `height` + 1. At genesis: height 0, its validators."""

    height: int
    validators: tuple[Validator, ...]


def chain_id(genesis_hash: bytes) -> str:
    """Return the name of a chain inside the engine, which allows 50 bytes."""
    return f"tocsin-{genesis_hash.hex()[:40]}"


def in_order(validators: Sequence[Validator]) -> list[Validator]:
    """Return a validator set in the engine's order: power falling, then address rising."""
    return sorted(validators, key=lambda each: (-each.power, sha256(each.key).digest()[:20]))


def validators_hash(validators: Sequence[Validator]) -> bytes:
    """Return the hash of a set given in the engine's order."""
    leaves = [_octets(1, _octets(1, each.key)) + _number(2, each.power) for each in validators]
    return root_of([leaf_hash(leaf) for leaf in leaves])


def verify_comet_seal(
    seal: CometSeal, genesis: Genesis, known: Known | None = None
) -> tuple[CometHeader, Known]:
    """Return the sealing header, and the set behind it, once it holds under the genesis. Raises ChainError.

    Where `known` is of a lower height than the header, it stands for all changes up to there, whether they are
    shown or not; a seal from before it has to show its own.
    """
    if known is None or seal.header.height <= known.height:
        known = Known(0, genesis.validators)
    name, current, below = chain_id(genesis.hash), in_order(known.validators), known.height
    for step in seal.steps:
        if step.header.height > known.height:
            current = _follow(step, name, current, below)
            below = step.header.height
    check_header(seal.header, seal.commit, name, current, below)
    return seal.header, Known(seal.header.height - 1, tuple(current))


def _follow(step: Step, name: str, current: list[Validator], below: int) -> list[Validator]:
    """Return the set after a step, once the one before it has committed to that."""
    check_header(step.header, step.commit, name, current, below)
    following = in_order(step.validators)
    if list(step.validators) != following or step.header.next_validators != validators_hash(following):
        raise BadProof(f"header {step.header.height} names another next validator set than the one shown")
    if len({each.key for each in following}) != len(following):
        raise BadProof(f"a key stands twice in the validator set after header {step.header.height}")
    if following == current:
        raise BadProof(f"header {step.header.height} changes nothing in the validator set")
    return following


def check_header(
    header: CometHeader, commit: Commit, name: str, validators: Sequence[Validator], below: int = 0
) -> None:
    """Check a header of the chain of this name, above height `below`, with its commit by the set given in order.

    Raises BadProof or BadSignature.
    """
    if header.chain_id != name:
        raise BadProof(f"a header of {header.chain_id!r} cannot seal in {name!r}")
    if header.height <= below:
        raise BadProof(f"header {header.height} does not follow header {below}")
    if header.validators != validators_hash(validators):
        raise BadProof(f"header {header.height} is of another validator set than the one shown or known")
    _check_commit(header, commit, validators)


def sound_commit(header: CometHeader, commit: Commit, validators: Sequence[Validator]) -> Commit:
    """Return a commit without the precommits that do not verify: what a hub seals with."""
    block_id = _block_id(header.hash, commit.parts, commit.parts_hash)

    def is_sound(vote: Precommit) -> bool:
        try:
            signed = _vote(header, commit.round, block_id, vote)
            _check_signature(validators[vote.validator].key, signed, vote.signature)
        except (BadSignature, IndexError):
            return False
        return True

    return replace(commit, precommits=tuple(filter(is_sound, commit.precommits)))


def _check_commit(header: CometHeader, commit: Commit, validators: Sequence[Validator]) -> None:
    """Check that every precommit verifies and that together they have more than two thirds of the power."""
    power, last = 0, -1
    block_id = _block_id(header.hash, commit.parts, commit.parts_hash)
    for vote in commit.precommits:
        if not last < vote.validator < len(validators):
            raise BadProof(
                f"the commit of header {header.height} names validator {vote.validator} out of order"
            )
        voter, last = validators[vote.validator], vote.validator
        signed = _vote(header, commit.round, block_id, vote)
        _check_signature(voter.key, signed, vote.signature)
        power += voter.power
    if 3 * power <= 2 * sum(each.power for each in validators):
        raise BadProof(f"the commit of header {header.height} has not more than two thirds of the power")


def _check_signature(public: bytes, data: bytes, signature: bytes) -> None:
    try:
        crypto_sign_open(signature + data, public)
    except (CryptoError, ValueError) as error:
        raise BadSignature(f"a precommit of validator {public.hex()[:16]} does not verify") from error


def _vote(header: CometHeader, round_: int, block_id: bytes, vote: Precommit) -> bytes:
    """Return the sign bytes of a precommit, behind their length."""
    body = (
        _number(1, 2)
        + b"\x11"
        + header.height.to_bytes(8, "little")
        + (b"\x19" + round_.to_bytes(8, "little") if round_ else b"")
        + _message(4, block_id)
        + _message(5, _time(vote.seconds, vote.nanos))
        + _octets(6, header.chain_id.encode())
    )
    return _varint(len(body)) + body


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _octets(field: int, value: bytes) -> bytes:
    return _message(field, value) if value else b""


def _message(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _time(seconds: int, nanos: int) -> bytes:
    return _number(1, seconds) + _number(2, nanos)


def _block_id(block_hash: bytes, parts: int, parts_hash: bytes) -> bytes:
    return _octets(1, block_hash) + _message(2, _number(1, parts) + _octets(2, parts_hash))
