"""Finality: that an item was accepted, shown by its leaf, the log's root, the application hash and a seal.

The application hash of final block H commits to the log and the state as they stand after H. A seal is what
the consensus engine says over that hash: one hub's signature under the embedded engine, or CometBFT's header
H+1 with its commit. Whatever the engine, one proof form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from gateway.chain.cometbft import CometSeal, Known, verify_comet_seal
from gateway.chain.errors import BadProof
from gateway.chain.genesis import COMETBFT, EMBEDDED, Genesis
from gateway.chain.keys import APP, SEAL, Signed, SigningKey, digest
from gateway.chain.leaf import LogLeaf
from gateway.chain.record import Blob, Hash, Millis, Range, Record, UInt
from gateway.chain.state import StateProof
from gateway.chain.trees import Path, leaf_hash, root_from_inclusion


@dataclass(frozen=True, slots=True)
class AppState(Record):
    """What an application hash commits to: the log's size and root, and the state tree's root."""

    log_size: UInt
    log_root: Hash
    state_root: Hash

    @property
    def hash(self) -> bytes:
        """The application hash (32 bytes)."""
        return digest(APP, self.encode())


@dataclass(frozen=True, slots=True)
class EmbeddedSeal(Record):
    """The body that the one hub of the embedded engine signs for final block `height` (domain `tocsin/seal/v1`).

    `time` is the final block's time in Unix ms; it never goes back.
    """

    genesis: Hash
    height: UInt
    time: Millis
    app_hash: Hash


@dataclass(frozen=True, slots=True)
class Seal(Record):
    """The engine's word for an application hash.

    Engine 1: `data` is a Signed `EmbeddedSeal`. Engine 2: `data` is a `CometSeal`.
    """

    engine: Annotated[int, Range(EMBEDDED, COMETBFT)]
    data: Blob

    @classmethod
    def embedded(cls, key: SigningKey, body: EmbeddedSeal) -> Seal:
        """Seal a final block as the one hub of the embedded engine."""
        return cls(EMBEDDED, key.signed(SEAL, body.encode()).encode())


@dataclass(frozen=True, slots=True)
class Sealed:
    """A seal that was verified: final block, its time (Unix ms), application hash, and the seal's own hash.

    `known` is what a reader may remember, so that later seals need not show it every change of the validators.
    """

    height: int
    time: int
    app_hash: bytes
    hash: bytes
    engine: int
    known: Known | None = None

    @property
    def word(self) -> str:
        """Whose word the time is."""
        return "by one hub's word" if self.engine == EMBEDDED else "median of the validators' clocks"


def verify_seal(seal: Seal, genesis: Genesis, known: Known | None = None) -> Sealed:
    """Return what a seal says once it holds under the genesis, and what is known besides. Raises ChainError.

    A seal that shows all changes of the validators holds without `known`, a compact one only with it.
    """
    if seal.engine != genesis.engine:
        raise BadProof(f"a seal of engine {seal.engine} cannot stand in a chain of engine {genesis.engine}")
    if seal.engine == COMETBFT:
        return _verify_comet(seal.data, genesis, known)
    body = Signed.decode(seal.data).verify(SEAL, genesis.hubs[0].key)
    said = EmbeddedSeal.decode(body)
    genesis.require(said.genesis, "the seal")
    return Sealed(said.height, said.time, said.app_hash, digest(SEAL, body), EMBEDDED)


@lru_cache(maxsize=32)
def _verify_comet(data: bytes, genesis: Genesis, known: Known | None) -> Sealed:
    """Verify each seal once: its many signatures take long, and several proofs of one file rest on it."""
    header, behind = verify_comet_seal(CometSeal.decode(data), genesis, known)
    return Sealed(header.height - 1, header.time, header.app_hash, header.hash, COMETBFT, behind)


@dataclass(frozen=True, slots=True)
class Checkpoint(Record):
    """The log and state of one final block under its seal. Kept elsewhere, it binds the hub to its history."""

    app: AppState
    seal: Seal

    def verify(self, genesis: Genesis, known: Known | None = None) -> Sealed:
        """Return the seal's word once both parts belong together. Raises ChainError."""
        sealed = verify_seal(self.seal, genesis, known)
        if sealed.app_hash != self.app.hash:
            raise BadProof("a seal is over another application hash than the one beside it")
        return sealed


@dataclass(frozen=True, slots=True)
class FinalityProof(Record):
    """That a leaf stands at `index` of the log of a sealed final block: acceptance, not mere presence."""

    index: UInt
    path: Path
    checkpoint: Checkpoint

    def verify(self, leaf: LogLeaf, genesis: Genesis, known: Known | None = None) -> Sealed:
        """Return the seal's word once the leaf is shown accepted. Raises ChainError."""
        app = self.checkpoint.app
        root = root_from_inclusion(leaf_hash(leaf.encode()), self.index, app.log_size, self.path)
        if root != app.log_root:
            raise BadProof("a finality proof does not lead to the log's root")
        return self.checkpoint.verify(genesis, known)


@dataclass(frozen=True, slots=True)
class Entry(Record):
    """A state entry's value with the proof of its presence, or the proof of absence beside an empty value."""

    value: Blob
    proof: StateProof

    def holds(self, app: AppState, key: bytes) -> bytes | None:
        """Return the value (None: absent) once the proof holds. Raises BadProof."""
        value = self.value or None
        self.proof.holds(app.state_root, key, value)
        return value
