"""The generated parts of FORMAT.md: field tables from the record types, and annotated bytes of the example.

`python tests/chain/format_doc.py` rewrites them in place, and the golden vectors beside; a test compares.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cbor2

sys.path.insert(0, str(Path(__file__).parents[1]))

from chain import examples, federation, recorded

from gateway.chain import (
    alarm,
    block,
    ceremony,
    cometbft,
    custody,
    entries,
    events,
    evidence,
    finality,
    genesis,
    governance,
    keys,
    leaf,
    messages,
    neighbour,
    ordered,
    possession,
    reading,
    standing,
    state,
    tenure,
    workmanship,
)
from gateway.chain.record import Many, Maybe, Nested, Octets, Range, Record, Text, shape

ROOT = Path(__file__).parents[2]
FORMAT = ROOT / "gateway" / "chain" / "FORMAT.md"
VECTORS = ROOT / "tests" / "vectors" / "format.json"
MODULES = {
    each.__name__.rsplit(".", 1)[1]: each
    for each in (
        alarm,
        block,
        ceremony,
        cometbft,
        custody,
        entries,
        events,
        evidence,
        finality,
        genesis,
        governance,
        keys,
        leaf,
        messages,
        neighbour,
        ordered,
        possession,
        reading,
        standing,
        state,
        tenure,
        workmanship,
    )
}


def describe(codec: object) -> str:
    """Name what a field may hold."""
    match codec:
        case Range(low, high):
            if (low, high) == (-(2**63), 2**63 - 1):
                return "int"
            return "uint" if (low, high) == (0, 2**63 - 1) else f"int {low}..{high}"
        case Octets(low, high):
            return f"bytes {low}" if low == high else f"bytes {low}..{high}"
        case Text(limit, pattern):
            return f"text ≤{limit}" + (f" `{pattern}`" if pattern else "")
        case Many(low, high, each):
            return f"[{low}..{high} of {describe(each)}]"
        case Nested(record):
            return record.__name__
        case Maybe(record):
            return f"{record.__name__} or []"
    raise AssertionError(codec)


def tables(module: str) -> str:
    """Render the field table of every record of a module."""
    found = [
        each
        for each in vars(MODULES[module]).values()
        if isinstance(each, type) and issubclass(each, Record) and each is not Record
        and each.__module__ == MODULES[module].__name__
    ]  # fmt: skip
    lines = []
    for record in found:
        doc = " ".join((record.__doc__ or "").split())
        lines.append(f"**{record.__name__}**: {doc}\n")
        lines.append("| # | field | holds |\n|---|---|---|")
        rows = ((i, name, describe(codec)) for i, (name, codec) in enumerate(shape(record)))
        lines.append(
            "\n".join(f"| {i} | `{name}` | {text.replace('|', chr(92) + '|')} |" for i, name, text in rows)
            + "\n"
        )
    return "\n".join(lines)


def annotated(record: Record) -> str:
    """Render a record's bytes, one field a line, with what each means."""
    return "```\n" + "\n".join(_lines(record, 0)) + "\n```\n"


def _lines(record: Record, depth: int) -> Iterator[str]:
    codecs = shape(type(record))
    head = cbor2.dumps([None] * len(codecs))[: 1 if len(codecs) < 24 else 2]
    yield _line(head, f"{type(record).__name__}: array of {len(codecs)}", depth)
    for name, codec in codecs:
        yield from _field(name, codec, getattr(record, name), depth + 1)


def _field(name: str, codec: object, value: object, depth: int) -> Iterator[str]:
    if isinstance(value, Record):
        yield _line(b"", f"{name}:", depth)
        yield from _lines(value, depth + 1)
    elif isinstance(codec, Many) and value and isinstance(value, tuple):
        yield _line(cbor2.dumps([None] * len(value))[:1], f"{name}: array of {len(value)}", depth)
        for part in value:
            yield from _field("item", codec.each, part, depth + 1)
    else:
        item = codec.dump(value)  # type: ignore[attr-defined]
        yield _line(cbor2.dumps(item), f"{name} = {_show(item)}", depth)


def _show(item: object) -> str:
    if isinstance(item, bytes):
        return f"{len(item)} bytes" if item else "h''"
    return repr(item).replace("'", '"')


def _line(data: bytes, text: str, depth: int) -> str:
    chunks = [data[i : i + 34].hex() for i in range(0, len(data), 34)] or [""]
    first, *rest = [f"{chunk:<70}" for chunk in chunks]
    return "\n".join([f"{first}{'  ' * depth}{text}", *(chunk.rstrip() for chunk in rest)])


def sections() -> dict[str, str]:
    """Every generated part by its marker."""
    example = examples.build()
    header = block.Header.decode(example.block.header)
    enrolment = tenure.EnrolmentBody.decode(example.enrolment.body)
    parts = {f"records {name}": tables(name) for name in MODULES}
    shown: dict[str, list[Record]] = {
        "genesis": [example.chain.genesis],
        "enrolment": [example.enrolment, enrolment, tenure.Ticket.decode(enrolment.ticket.body)],
        "transition": [example.transition, example.alarm],
        "block": [example.block, header],
        "epoch change": [example.epoch_change, tenure.EpochChangeBody.decode(example.epoch_change.body)],
        "receipt": [example.receipt, custody.CustodyBatch.decode(example.receipt.batch.body)],
        "finality proof": [
            example.finality,
            finality.EmbeddedSeal.decode(keys.Signed.decode(example.finality.checkpoint.seal.data).body),
        ],
        "evidence": [example.reading],
        **_federation(),
        "neighbours": [
            example.building,
            keys.Signed.decode(example.told),
            neighbour.read_message(example.told)[1],
        ],
    }
    for name, records in shown.items():
        parts[f"example {name}"] = "\n".join(annotated(record) for record in records)
    parts["segments"] = _segments(example)
    return parts


def _federation() -> dict[str, list[Record]]:
    """The examples of the federation: a record, then what it holds as bytes."""
    made = federation.build()
    admission = governance.ProposalBody.decode(made.admission.proposal.body)
    assert admission.joining is not None
    sealed = recorded.comet_seal(9)
    return {
        "takeover": [made.chain.genesis.takeovers[0], made.chain.genesis],
        "import": [made.imported, tenure.EpochChangeBody.decode(made.moved.body)],
        "roster": [made.roster],
        "proposal": [
            made.admission.proposal, admission, governance.JoinBody.decode(admission.joining.body),
            governance.ApprovalBody.decode(made.admitting[0].approval.body),
        ],
        "suspension": [governance.SuspensionBody.decode(made.suspension.suspension.body)],
        "misbehaviour": [federation.misbehaviour()],
        "summons": [
            made.summons,
            possession.SummonsBody.decode(made.summons.summons.body),
            possession.ResponseBody.decode(made.response.response.body),
        ],
        "breach": [
            made.breach, possession.Possession.decode(keys.Signed.decode(made.breach.lack).body),
        ],
        "challenge": [federation.body_request(), federation.challenge()],
        "compact seal": [replace(sealed, steps=())],
    }  # fmt: skip


def _segments(example: examples.Example) -> str:
    lines = []
    for data, klass in zip(example.block.segments, (0, 2), strict=True):
        opened = reading.open_segment(klass, data)
        lines.append(_line(b"\x82", f"Segment of class {klass}: array of 2", 0))
        lines.append(_line(cbor2.dumps(opened.secret), f"secret = {len(opened.secret)} bytes", 1))
        lines.append(_line(bytes((0x80 | len(opened.leaves),)), f"leaves: array of {len(opened.leaves)}", 1))
        for i, each in enumerate(opened.leaves):
            lines.append(_line(each, f"{i}: {_leaf(each)}", 2))
    return "```\n" + "\n".join(lines) + "\n```\n"


def _leaf(data: bytes) -> str:
    found = reading.parse_leaf(data)
    if isinstance(found, tuple):
        return "reading: series {}, offset {} ms, value {}".format(*found)
    if isinstance(found, bytes):
        return f"transition, {len(found)} bytes"
    shown = (f"{name} {_show(codec.dump(getattr(found, name)))}" for name, codec in shape(type(found)))
    return f"{type(found).__name__}: {', '.join(shown)}"


def render(text: str) -> str:
    """Put every generated part between its markers."""
    parts = sections()

    def put(match: re.Match[str]) -> str:
        return f"<!-- {match[1]} -->\n\n{parts[match[1]]}\n<!-- end -->"

    return re.sub(r"<!-- ((?:records|example|segments)[^>]*?) -->\n.*?<!-- end -->", put, text, flags=re.S)


def vectors() -> str:
    """The golden vectors: records by their bytes, and evidence files with what they prove."""
    example = examples.build()
    made = federation.build()
    records: dict[str, Record] = {
        "genesis": example.chain.genesis,
        "enrolment": example.enrolment,
        "block": example.block,
        "transition": example.transition,
        "alarm": example.alarm,
        "receipt": example.receipt,
        "epoch_change": example.epoch_change,
        "finality_proof": example.finality,
        "building": example.building,
        "neighbour_state": keys.Signed.decode(example.told),
        "federation_genesis": made.chain.genesis,
        "import": made.imported,
        "roster": made.roster,
        "propose": made.admission,
        "approve": made.admitting[0],
        "suspend": made.suspension,
        "summon": made.summons,
        "respond": made.response,
        "breach": made.breach,
    }
    evidences = {
        "reading": example.reading,
        "restricted": example.restricted,
        "status": example.status,
        "actuation": example.actuation,
        "alarm": example.alarm_evidence,
        "alarm_in_block": example.both,
        "federation_moved": federation.moved_evidence(recorded.seal(9)),
        "federation_newcomer": federation.newcomer_evidence(recorded.seal(9)),
        "federation_unnamed": federation.newcomer_evidence(recorded.seal(9), roster=False),
    }
    return json.dumps(
        {
            "records": {name: record.encode().hex() for name, record in records.items()},
            "evidence": [
                {
                    "name": name,
                    "trust": each.genesis.hash.hex(),
                    "file": each.encode().hex(),
                    "proves": proves(each.encode(), each.genesis.hash),
                }
                for name, each in evidences.items()
            ],
        },
        indent=1,
        ensure_ascii=False,
    ) + "\n"  # fmt: skip


def proves(data: bytes, trusted: bytes) -> dict[str, object]:
    """What an evidence file proves, as FORMAT.md's statement: the second verifier prints the same object."""
    return evidence.verify_evidence(data, trusted).statement()


if __name__ == "__main__":
    FORMAT.write_text(render(FORMAT.read_text()))
    VECTORS.write_text(vectors())
