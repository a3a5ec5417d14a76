"""What real engines decided and sealed audits as ok on every hub, through a change of voters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fedkit
from comets import Federation, until
from fleet import DAY_MS, seeded

from gateway.chain.block import Header
from gateway.chain.governance import ADMIT, ApprovalBody, JoinBody, Joining, ProposalBody
from gateway.chain.keys import APPROVAL, JOIN, PROPOSAL, SUITE, SigningKey
from gateway.chain.ordered import Approve, Propose, encode_transaction
from gateway.chain.verify import open_block
from hub.auditing.audit import audit
from hub.storage.store import NewBlock


def admit_a_fifth(federation: Federation) -> list[bytes]:
    """Return a proposal to admit a voter that is not there yet, with the approvals it needs."""
    key, vote, now = SigningKey(seeded("fifth")), SigningKey(seeded("fifth vote")), federation.fleet.now
    genesis = federation.genesis.hash
    said = JoinBody(genesis, "hub-4", "agency-4", key.public, vote.public, 1, now).encode()
    joining = Joining(SUITE, said, key.sign(JOIN, said), vote.sign(JOIN, said))
    first, *others = federation.keys[:3]
    body = ProposalBody(genesis, first.public, ADMIT, joining, None, "", "", now, now + DAY_MS).encode()
    proposal = encode_transaction(Propose(first.signed(PROPOSAL, body)))
    approvals = [
        each.signed(APPROVAL, ApprovalBody(genesis, each.public, fedkit.tx_hash(proposal)).encode())
        for each in others
    ]
    return [proposal, *(encode_transaction(Approve(each)) for each in approvals)]


def test_a_chain_of_real_engines_audits_as_ok(tmp_path: Path, require: Callable[[str], Path]) -> None:
    federation = Federation(tmp_path, str(require("cometbft")))
    fleet, members = federation.fleet, federation.members

    def order(*txs: bytes) -> None:
        for place, tx in enumerate(txs):
            members[place].comet.submit(tx)
            until(lambda tx=tx: all(any(tx in e.block.txs for e in m.events) for m in members))  # type: ignore[misc]

    try:
        federation.start()
        gateway = fleet.gateway("a")
        order(fleet.order_enrolment(gateway.enrol()))
        block = gateway.block()
        header = Header.decode(block.header)
        opened = open_block(block, header, gateway.classes, federation.genesis)
        for member in members:
            member.store.library.add_catalogue(gateway.catalogue)
            member.store.library.add_contracts(gateway.documents)
            member.store.add_blocks([NewBlock(block, header, opened, fleet.now)])
        order(fleet.order_headers(block), *admit_a_fifth(federation))
        until(lambda: all(member.store.chain.steps() for member in members))
    finally:
        federation.close()
    for member in members:
        (member.directory / "genesis.cbor").write_bytes(federation.genesis.encode())
        report = audit(member.directory)
        assert (report.faults, report.blocks) == ([], 1)
        assert report.height == member.height
