"""A federation without engines and network: what its members sign, and one hub that seals as CometBFT does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fleet import DAY_MS, Fleet, seeded
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from gateway.chain.cometbft import (
    CometHeader,
    CometSeal,
    Commit,
    Precommit,
    Step,
    _block_id,
    _vote,
    chain_id,
    in_order,
    validators_hash,
)
from gateway.chain.custody import Promise, Receipt, issue_receipts
from gateway.chain.finality import Checkpoint, Seal
from gateway.chain.genesis import AGENCY, COMETBFT, Authority, Genesis, Takeover, Validator
from gateway.chain.genesis import Hub as HubEntry
from gateway.chain.governance import (
    ADMIT,
    APPOINT,
    CHANGE,
    DISMISS,
    REMOVE,
    ApprovalBody,
    JoinBody,
    Joining,
    ProposalBody,
    Roster,
    SuspensionBody,
)
from gateway.chain.keys import (
    APPROVAL,
    JOIN,
    NO_HASH,
    POSSESSION,
    PROPOSAL,
    RESPONSE,
    SUITE,
    SUMMONS,
    SUSPENSION,
    SigningKey,
)
from gateway.chain.ordered import (
    Approve,
    Breach,
    Propose,
    Respond,
    Summon,
    Suspend,
    decode_transaction,
    encode_transaction,
)
from gateway.chain.possession import HELD, LACKED, Possession, ResponseBody, SummonsBody
from gateway.chain.trees import EMPTY_ROOT, leaf_hash, root_of
from hub.consensus.base import FinalBlock, Misbehaviour, Result, tx_id
from hub.ledger.ledger import Ledger
from hub.storage.store import Store

POWER = 10


class Federation:
    """`size` hubs of as many agencies, by number. `fleet` has its gateways, authorities and clock."""

    def __init__(self, size: int = 4, readers: int = 0, fleet: Fleet | None = None) -> None:
        self.fleet = fleet or Fleet()
        hubs = tuple(HubEntry(self.name(i), f"agency-{i}", self.key(i).public) for i in range(size + readers))
        voters = tuple(Validator(self.vote(i).public, POWER) for i in range(size))
        self.fleet.genesis = replace(self.fleet.genesis, engine=COMETBFT, hubs=hubs, validators=voters)

    @property
    def genesis(self) -> Genesis:
        return self.fleet.genesis

    def take_over(self, *takeovers: Takeover) -> None:
        self.fleet.genesis = replace(self.genesis, takeovers=takeovers)

    @staticmethod
    def name(place: int) -> str:
        return f"hub-{place}"

    @staticmethod
    def key(place: int) -> SigningKey:
        return SigningKey(seeded("hub key", place))

    @staticmethod
    def vote(place: int, turn: int = 0) -> SigningKey:
        """The key of a member's validator; `turn` counts replacements."""
        return SigningKey(seeded("validator key", place, turn))

    @staticmethod
    def address(place: int) -> bytes:
        return tx_id(Federation.vote(place).public)[:20]

    # what members sign

    def joining(
        self, place: int, power: int = POWER, *, agency: str = "", turn: int = 0, genesis: bytes = b""
    ) -> Joining:
        """Return a member's word about itself, with the validator key of a turn."""
        vote = self.vote(place, turn) if power else None
        body = JoinBody(
            genesis or self.genesis.hash,
            self.name(place),
            agency or f"agency-{place}",
            self.key(place).public,
            vote.public if vote else b"",
            power,
            self.fleet.now,
        ).encode()
        return Joining(SUITE, body, self.key(place).sign(JOIN, body), vote.sign(JOIN, body) if vote else b"")

    def propose(self, by: int, action: int, **what: object) -> bytes:
        """Return a proposal's transaction; `what` replaces fields of its body."""
        self.fleet.now += 1
        body = ProposalBody(
            self.genesis.hash,
            self.key(by).public,
            action,
            None,
            None,
            "",
            "as agreed",
            self.fleet.now,
            self.fleet.now + DAY_MS,
        )
        signed = self.key(by).signed(PROPOSAL, replace(body, **what).encode())  # type: ignore[arg-type]
        return encode_transaction(Propose(signed))

    def admit(self, by: int, place: int, **how: object) -> bytes:
        return self.propose(by, ADMIT, joining=self.joining(place, **how))  # type: ignore[arg-type]

    def change(self, by: int, place: int, **how: object) -> bytes:
        return self.propose(by, CHANGE, joining=self.joining(place, **how))  # type: ignore[arg-type]

    def remove(self, by: int, place: int) -> bytes:
        return self.propose(by, REMOVE, name=self.name(place))

    def appoint(self, by: int, name: str, key: SigningKey, role: int = AGENCY) -> bytes:
        return self.propose(by, APPOINT, authority=Authority(name, role, key.public))

    def dismiss(self, by: int, name: str) -> bytes:
        return self.propose(by, DISMISS, name=name)

    def approve(self, by: int, proposal: bytes) -> bytes:
        """Return a member's approval of a proposal's transaction."""
        body = ApprovalBody(self.genesis.hash, self.key(by).public, tx_hash(proposal)).encode()
        return encode_transaction(Approve(self.key(by).signed(APPROVAL, body)))

    def suspend(self, place: int, by: SigningKey | None = None) -> bytes:
        by = by or self.fleet.regulator
        body = SuspensionBody(
            self.genesis.hash, by.public, self.name(place), "under inquiry", self.fleet.now
        ).encode()
        return encode_transaction(Suspend(by.signed(SUSPENSION, body)))

    def receipt(self, place: int, height: int = 1, keep_ms: int = DAY_MS) -> Receipt:
        """Return a member's promise to keep a block."""
        promise = Promise(bytes(16), 1, height, seeded("block", height), 1, self.fleet.now + keep_ms)
        return issue_receipts(self.key(place), self.genesis.hash, [promise], self.fleet.now)[0]

    def summon(self, by: int, receipt: Receipt, time: int = 0) -> bytes:
        body = SummonsBody(self.genesis.hash, self.key(by).public, receipt, self.fleet.now).encode()
        return encode_transaction(Summon(self.key(by).signed(SUMMONS, body), time or self.fleet.now))

    def respond(self, by: int, summons: bytes, says: int = HELD, proof: bytes | None = None) -> bytes:
        proof = (seeded("proof") if says == HELD else NO_HASH) if proof is None else proof
        body = ResponseBody(self.genesis.hash, self.key(by).public, tx_hash(summons), says, proof).encode()
        return encode_transaction(Respond(self.key(by).signed(RESPONSE, body)))

    def lack(self, by: int, receipt: Receipt, time: int = 0, says: int = LACKED) -> bytes:
        """Return a breach shown by a member's signed word that it lacks what it promised."""
        body = Possession(
            self.genesis.hash,
            self.key(by).public,
            receipt.promise,
            seeded("nonce"),
            says,
            NO_HASH,
            time or self.fleet.now,
        ).encode()
        lack = self.key(by).signed(POSSESSION, body).encode()
        return encode_transaction(Breach(receipt, lack, b"", self.fleet.now))

    def unanswered(self, receipt: Receipt, summons: bytes, time: int = 0) -> bytes:
        """Return a breach shown by a summons."""
        return encode_transaction(Breach(receipt, b"", tx_hash(summons), time or self.fleet.now))


def tx_hash(tx: bytes) -> bytes:
    """Return the hash of the one record in a transaction."""
    identity: bytes = decode_transaction(tx).hash  # type: ignore[union-attr]
    return identity


class SealingHub:
    """One hub's directory; its final blocks are sealed by the validators as CometBFT would."""

    def __init__(self, directory: Path, federation: Federation) -> None:
        self.federation, self.directory = federation, directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "genesis.cbor").write_bytes(federation.genesis.encode())
        self.store = Store(directory / "ledger.db")
        try:
            self.ledger = Ledger(federation.genesis, self.store.chain)
            self.ledger.genesis(federation.genesis.encode())
        except BaseException:
            self.store.close()
            raise
        self.voters = [in_order(federation.genesis.validators)] * 2  # of the next header and the one after
        self.hash = seeded("the engine's first header")
        self.signers = {
            federation.vote(place, turn).public: federation.vote(place, turn)
            for place in range(10)
            for turn in range(2)
        }

    @property
    def genesis(self) -> Genesis:
        return self.federation.genesis

    @property
    def roster(self) -> Roster:
        return self.ledger.committed.roster(self.genesis)

    @property
    def height(self) -> int:
        return self.ledger.committed.height

    @property
    def checkpoint(self) -> Checkpoint:
        found = self.store.chain.checkpoint()
        assert found is not None
        return found

    def order(self, *txs: bytes, caught: Sequence[Misbehaviour] = ()) -> Result:
        """Make a final block of these transactions, and the empty one that brings its seal."""
        result = self.decide(txs, caught)
        self.decide(())
        return result

    def decide(self, txs: Sequence[bytes], caught: Sequence[Misbehaviour] = ()) -> Result:
        """Make one final block, whose header seals the one before."""
        height = self.height + 1
        self.federation.fleet.now += 1000
        time = self.genesis.created if height == 1 else self.federation.fleet.now
        if height > 1:
            header = self.header(height, time, txs, caught)
            commit = self.commit(header)
            if header.next_validators != header.validators:
                self.store.chain.add_step(Step(header, commit, tuple(self.voters[1])))
            self.store.chain.add_seal(height - 1, Seal(COMETBFT, CometSeal((), header, commit).encode()))
            self.hash = header.hash
        result = self.ledger.finalize(FinalBlock(height, time, self.hash, tuple(txs), tuple(caught)))
        self.ledger.commit()
        powers = {each.key: each.power for each in self.voters[1]}
        powers |= {each.key: each.power for each in result.validator_updates}
        following = in_order([Validator(key, power) for key, power in powers.items() if power])
        self.voters = [self.voters[1], following]
        return result

    def header(
        self, height: int, time: int, txs: Sequence[bytes], caught: Sequence[Misbehaviour]
    ) -> CometHeader:
        now, after = self.voters
        return CometHeader(
            11,
            1,
            chain_id(self.genesis.hash),
            height,
            time // 1000,
            time % 1000 * 1_000_000,
            self.hash,
            1,
            seeded("parts", height - 1),
            seeded("commit", height - 1),
            root_of([leaf_hash(tx_id(tx)) for tx in txs]),
            validators_hash(now),
            validators_hash(after),
            seeded("parameters"),
            self.ledger.committed.app.hash,
            seeded("results", height - 1),
            seeded("evidence") if caught else EMPTY_ROOT,
            tx_id(now[0].key)[:20],
        )

    def commit(self, header: CometHeader) -> Commit:
        parts = seeded("parts", header.height)
        block_id, votes = _block_id(header.hash, 1, parts), []
        for place, voter in enumerate(self.voters[0]):
            vote = Precommit(place, header.seconds + 1, 0, bytes(64))
            _, secret = crypto_sign_seed_keypair(self.signers[voter.key].seed)
            signature = crypto_sign(_vote(header, 0, block_id, vote), secret)[:64]
            votes.append(replace(vote, signature=signature))
        return Commit(0, 1, parts, tuple(votes))

    def close(self) -> None:
        self.store.close()


def agreed(federation: Federation, proposal: bytes, *by: int) -> tuple[bytes, ...]:
    """Return a proposal with the approvals that put it in force, of members 1 and 2 unless `by` says otherwise."""
    return (proposal, *(federation.approve(each, proposal) for each in by or (1, 2)))
