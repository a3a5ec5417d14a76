"""Checkpoints of the log as outsiders know them: C2SP signed notes, tlog checkpoints, cosignatures and submissions.

It owns the text forms (signed-note, tlog-checkpoint, tlog-cosignature v1, tlog-witness' `add-checkpoint`) and the
rules by which a witness goes on; not where a witness keeps its state, nor what is done about a refusal.

Who signs. A federation has one log and several hubs that hold it, so each hub signs as the log: under the log's
name, as a tlog-checkpoint wants it, with its own hub key. Name and key id together tell the hubs apart, which is
how the note format lets one name have several keys. As a witness of the others a hub cosigns under
`<origin>/<hub>`, where its name can be read. A note by a hub thus opens with the log's signature for any verifier
that was given the hubs' keys, and shows by name who else saw the same log.

One key does both, and all the rest that a hub says: a note starts with `tocsin-`, a cosignature with
`cosignature/v1`, everything of the ledger format with `tocsin/`, and the engine's handshake signs 32 bytes, so that
no statement can be taken for another. Signatures are Ed25519, as everywhere here; other types are unknown keys.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

from gateway.chain.errors import BadProof, BadSignature, OtherHead, TooLarge, WrongShape
from gateway.chain.keys import SigningKey
from gateway.chain.trees import EMPTY_ROOT, check_consistency

SIGNATURE: Final = 0x01
COSIGNATURE: Final = 0x04
MAX_NOTE: Final = 64 * 1024
MAX_LINES: Final = 100
MAX_HASHES: Final = 63
MAX_SUBMISSION: Final = MAX_NOTE + 4096
_DASH: Final = "\u2014 "
_DECIMAL: Final = re.compile("0|[1-9][0-9]{0,18}")


class Named(Protocol):
    """A hub as the genesis or the roster names it."""

    @property
    def name(self) -> str: ...
    @property
    def key(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A key that is known: its name, the type of signature it makes, its public half (32 bytes)."""

    name: str
    kind: int
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.kind not in (SIGNATURE, COSIGNATURE) or len(self.public) != 32:
            raise WrongShape(f"key {self.name!r:.100} is neither of Ed25519 (1) nor of cosignature/v1 (4)")

    @classmethod
    def parse(cls, vkey: str) -> NoteKey:
        """Return the key of a verifier key string, `<name>+<key id>+<base64 of type and key>`. Raises WrongShape."""
        name, _, rest = vkey.partition("+")
        identity, _, material = rest.partition("+")
        data = _base64(material)
        key = cls(name, data[0] if data else 0, data[1:])
        if identity != key.id.hex():
            raise WrongShape(f"{vkey!r:.200} does not name its key by {key.id.hex()}")
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64encode(bytes((self.kind,)) + self.public).decode()}"

    @property
    def id(self) -> bytes:
        """What tells a name's keys apart (4 bytes)."""
        return sha256(self.name.encode() + b"\n" + bytes((self.kind,)) + self.public).digest()[:4]

    def check(self, text: str, signature: bytes) -> int | None:
        """Check a signature over a note's text; return the time (Unix s) of a cosignature. Raises BadSignature."""
        size, time = 64, None
        if self.kind == COSIGNATURE:
            size, time = 72, int.from_bytes(signature[:8], "big")
        if len(signature) != size or (time or 0) >= 1 << 63:
            raise BadSignature(f"the signature of {self.name} has not the form of its type")
        try:
            crypto_sign_open(signature[-64:] + _signed_text(text, time), self.public)
        except (CryptoError, ValueError) as error:
            raise BadSignature(f"the signature of {self.name} does not verify") from error
        return time


@dataclass(frozen=True, slots=True)
class Line:
    """One signature line: the key's name and id, and what follows the id."""

    name: str
    id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {b64encode(self.id + self.signature).decode()}\n"

    @classmethod
    def parse(cls, line: str) -> Line:
        """Return a line given with its newline. Raises WrongShape."""
        name, _, data = line.removeprefix(_DASH).removesuffix("\n").partition(" ")
        _check_name(name)
        found = _base64(data)
        if str(made := cls(name, found[:4], found[4:])) != line or len(found) < 5:
            raise WrongShape(f"this is no signature line: {line!r:.100}")
        return made


@dataclass(frozen=True, slots=True)
class Signer:
    """A known key whose signature verified, and when it cosigned (Unix s; None for a log's own signature)."""

    key: NoteKey
    time: int | None


@dataclass(frozen=True, slots=True)
class Note:
    """A text, ending in a newline, with its signature lines."""

    text: str
    lines: tuple[Line, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Return the note that `data` is, all of it. Raises TooLarge or WrongShape."""
        message = _text(data, MAX_NOTE)
        text, gap, rest = message.rpartition("\n\n")
        lines = parse_lines(rest)
        if not gap or not lines:
            raise WrongShape("a note is a text, an empty line and signature lines")
        return cls(text + "\n", lines)

    def encode(self) -> bytes:
        """Return the note's bytes."""
        return f"{self.text}\n{''.join(map(str, self.lines))}".encode()

    def verify(self, keys: Iterable[NoteKey]) -> tuple[Signer, ...]:
        """Return who of the known keys signed. Raises BadSignature when none did, or one's signature is false."""
        known = {(key.name, key.id): key for key in keys}
        found: dict[NoteKey, int | None] = {}
        for line in self.lines:
            key = known.get((line.name, line.id))
            if key is not None and key not in found:
                found[key] = key.check(self.text, line.signature)
        if not found:
            raise BadSignature("none of the known keys signed this note")
        return tuple(Signer(key, time) for key, time in found.items())


@dataclass(frozen=True, slots=True)
class LogHead:
    """A log at one size. Our logs have no extension lines, and nobody here vouches for any."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> LogHead:
        """Return the head that a checkpoint's text names. Raises WrongShape."""
        lines = text.split("\n")
        if len(lines) != 4 or not lines[0] or lines[3]:
            raise WrongShape("a checkpoint has exactly three lines: origin, size and root")
        head = cls(lines[0], _number(lines[1]), _base64(lines[2]))
        if len(head.root) != 32 or (head.size == 0 and head.root != EMPTY_ROOT):
            raise WrongShape(f"{lines[2]!r:.100} is no root of {head.size} leaves")
        return head

    @property
    def text(self) -> str:
        """The checkpoint's text: the same bytes from all who hold the same log."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class Submission:
    """What a log hands a witness: the size it cosigned last, the way from there (RFC 6962), and the checkpoint."""

    old: int
    path: tuple[bytes, ...]
    note: Note

    @classmethod
    def parse(cls, data: bytes) -> Submission:
        """Return the submission of an `add-checkpoint` body. Raises TooLarge or WrongShape."""
        if len(data) > MAX_SUBMISSION:
            raise TooLarge(f"a submission has at most {MAX_SUBMISSION} bytes")
        first, gap, rest = data.partition(b"\n\n")
        if not gap:
            raise WrongShape("a submission is a proof, an empty line and a checkpoint")
        old, path = parse_proof(first + b"\n")
        return cls(old, path, Note.parse(rest))

    def encode(self) -> bytes:
        """Return the submission's bytes."""
        return proof_text(self.old, self.path).encode() + b"\n" + self.note.encode()


def proof_text(old: int, path: Iterable[bytes]) -> str:
    """Return a consistency proof from `old` leaves on as a submission spells it."""
    return f"old {old}\n" + "".join(f"{b64encode(each).decode()}\n" for each in path)


def parse_proof(data: bytes) -> tuple[int, tuple[bytes, ...]]:
    """Return the old size and the hashes of such a text. Raises TooLarge or WrongShape."""
    first, *rest = _text(data, MAX_SUBMISSION).split("\n")
    if not first.startswith("old ") or not rest or rest.pop():
        raise WrongShape("a consistency proof starts with the old size and ends with a newline")
    path = tuple(map(_base64, rest))
    if len(path) > MAX_HASHES:
        raise TooLarge(f"a consistency proof has at most {MAX_HASHES} hashes")
    if any(len(each) != 32 for each in path):
        raise WrongShape("a consistency proof's hashes have 32 bytes")
    return _number(first[4:]), path


def parse_lines(text: str) -> tuple[Line, ...]:
    """Return signature lines, such as a witness answers. Raises TooLarge or WrongShape."""
    lines = text.split("\n")
    if lines.pop():
        raise WrongShape("a signature line ends with a newline")
    if len(lines) > MAX_LINES:
        raise TooLarge(f"a note has at most {MAX_LINES} signatures")
    return tuple(Line.parse(line + "\n") for line in lines)


def advance(known: LogHead | None, submitted: Submission) -> LogHead:
    """Return the head a witness goes on to from the one it cosigned last (None: none yet), once it extends it.

    Signature and origin are checked before. Raises WrongShape (the old size is above the new), OtherHead (the old
    size is not the known one) or BadProof, which a tlog-witness answers by 400, 409 and 422. One size with two roots
    is a BadProof, too, as with other witnesses: 409 would invite the log to try again.
    """
    head, size = LogHead.parse(submitted.note.text), known.size if known else 0
    if submitted.old > head.size:
        raise WrongShape(f"a log of {submitted.old} leaves does not grow to {head.size}")
    if submitted.old != size:
        raise OtherHead(f"the last checkpoint cosigned has {size} leaves, not {submitted.old}", size)
    if known and size:
        check_consistency(size, known.root, head.size, head.root, submitted.path)
    elif submitted.path:
        raise BadProof("from no leaves on there is nothing to prove")
    return head


def sign_note(key: SigningKey, name: str, text: str) -> Line:
    """Return a log's own signature over a note's text."""
    return _line(key, NoteKey(name, SIGNATURE, key.public), text, None)


def cosign_note(key: SigningKey, name: str, text: str, time: int) -> Line:
    """Return a witness' signature over a checkpoint's text: at `time` (Unix s) it was the largest that it knew."""
    return _line(key, NoteKey(name, COSIGNATURE, key.public), text, time)


def log_key(origin: str, public: bytes) -> NoteKey:
    """Return the key under which a hub signs as the log."""
    return NoteKey(origin, SIGNATURE, public)


def hub_key(origin: str, hub: Named) -> NoteKey:
    """Return the key under which a hub cosigns as a witness of the others."""
    return NoteKey(f"{origin}/{hub.name}", COSIGNATURE, hub.key)


def _line(key: SigningKey, known: NoteKey, text: str, time: int | None) -> Line:
    stamp = b"" if time is None else time.to_bytes(8, "big")
    secret = crypto_sign_seed_keypair(key.seed)[1]
    return Line(known.name, known.id, stamp + crypto_sign(_signed_text(text, time), secret)[:64])


def _signed_text(text: str, time: int | None) -> bytes:
    return text.encode() if time is None else f"cosignature/v1\ntime {time}\n{text}".encode()


def _text(data: bytes, limit: int) -> str:
    if len(data) > limit:
        raise TooLarge(f"a note has at most {limit} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WrongShape("a note is UTF-8") from error
    if any(each < " " and each != "\n" for each in text):
        raise WrongShape("a note holds no control characters but newlines")
    return text


def _check_name(name: str) -> None:
    if not name or "+" in name or any(each.isspace() for each in name):
        raise WrongShape(f"a note's key name has neither spaces nor plus signs: {name!r:.100}")


def _number(text: str) -> int:
    if not _DECIMAL.fullmatch(text) or int(text) >= 1 << 63:
        raise WrongShape(f"{text!r:.100} is no size")
    return int(text)


def _base64(text: str) -> bytes:
    """Return what a base64 text stands for. Raises WrongShape for any but its one spelling."""
    try:
        data = b64decode(text, validate=True)
    except (Base64Error, ValueError) as error:
        raise WrongShape(f"{text!r:.100} is no base64") from error
    if b64encode(data).decode() != text:
        raise WrongShape(f"{text!r:.100} is no base64 in its one spelling")
    return data
