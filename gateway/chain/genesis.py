"""Genesis: who may vouch for what in one chain, and the rules that need a number.

A chain is one genesis. Its hash is carried by every header, alarm and record, and is all that a verifier has to
trust: a `trust` file is the genesis bytes, or their hash as 64 hexadecimal digits, and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Final

from gateway.chain.errors import (
    ChainError,
    FormatError,
    UnknownSigner,
    UnsupportedSuite,
    WrongChain,
    WrongShape,
)
from gateway.chain.keys import GENESIS, SUITE, TAKEOVER, Signed, digest
from gateway.chain.record import (
    Hash,
    Label,
    Many,
    Millis,
    Name,
    PublicKey,
    Range,
    Record,
    Signature,
    Suite,
    UInt,
)

EMBEDDED: Final = 1
COMETBFT: Final = 2
REGULATOR: Final = 1
AGENCY: Final = 2


@dataclass(frozen=True, slots=True)
class Authority(Record):
    """Whoever may issue tickets, sign contracts and revoke keys. Role 1 is the regulator, 2 an agency."""

    name: Name
    role: Annotated[int, Range(REGULATOR, AGENCY)]
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Hub(Record):
    """A region's hub: its key signs receipts, answers, commands and, under the embedded engine, seals."""

    name: Name
    agency: Name
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Validator(Record):
    """A voter of the consensus engine (engine 2; none under engine 1). The first is the first hub's, and so on."""

    key: PublicKey
    power: Annotated[int, Range(1, 1 << 40)]


@dataclass(frozen=True, slots=True)
class Takeover(Record):
    """An embedded chain that this chain continues: its last seal's numbers, and its hub's signature.

    The signature is over a `TakeoverBody` (domain `tocsin/takeover/v1`).
    """

    genesis: Hash
    height: UInt
    app_hash: Hash
    signature: Signature


@dataclass(frozen=True, slots=True)
class TakeoverBody(Record):
    """What the closing hub signs: its chain's genesis hash, last final height, application hash, and successor.

    `successor` is the hash (domain `tocsin/takeover/v1`) of the new genesis with no takeovers in it.
    """

    genesis: Hash
    height: UInt
    app_hash: Hash
    successor: Hash


@dataclass(frozen=True, slots=True)
class Genesis(Record):
    """The first document of a chain.

    `suite` is the hash suite of the whole chain. `epoch_changes` in `epoch_window` ms are free for a gateway,
    more need an authority's signature. `custodians` is k: the agencies whose receipts a gateway needs to prune.
    """

    version: Annotated[int, Range(1, 1)]
    suite: Suite
    engine: Annotated[int, Range(EMBEDDED, COMETBFT)]
    name: Label
    created: Millis
    authorities: Annotated[tuple[Authority, ...], Many(1, 64)]
    hubs: Annotated[tuple[Hub, ...], Many(1, 64)]
    validators: Annotated[tuple[Validator, ...], Many(0, 64)]
    epoch_changes: Annotated[int, Range(0, 512)]
    epoch_window: Millis
    custodians: Annotated[int, Range(1, 64)]
    takeovers: Annotated[tuple[Takeover, ...], Many(0, 64)]

    def check(self, where: str) -> None:
        if self.suite != SUITE:
            raise UnsupportedSuite(f"{where}.suite: suite {self.suite} is not known to this software")
        if self.engine == EMBEDDED and (len(self.hubs) != 1 or self.validators):
            raise WrongShape(f"{where}: the embedded engine has exactly one hub and no validators")
        if self.engine == COMETBFT and not 0 < len(self.validators) <= len(self.hubs):
            raise WrongShape(f"{where}: under CometBFT the first hubs are validators, one at least, one each")
        if {each.key for each in self.hubs} & {each.key for each in self.validators}:
            raise WrongShape(f"{where}: a key is a hub's and a validator's: they have separate fates")
        for part in (self.authorities, self.hubs, self.validators):
            if len({each.key for each in part}) != len(part):
                raise WrongShape(f"{where}: a key stands twice among its {len(part)} peers")
        for names in ([each.name for each in self.authorities], [each.name for each in self.hubs]):
            if len(set(names)) != len(names):
                raise WrongShape(f"{where}: a name stands twice among its {len(names)} peers")
        if all(each.role != REGULATOR for each in self.authorities):
            raise WrongShape(f"{where}.authorities: one of them has to be the regulator")
        if self.custodians > len({hub.agency for hub in self.hubs}):
            raise WrongShape(f"{where}.custodians: more than there are agencies with a hub")
        if len({each.genesis for each in self.takeovers}) != len(self.takeovers):
            raise WrongShape(f"{where}.takeovers: a chain is taken over once")

    @property
    def hash(self) -> bytes:
        """The identity of the chain (32 bytes)."""
        return _hash(self)

    @property
    def successor(self) -> bytes:
        """What a chain that is taken over signs for this one (32 bytes)."""
        return digest(TAKEOVER, replace(self, takeovers=()).encode())

    def authority(self, key: bytes) -> Authority:
        """Return the authority of a key. Raises UnknownSigner."""
        for each in self.authorities:
            if each.key == key:
                return each
        raise UnknownSigner(f"key {key.hex()[:16]} is of no authority that the genesis names")

    def hub(self, key: bytes) -> Hub:
        """Return the hub of a key. Raises UnknownSigner."""
        for each in self.hubs:
            if each.key == key:
                return each
        raise UnknownSigner(f"key {key.hex()[:16]} is of no hub that the genesis names")

    def verify_authority(self, domain: str, key: bytes, signed: Signed) -> bytes:
        """Return a body signed by one of the authorities. Raises UnknownSigner or BadSignature."""
        return signed.verify(domain, self.authority(key).key)

    def continues(self, genesis_hash: bytes) -> bool:
        """Tell whether this is the chain of that hash, or one that takes it over."""
        return genesis_hash == self.hash or any(each.genesis == genesis_hash for each in self.takeovers)

    def require(self, genesis_hash: bytes, what: str) -> None:
        """Check that a record belongs to this chain. Raises WrongChain."""
        if genesis_hash != self.hash:
            raise WrongChain(
                f"{what} belongs to chain {genesis_hash.hex()[:16]}, not to {self.hash.hex()[:16]}"
            )


@lru_cache(maxsize=16)
def _hash(genesis: Genesis) -> bytes:
    """Hash a genesis once: every header and record is held against it."""
    return digest(GENESIS, genesis.encode())


def read_trust(data: bytes) -> tuple[bytes, Genesis | None]:
    """Return the genesis hash that a trust file holds, and the genesis where it is there whole.

    Raises FormatError for anything that is neither.
    """
    if match := re.fullmatch(rb"\s*([0-9a-fA-F]{64})\s*", data):
        return bytes.fromhex(match[1].decode("ascii")), None
    try:
        genesis = Genesis.decode(data)
    except ChainError as error:
        raise FormatError(
            f"a trust file is a genesis or its hash as 64 hexadecimal digits: {error}"
        ) from error
    return genesis.hash, genesis
