"""Genesis: who may vouch for what in one chain, and the rules that need a number.

A chain is one genesis. Its hash is carried by every header, alarm and record, and is all that a verifier has to
trust: a `trust` file is the genesis bytes, or their hash as 64 hexadecimal digits, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

from gateway.chain.errors import FormatError, UnknownSigner, WrongChain, WrongShape
from gateway.chain.keys import GENESIS, SUITE, Signed, digest
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
    """A voter of the consensus engine (engine 2; none under engine 1)."""

    key: PublicKey
    power: Annotated[int, Range(1, 1 << 40)]


@dataclass(frozen=True, slots=True)
class Takeover(Record):
    """An embedded chain that this chain continues: its last seal's numbers, and its hub's closing signature."""

    genesis: Hash
    height: UInt
    app_hash: Hash
    signature: Signature


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
    epoch_changes: Annotated[int, Range(0, 1000)]
    epoch_window: Millis
    custodians: Annotated[int, Range(1, 64)]
    takeovers: Annotated[tuple[Takeover, ...], Many(0, 64)]

    def check(self, where: str) -> None:
        if self.suite != SUITE:
            raise WrongShape(f"{where}.suite: suite {self.suite} is not known to this software")
        if self.engine == EMBEDDED and (len(self.hubs) != 1 or self.validators):
            raise WrongShape(f"{where}: the embedded engine has exactly one hub and no validators")
        if self.engine == COMETBFT and not self.validators:
            raise WrongShape(f"{where}: the CometBFT engine needs validators")
        for part in (self.authorities, self.hubs, self.validators):
            if len({each.key for each in part}) != len(part):
                raise WrongShape(f"{where}: a key stands twice among its {len(part)} peers")

    @property
    def hash(self) -> bytes:
        """The identity of the chain (32 bytes)."""
        return _hash(self)

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
    text = data.strip()
    if len(text) == 64:
        try:
            return bytes.fromhex(text.decode("ascii")), None
        except ValueError:
            pass
    try:
        genesis = Genesis.decode(data)
    except FormatError as error:
        raise FormatError(
            f"a trust file is a genesis or its hash as 64 hexadecimal digits: {error}"
        ) from error
    return genesis.hash, genesis
