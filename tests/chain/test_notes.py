"""C2SP notes: published examples hold, one spelling each, and a witness goes on only to what extends what it saw."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.errors import BadProof, BadSignature, FormatError, OtherHead, TooLarge, WrongShape
from gateway.chain.keys import SigningKey
from gateway.chain.notes import (
    COSIGNATURE,
    MAX_HASHES,
    MAX_LINES,
    MAX_NOTE,
    SIGNATURE,
    Line,
    LogHead,
    Note,
    NoteKey,
    Submission,
    advance,
    cosign_note,
    hub_key,
    log_key,
    parse_lines,
    parse_proof,
    proof_text,
    sign_note,
)
from gateway.chain.trees import EMPTY_ROOT, LogTree, leaf_hash

# The worked example of Go's golang.org/x/mod/sumdb/note: its keys, text and signature.
PETER = SigningKey(b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:])
PETERS_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
# Made with that key by github.com/transparency-dev/formats v0.1.1, note.NewSignerForCosignatureV1.
COSIGNED = (
    "example.com/log\n7\nLXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=\n\n"
    "— PeterNeumann GLl4CwAAAABrAvF5hLt1QZIzPQkUMx49edK5pyMKUYndaF1VPg1JfJiySWCbvsNNj9d6KaraN5/I2qcGm5tFyKBttnGW"
    "6mNcv8XRCg==\n"
).encode()
# The example of c2sp.org/tlog-witness: its form only, as its keys are not published.
EXAMPLE = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
""".encode()

ORIGIN = "tocsin-" + "ab" * 20
TREE = LogTree([leaf_hash(bytes((i,))) for i in range(40)])
TEXT = LogHead(ORIGIN, 5, TREE.root(5)).text
KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(range(1, 33)))


@dataclass(frozen=True)
class Named:
    name: str
    key: bytes


def submission(old: int, new: int, path: tuple[bytes, ...] | None = None, root: bytes = b"") -> Submission:
    found = (TREE.consistency(old, new) if old else ()) if path is None else path
    text = LogHead(ORIGIN, new, root or TREE.root(new)).text
    return Submission(old, found, Note(text, (sign_note(KEY, ORIGIN, text),)))


def head(size: int) -> LogHead:
    return LogHead(ORIGIN, size, TREE.root(size))


def test_gos_example_verifies_and_is_made_again_byte_by_byte() -> None:
    key = NoteKey.parse(PETERS_VKEY)
    note = Note.parse(PETERS_NOTE)
    assert [(each.key, each.time) for each in note.verify([key])] == [(key, None)]
    assert Note(note.text, (sign_note(PETER, "PeterNeumann", note.text),)).encode() == PETERS_NOTE


def test_anothers_cosignature_verifies_and_is_made_again_byte_by_byte() -> None:
    key = NoteKey("PeterNeumann", COSIGNATURE, PETER.public)
    note = Note.parse(COSIGNED)
    assert [(each.key, each.time) for each in note.verify([key])] == [(key, 1795355001)]
    again = cosign_note(PETER, "PeterNeumann", note.text, 1795355001)
    assert Note(note.text, (again,)).encode() == COSIGNED


@pytest.mark.parametrize(
    "vkey",
    [
        PETERS_VKEY,
        "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    ],
)
def test_published_verifier_keys_are_read_and_written_alike(vkey: str) -> None:
    assert str(NoteKey.parse(vkey)) == vkey


def test_every_part_of_a_verifier_key_counts() -> None:
    for start in range(len(PETERS_VKEY)):
        for end in range(start + 1, len(PETERS_VKEY) + 1):
            if (start, end) != (0, len(PETERS_VKEY)):
                with pytest.raises(WrongShape):
                    NoteKey.parse(PETERS_VKEY[start:end])
    for at, char in enumerate(PETERS_VKEY):
        with pytest.raises(WrongShape):
            NoteKey.parse(PETERS_VKEY[:at] + chr(ord(char) + 1) + PETERS_VKEY[at + 1 :])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\u2028b"])
def test_a_key_name_has_neither_spaces_nor_plus_signs(name: str) -> None:
    with pytest.raises(WrongShape):
        NoteKey(name, SIGNATURE, KEY.public)


def test_the_example_of_tlog_witness_is_read_and_written_alike() -> None:
    found = Submission.parse(EXAMPLE)
    assert (found.old, len(found.path)) == (20852014, 4)
    assert LogHead.parse(found.note.text).size == 20852163
    assert found.encode() == EXAMPLE


def test_hubs_sign_as_the_log_and_cosign_by_their_names() -> None:
    one, two = (log_key(ORIGIN, key.public) for key in (KEY, OTHER))
    assert one.name == two.name == ORIGIN
    assert one.id != two.id
    witness = hub_key(ORIGIN, Named("fire-2", OTHER.public))
    note = Note(TEXT, (sign_note(KEY, ORIGIN, TEXT), cosign_note(OTHER, witness.name, TEXT, 1_790_000_000)))
    assert witness.name == f"{ORIGIN}/fire-2"
    assert [(each.key, each.time) for each in note.verify([one, two, witness])] == [
        (one, None),
        (witness, 1_790_000_000),
    ]


def test_unknown_keys_are_passed_over_but_a_known_one_must_hold() -> None:
    known = log_key(ORIGIN, KEY.public)
    good, strange = sign_note(KEY, ORIGIN, TEXT), sign_note(OTHER, "somebody.example", TEXT)
    assert len(Note(TEXT, (strange, good)).verify([known])) == 1
    with pytest.raises(BadSignature, match="none of the known"):
        Note(TEXT, (strange,)).verify([known])
    false = Line(good.name, good.id, good.signature[:-1] + bytes((good.signature[-1] ^ 1,)))
    with pytest.raises(BadSignature, match="does not verify"):
        Note(TEXT, (strange, false)).verify([known])
    with pytest.raises(BadSignature, match="form"):
        Note(TEXT, (Line(good.name, good.id, good.signature + b"\0"),)).verify([known])


def test_a_cosignature_binds_its_time_and_the_text() -> None:
    key = NoteKey("w", COSIGNATURE, KEY.public)
    line = cosign_note(KEY, "w", TEXT, 1000)
    later = Line(line.name, line.id, (1001).to_bytes(8, "big") + line.signature[8:])
    far = Line(line.name, line.id, b"\xff" * 8 + line.signature[8:])
    for note in (Note(TEXT, (later,)), Note(TEXT, (far,)), Note(TEXT.replace("\n5\n", "\n6\n"), (line,))):
        with pytest.raises(BadSignature):
            note.verify([key])


def test_a_signature_of_one_type_is_none_of_the_other() -> None:
    signed, cosigned = sign_note(KEY, "w", TEXT), cosign_note(KEY, "w", TEXT, 1)
    assert signed.id != cosigned.id
    for line, kind in ((signed, COSIGNATURE), (cosigned, SIGNATURE)):
        with pytest.raises(BadSignature):
            Note(TEXT, (line,)).verify([NoteKey("w", kind, KEY.public)])


LINE = str(sign_note(KEY, ORIGIN, TEXT))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT.encode(),
        TEXT.encode() + b"\n",
        (TEXT + LINE).encode(),
        (TEXT + "\n" + LINE[:-1]).encode(),
        (TEXT + "\n" + LINE + "\n").encode(),
        (TEXT + "\n" + LINE.replace("\u2014", "--")).encode(),
        (TEXT + "\n" + LINE.replace("= ", "=  ")).encode() + b" ",
        (TEXT + "\n" + LINE.replace("\n", " \n")).encode(),
        (TEXT + "\n" + LINE.replace("\n", "\r\n")).encode(),
        (TEXT + "\n" + LINE.replace(ORIGIN, "a+b")).encode(),
        (TEXT + "\n" + "\u2014 w AAAA\n").encode(),
        (TEXT + "\n" + "\u2014 w AAAAAB==\n").encode(),
        (TEXT + "\n" + LINE).encode().replace(b"tocsin", b"t\xffcsin"),
        (TEXT + "\n" + LINE).encode().replace(b"tocsin", b"toc\tin"),
    ],
)
def test_a_note_has_one_form(data: bytes) -> None:
    with pytest.raises(WrongShape):
        Note.parse(data)


@pytest.mark.parametrize(
    "text",
    [
        "o\n5\n",
        "\n5\n" + "A" * 43 + "=\n",
        "o\n05\n" + "A" * 43 + "=\n",
        "o\n-5\n" + "A" * 43 + "=\n",
        "o\n\u0665\n" + "A" * 43 + "=\n",
        f"o\n{1 << 63}\n" + "A" * 43 + "=\n",
        "o\n5\n" + "A" * 42 + "==\n",
        "o\n5\n" + "A" * 42 + "B=\n",
        "o\n0\n" + "A" * 43 + "=\n",
        "o\n5\n" + "A" * 43 + "=\nmore\n",
        "o\n5\n" + "A" * 43 + "=",
    ],
)
def test_a_checkpoint_is_three_lines_in_one_spelling(text: str) -> None:
    with pytest.raises(WrongShape):
        LogHead.parse(text)


def test_sizes_are_bounded() -> None:
    strange = sign_note(OTHER, "somebody.example", TEXT)
    assert len(Note.parse(Note(TEXT, (strange,) * MAX_LINES).encode()).lines) == MAX_LINES
    with pytest.raises(TooLarge):
        Note.parse(Note(TEXT, (strange,) * (MAX_LINES + 1)).encode())
    with pytest.raises(TooLarge):
        Note.parse(Note("x" * MAX_NOTE + "\n", (strange,)).encode())
    assert parse_proof(proof_text(1, [bytes(32)] * MAX_HASHES).encode())[0] == 1
    with pytest.raises(TooLarge):
        parse_proof(proof_text(1, [bytes(32)] * (MAX_HASHES + 1)).encode())


@pytest.mark.parametrize(
    "text", ["", "old 1", "new 1\n", "old 01\n", "old 1\nAAAA\n", "old 1\n\n", "old  1\n"]
)
def test_a_proofs_text_has_one_form(text: str) -> None:
    with pytest.raises(WrongShape):
        parse_proof(text.encode())


SIZES = st.integers(0, (1 << 63) - 1)
HASHES = st.binary(min_size=32, max_size=32)
NAMES = st.text(st.characters(categories=("L", "N", "P"), exclude_characters="+"), min_size=1, max_size=40)
LINES = st.builds(Line, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=90))
TEXTS = st.lists(
    st.text(st.characters(min_codepoint=32, exclude_categories=("Cs",)), max_size=30), min_size=1
)
NOTES = st.builds(
    Note, TEXTS.map(lambda lines: "\n".join(lines) + "\n"), st.lists(LINES, min_size=1).map(tuple)
)


@given(NOTES)
def test_notes_round_trip(note: Note) -> None:
    assert Note.parse(note.encode()) == note
    assert parse_lines("".join(map(str, note.lines))) == note.lines


@given(st.builds(Submission, SIZES, st.lists(HASHES, max_size=MAX_HASHES).map(tuple), NOTES))
def test_submissions_round_trip(submitted: Submission) -> None:
    assert Submission.parse(submitted.encode()) == submitted


@given(st.builds(LogHead, NAMES, st.integers(1, (1 << 63) - 1), HASHES))
def test_heads_round_trip(found: LogHead) -> None:
    assert LogHead.parse(found.text) == found


@given(st.binary(max_size=400) | NOTES.map(Note.encode), st.integers(0, 400), st.binary(max_size=3))
def test_whatever_is_parsed_is_written_alike(data: bytes, at: int, put: bytes) -> None:
    changed = data[:at] + put + data[at + 1 :]
    for kind in (Note, Submission):
        try:
            found = kind.parse(changed)
        except FormatError:
            continue
        assert found.encode() == changed


@given(st.integers(0, 40), st.integers(1, 40))
def test_a_witness_goes_on_to_every_extension(old: int, new: int) -> None:
    old, new = sorted((old, new))
    known = head(old) if old else None
    assert advance(known, submission(old, new)) == head(new)


def test_a_witness_asks_for_the_way_from_where_it_is() -> None:
    for old in (0, 4, 6):
        with pytest.raises(OtherHead) as caught:
            advance(head(5), submission(old, 9))
        assert caught.value.size == 5
    with pytest.raises(OtherHead) as caught:
        advance(None, submission(3, 9))
    assert caught.value.size == 0


def test_a_witness_never_goes_back() -> None:
    with pytest.raises(WrongShape, match="does not grow"):
        advance(head(9), Submission(9, (), submission(0, 5).note))
    with pytest.raises(OtherHead):
        advance(head(9), submission(5, 5))


def test_one_size_has_one_root() -> None:
    with pytest.raises(BadProof, match="two logs of 9 leaves have different roots"):
        advance(head(9), submission(9, 9, (), root=bytes(32)))


@pytest.mark.parametrize("bad", ["cut", "longer", "changed", "root", "empty"])
def test_a_false_proof_moves_no_witness(bad: str) -> None:
    path = TREE.consistency(5, 9)
    false = {
        "cut": path[:-1],
        "longer": (*path, bytes(32)),
        "changed": (bytes(32), *path[1:]),
        "root": path,
        "empty": (),
    }[bad]
    with pytest.raises(BadProof):
        advance(head(5), submission(5, 9, false, root=bytes(32) if bad == "root" else b""))


def test_from_nothing_there_is_no_proof() -> None:
    with pytest.raises(BadProof, match="nothing to prove"):
        advance(None, submission(0, 9, (bytes(32),)))
    empty = LogHead(ORIGIN, 0, EMPTY_ROOT).text
    nothing = Note(empty, (sign_note(KEY, ORIGIN, empty),))
    assert advance(None, Submission(0, (), nothing)).size == 0


def test_base64_of_a_root_is_padded_and_standard() -> None:
    root = b"\xff" * 32
    assert LogHead("o", 1, root).text == f"o\n1\n{b64encode(root).decode()}\n"
    with pytest.raises(WrongShape):
        LogHead.parse(f"o\n1\n{b64encode(root).decode().replace('/', '_')}\n")
