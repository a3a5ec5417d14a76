"""Everything that can be wrong with bytes of the ledger format.

ChainError
├── FormatError (also ValueError)   the bytes are not of the format
│   ├── NotCanonical                another spelling of a value than the encoder's
│   ├── TooLarge                    over a limit of FORMAT.md's table
│   └── WrongShape                  right spelling, wrong fields or ranges
├── UnsupportedSuite                a signature or hash suite this software does not know
├── BadSignature                    a signature does not verify
├── WrongChain                      the bytes belong to another genesis
├── BadProof                        a Merkle, state or finality proof does not hold
│   └── OtherHead                   a log's next head starts from another one than the witness knows
├── BadHeader                       a header breaks a rule of its chain
│   ├── NotSuccessor                it does not follow the final head
│   │   ├── HeightRepeated          a height that is final already
│   │   └── HeightSkipped           a height that is not next
│   ├── WrongEpoch                  an epoch that is closed, or was never ordered
│   ├── BackDated                   it names an older time or seal than its predecessor
│   └── UnseenEpoch                 a new epoch's first header has not seen its order
├── BadSegment                      stored bytes do not yield what the header commits to
├── BadStanding                     a key that may not sign here
│   ├── UnknownGateway              never enrolled in this chain
│   ├── RevokedKey                  revoked, rotated away or barred
│   ├── UnknownSigner               not an authority or hub of the genesis
│   └── UnknownNeighbour            not in the building's roster
├── OtherBuilding                   a neighbour's message for another building
├── BadRecord                       an enrolment, rotation, revocation or epoch change breaks a rule
└── BadEvidence                     an evidence file's parts do not belong together
"""

from __future__ import annotations


class ChainError(Exception):
    """Root of what verification can refuse."""


class FormatError(ChainError, ValueError):
    """The bytes are not of the format."""


class NotCanonical(FormatError):
    """A value is spelt otherwise than the encoder spells it."""


class TooLarge(FormatError):
    """A size, count or depth is over its limit."""


class WrongShape(FormatError):
    """The fields are not those of the record, or a value is out of its range."""


class UnsupportedSuite(ChainError):
    """The signature or hash suite is not known to this software."""


class BadSignature(ChainError):
    """A signature does not verify under the key it must be of."""


class WrongChain(ChainError):
    """The bytes belong to another genesis."""


class BadProof(ChainError):
    """A Merkle, state or finality proof does not hold."""


class OtherHead(BadProof):
    """A log's next head starts from another one than the witness cosigned last, whose size is `size`."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class BadHeader(ChainError):
    """A header breaks a rule of its gateway's chain."""


class NotSuccessor(BadHeader):
    """A header does not follow its gateway's final head."""


class HeightRepeated(NotSuccessor):
    """A header repeats a height that is final with another hash."""


class HeightSkipped(NotSuccessor):
    """A header leaves out at least one height."""


class WrongEpoch(BadHeader):
    """A header names an epoch that is closed or was never ordered."""


class BackDated(BadHeader):
    """A header claims to be older than what it follows."""


class UnseenEpoch(BadHeader):
    """A new epoch's first header has not seen the final block that ordered the epoch."""


class BadSegment(ChainError):
    """A segment's bytes do not yield the hash, count, root or ranges of its header."""


class BadStanding(ChainError):
    """The signer may not sign this."""


class UnknownGateway(BadStanding):
    """The gateway was never enrolled in this chain."""


class RevokedKey(BadStanding):
    """The key was revoked, replaced, or barred for equivocation."""


class UnknownSigner(BadStanding):
    """The key is of no authority or hub that the genesis names."""


class UnknownNeighbour(BadStanding):
    """The gateway is not in the roster of this building."""


class OtherBuilding(ChainError):
    """A neighbour's message is for another building."""


class BadRecord(ChainError):
    """An ordered record breaks a rule."""


class BadEvidence(ChainError):
    """Parts of an evidence file do not belong together."""
