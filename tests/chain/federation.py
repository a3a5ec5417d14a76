"""The example's chain goes on in a federation of four hubs, whose seals a real engine made.

The gateway comes over, moves, and seals under the new chain what it had recorded under the old one. The members
put another authority in office, which enrols a second gateway; they admit a fifth hub; the regulator suspends
one; a hub is summoned for a promise, and another is shown to have broken one. All is in one final block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256

from chain import examples, recorded
from chain.examples import GATEWAY, GID, HUB, REGULATOR_KEY, T0, Chain, Example, key

from gateway.chain.alarm import ALARMED, NORMAL, Alarm
from gateway.chain.block import NOTHING_SEEN, Block, Header, Seen, SegmentHead, list_catalogue, listing
from gateway.chain.custody import Promise, Receipt, issue_receipts
from gateway.chain.entries import (
    GatewayEntry,
    KeyEntry,
    KeySpan,
    ProposalEntry,
    SummonsEntry,
    TicketEntry,
    contracts_key,
    gateway_key,
    key_key,
    proposal_key,
    roster_key,
    summons_key,
    ticket_key,
)
from gateway.chain.evidence import AlarmPart, BlockPart, ContractPart, Evidence
from gateway.chain.finality import Checkpoint, Seal
from gateway.chain.genesis import AGENCY, COMETBFT, Authority, Genesis, Hub, Takeover, TakeoverBody
from gateway.chain.governance import (
    ADMIT,
    APPOINT,
    MEMBER_GOOD,
    ApprovalBody,
    JoinBody,
    Joining,
    Member,
    MisbehaviourRecord,
    ProposalBody,
    Roster,
    SuspensionBody,
    founding_roster,
)
from gateway.chain.keys import (
    APPROVAL,
    BLOCK,
    EPOCH,
    JOIN,
    NO_HASH,
    POSSESSION,
    PROPOSAL,
    RESPONSE,
    SUITE,
    SUMMONS,
    SUSPENSION,
    TAKEOVER,
    SigningKey,
    gateway_id,
)
from gateway.chain.leaf import (
    ALARMS,
    APPROVE,
    BREACH,
    CHANGE_EPOCH,
    ENROL,
    HEADERS,
    IMPORT,
    NO_GATEWAY,
    PROPOSE,
    RESPOND,
    SUMMON,
    SUSPEND,
)
from gateway.chain.ordered import (
    Alarms,
    Approve,
    Breach,
    Enrol,
    EpochOrder,
    Headers,
    Import,
    Propose,
    Respond,
    Summon,
    Suspend,
    Transaction,
)
from gateway.chain.possession import (
    HELD,
    LACKED,
    BodyRequest,
    Challenge,
    Possession,
    ResponseBody,
    SummonsBody,
    possession_proof,
)
from gateway.chain.reading import (
    PUBLIC,
    build_segment,
    open_segment,
    reading_leaf,
    segment_hash,
    transition_leaf,
)
from gateway.chain.tenure import Enrolment, EpochChange, EpochChangeBody, Position, Ticket

HUB_KEYS = (HUB, key("hub 2"), key("hub 3"), key("hub 4"))
FIFTH, FIFTH_VALIDATOR = key("hub 5"), key("validator 5")
NEW_AUTHORITY, NEW_TICKET, NEWCOMER = key("authority 2"), key("ticket 2"), key("gateway 2")
NEW_ID = gateway_id(NEWCOMER.public)
AGENCIES = ("city-fire", "gas-inspection", "housing", "water-works")
START = T0 + 3_600_000
LATER = START + 60_000
NONCE = sha256(b"tocsin example challenge").digest()


@cache
def old() -> Example:
    return examples.build()


@cache
def genesis() -> Genesis:
    """The federation's genesis, with the closed chain in it."""
    chain = old().chain
    hubs = tuple(Hub(f"hub-{i}", AGENCIES[i - 1], each.public) for i, each in enumerate(HUB_KEYS, 1))
    founded = replace(
        chain.genesis,
        engine=COMETBFT,
        name="Example federation",
        created=START,
        hubs=hubs,
        validators=recorded.validators(),
        custodians=2,
    )
    body = TakeoverBody(chain.genesis.hash, chain.height, chain.app.hash, founded.successor)
    signature = HUB.sign(TAKEOVER, body.encode())
    return replace(founded, takeovers=(Takeover(body.genesis, body.height, body.app_hash, signature),))


@dataclass
class Federation:
    """Everything the federation's example made, by name."""

    chain: Chain
    imported: Import
    moved: EpochChange
    alarm: Alarm
    block: Block
    appointment: Propose
    appointing: tuple[Approve, ...]
    enrolment: Enrolment
    newcomers_block: Block
    admission: Propose
    admitting: tuple[Approve, ...]
    suspension: Suspend
    roster: Roster
    receipt: Receipt
    summons: Summon
    response: Respond
    breach: Breach


def make_block(
    doc: Genesis,
    signer: SigningKey,
    at: tuple[int, int, bytes],
    leaves: list[bytes],
    seen: Seen = NOTHING_SEEN,
) -> Block:
    """A public block at (epoch, height) after the one of the hash given."""
    epoch, height, previous = at
    data = build_segment(PUBLIC, b"", leaves)
    head = SegmentHead(PUBLIC, len(leaves), open_segment(PUBLIC, data).root, segment_hash(data), 0)
    header = Header(
        genesis=doc.hash,
        gateway=gateway_id(signer.public),
        epoch=epoch,
        height=height,
        previous=previous,
        boot=examples.BOOT,
        wall=LATER,
        mono=100_000,
        span=1000,
        clock=1,
        catalogue=list_catalogue(examples.CATALOGUE),
        contracts=listing([examples.DOCUMENT]),
        seen=seen,
        segments=(head,),
    ).encode()
    return Block(SUITE, header, signer.sign(BLOCK, header), (data,))


def propose(signer: SigningKey, **fields: object) -> Propose:
    """A proposal by a hub, with what its action is about."""
    nothing: dict[str, object] = {"joining": None, "authority": None, "name": "", "reason": "as agreed"}
    body = ProposalBody(
        genesis=genesis().hash,
        proposer=signer.public,
        time=LATER,
        not_after=LATER + 7 * 86_400_000,
        **(nothing | fields),  # type: ignore[arg-type]
    )
    return Propose(signer.signed(PROPOSAL, body.encode()))


def approve(signer: SigningKey, proposal: Propose) -> Approve:
    body = ApprovalBody(genesis().hash, signer.public, proposal.hash)
    return Approve(signer.signed(APPROVAL, body.encode()))


def join(
    name: str, agency: str, hub: SigningKey, validator: SigningKey | None, power: int, chain: bytes
) -> Joining:
    """A hub's word that it would be a member."""
    public = validator.public if validator else b""
    body = JoinBody(chain, name, agency, hub.public, public, power, LATER).encode()
    return Joining(SUITE, body, hub.sign(JOIN, body), validator.sign(JOIN, body) if validator else b"")


def misbehaviour() -> MisbehaviourRecord:
    """What the engine would tell of the fourth validator, had it voted twice."""
    return MisbehaviourRecord(sha256(genesis().validators[3].key).digest()[:20], 7, 1)


def body_request() -> BodyRequest:
    """Hub 3 asks hub 1 for the public and internal segments of the block that moved."""
    made, asker = build(), HUB_KEYS[2].public
    return BodyRequest(genesis().hash, asker, HUB.public, (made.block.hash,), 0b011, LATER + 500)


def challenge() -> Challenge:
    """Hub 2 asks hub 3 to show that it holds what it promised; the answer is the lack in the breach."""
    made = build()
    return Challenge(
        genesis().hash,
        HUB_KEYS[1].public,
        HUB_KEYS[2].public,
        made.breach.receipt.promise,
        NONCE,
        LATER + 1500,
    )


def suspend(signer: SigningKey, name: str) -> Suspend:
    body = SuspensionBody(genesis().hash, signer.public, name, "its machine was found open", LATER)
    return Suspend(signer.signed(SUSPENSION, body.encode()))


@cache
def build() -> Federation:
    """Make the whole example. The same bytes at every call."""
    doc, chain = genesis(), Chain(genesis())
    imported, moved, alarm, block = _move(doc, chain)
    appointment = propose(
        HUB_KEYS[1], action=APPOINT, authority=Authority("civil-defence", AGENCY, NEW_AUTHORITY.public)
    )
    appointing = _settle(chain, appointment, HUB_KEYS[2:])
    enrolment, newcomers_block = _enrol(doc, chain)
    joining = join("hub-5", "civil-defence", FIFTH, FIFTH_VALIDATOR, 10, doc.hash)
    admission = propose(HUB, action=ADMIT, joining=joining)
    admitting = _settle(chain, admission, HUB_KEYS[1:3])
    suspension = suspend(REGULATOR_KEY, "hub-4")
    chain.accept(SUSPEND, suspension.hash, gateway=NO_GATEWAY)
    receipt, summons, response, breach = _call_to_account(doc, chain, block)
    roster = _roster(doc)
    chain.put(roster_key(), roster.encode())
    return Federation(
        chain, imported, moved, alarm, block, appointment, appointing, enrolment, newcomers_block, admission,
        admitting, suspension, roster, receipt, summons, response, breach,
    )  # fmt: skip


def _move(doc: Genesis, chain: Chain) -> tuple[Import, EpochChange, Alarm, Block]:
    """The gateway's entry comes over, closes its old head, and its latest transition is sealed again."""
    before = old()
    shown = before.chain.shown
    imported = Import(
        before.chain.genesis.hash, before.chain.app, GID, shown(gateway_key(GID)), shown(contracts_key(GID))
    )
    entry = GatewayEntry.decode(imported.entry.value)
    chain.accept(IMPORT, imported.hash)
    body = EpochChangeBody(doc.hash, GID, examples.BOOT, entry.epoch + 1, entry.head, (), 4).encode()
    moved = EpochChange(SUITE, body, GATEWAY.sign(EPOCH, body), b"", b"")
    opened = chain.accept(CHANGE_EPOCH, moved.hash)
    ended = replace(before.transition, counter=2, before=ALARMED, after=NORMAL, wall=T0 + 50_000, mono=90_000)
    alarm = Alarm.sign(GATEWAY, ended.encode())
    chain.accept(ALARMS, alarm.hash)
    leaves = [reading_leaf(0, 0, 398), transition_leaf(ended.encode()), reading_leaf(0, 1000, 401)]
    seen = Seen(
        1, 2, sha256(b"tocsin example seal").digest()
    )  # over the epoch change; the file does not hold it
    block = make_block(doc, GATEWAY, (3, 2, entry.head.hash), leaves, seen)
    chain.accept(HEADERS, block.hash, 3, 2)
    chain.put(key_key(GID, GATEWAY.public), KeyEntry(GID, GATEWAY.public, 1, IMPORT, imported.hash).encode())
    now = replace(
        entry, standing=0, epoch=3, head=Position(3, 2, block.hash), opened_at=opened, mono=101_000, seen=1,
        epochs=(LATER,),
    )  # fmt: skip
    chain.put(gateway_key(GID), now.encode())
    return imported, moved, alarm, block


def _settle(chain: Chain, proposal: Propose, approvers: tuple[SigningKey, ...]) -> tuple[Approve, ...]:
    """A proposal and as many approvals as put it in force."""
    chain.accept(PROPOSE, proposal.hash, gateway=NO_GATEWAY)
    approvals = tuple(approve(each, proposal) for each in approvers)
    for each in approvals:
        chain.accept(APPROVE, each.hash, gateway=NO_GATEWAY)
    proposer = ProposalBody.decode(proposal.proposal.body).proposer
    keys = (proposer, *(each.public for each in approvers))
    chain.put(proposal_key(proposal.hash), ProposalEntry(proposal.proposal.encode(), keys, 1).encode())
    return approvals


def _enrol(doc: Genesis, chain: Chain) -> tuple[Enrolment, Block]:
    """The authority that consensus put in office lets a second gateway in."""
    ticket = Ticket(doc.hash, NEW_AUTHORITY.public, NEW_TICKET.public, "south", LATER + 86_400_000)
    enrolment = examples.enrol(NEW_AUTHORITY, ticket, NEW_TICKET, NEWCOMER, "Example Street 2, cellar")
    opened = chain.accept(ENROL, enrolment.hash, gateway=NEW_ID)
    block = make_block(doc, NEWCOMER, (1, 1, NO_HASH), [reading_leaf(0, 0, 20), reading_leaf(0, 1000, 21)])
    chain.accept(HEADERS, block.hash, 1, 1, gateway=NEW_ID)
    chain.put(ticket_key(NEW_TICKET.public), TicketEntry(NEW_ID).encode())
    begin = KeyEntry(NEW_ID, NEWCOMER.public, 1, ENROL, enrolment.hash)
    chain.put(key_key(NEW_ID, NEWCOMER.public), begin.encode())
    head = Position(1, 1, block.hash)
    spans = (KeySpan(NEWCOMER.public, 1),)
    entry = GatewayEntry("south", spans, 0, 1, head, opened, examples.BOOT, 101_000, 0, ())
    chain.put(gateway_key(NEW_ID), entry.encode())
    return enrolment, block


def _call_to_account(doc: Genesis, chain: Chain, block: Block) -> tuple[Receipt, Summon, Respond, Breach]:
    """Hub 2 summons hub 1, which holds the body; hub 3 has signed that it lacks what it promised."""
    promise = Promise(GID, 3, 2, block.hash, 1, LATER + 365 * 86_400_000)
    receipt = issue_receipts(HUB, doc.hash, [promise], LATER)[0]
    summons_body = SummonsBody(doc.hash, HUB_KEYS[1].public, receipt, LATER + 1000)
    summons = Summon(HUB_KEYS[1].signed(SUMMONS, summons_body.encode()), LATER + 1000)
    proof = possession_proof(summons.hash, block.segments)
    answer = ResponseBody(doc.hash, HUB.public, summons.hash, HELD, proof)
    response = Respond(HUB.signed(RESPONSE, answer.encode()))
    broken = issue_receipts(HUB_KEYS[2], doc.hash, [promise], LATER)[0]
    lack = Possession(doc.hash, HUB_KEYS[2].public, promise, NONCE, LACKED, NO_HASH, LATER + 2000)
    breach = Breach(broken, HUB_KEYS[2].signed(POSSESSION, lack.encode()).encode(), b"", LATER + 3000)
    chain.accept(SUMMON, summons.hash)
    chain.accept(RESPOND, response.hash, gateway=NO_GATEWAY)
    chain.accept(BREACH, breach.hash)
    over = Breach(receipt, b"", summons.hash, LATER).hash
    held = SummonsEntry(HUB.public, over, summons.time, HELD, response.hash)
    chain.put(summons_key(summons.hash), held.encode())
    return receipt, summons, response, breach


def _roster(doc: Genesis) -> Roster:
    """What came of it all: an authority and a member more, one vote less, one promise broken."""
    founded = founding_roster(doc)
    appointed = Authority("civil-defence", AGENCY, NEW_AUTHORITY.public)
    one, two, three, four = founded.members
    fifth = Member("hub-5", "civil-defence", FIFTH.public, FIFTH_VALIDATOR.public, 10, MEMBER_GOOD, 0)
    members = (one, two, replace(three, breaches=1), replace(four, power=0, standing=SUSPEND), fifth)
    return Roster(4, (*founded.authorities, appointed), members)


def transactions() -> tuple[Transaction, ...]:
    """Everything of the example in the order of its log, fit for one final block at LATER + 3000."""
    made = build()
    return (
        made.imported, EpochOrder(made.moved, LATER), Alarms((made.alarm,)), Headers((made.block.signed,)),
        made.appointment, *made.appointing, Enrol(made.enrolment), Headers((made.newcomers_block.signed,)),
        made.admission, *made.admitting, made.suspension, made.summons, made.response, made.breach,
    )  # fmt: skip


def moved_evidence(seal: Seal) -> Evidence:
    """The transition of before the move, in its block and as an alarm, under a seal of the recorded engine."""
    made = build()
    checkpoint = Checkpoint(made.chain.app, seal)
    document = examples.DOCUMENT
    part = BlockPart(
        header=made.block.signed,
        leaf=examples.leaf_part(made.block, 0, 1),
        series=None,
        contracts=(ContractPart(0, document, ()),),
        finality=made.chain.proof(3, checkpoint),
        seen=None,
    )
    raised = AlarmPart(made.alarm, document, made.chain.proof(2, checkpoint))
    standing = examples.standing(made.chain, made.imported.encode(), checkpoint)
    return Evidence(1, made.chain.genesis, part, raised, standing)


def newcomer_evidence(seal: Seal, *, roster: bool = True) -> Evidence:
    """A reading of the gateway that a later authority let in."""
    made = build()
    checkpoint = Checkpoint(made.chain.app, seal)
    part = BlockPart(
        header=made.newcomers_block.signed,
        leaf=examples.leaf_part(made.newcomers_block, 0, 1),
        series=examples.series_part(0),
        contracts=(),
        finality=made.chain.proof(8, checkpoint),
        seen=None,
    )
    standing = examples.standing(made.chain, made.enrolment.encode(), checkpoint, NEWCOMER, roster=roster)
    return Evidence(1, made.chain.genesis, part, None, standing)
