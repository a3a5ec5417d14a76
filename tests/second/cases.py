"""Files that are honest, odd, or lie: by section 11, each is accepted or refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import cbor2
from second import curve
from second.forge import LEAVES, OLD_CHAIN, WALL, Bend, Case, key_of
from second.hashing import Item, encode, in_order, sha256

MOST: Final = 2**63 - 1
LAST_MOMENT: Final = 2**53 - 1
ZERO: Final = bytes(32)
OTHER: Final = b"o" * 32
GATEWAY: Final = key_of("gateway").public

PUBLIC: Final = Case()
RESTRICTED: Final = Case(leaf="restricted")
STATUS: Final = Case(leaf="status")
SHEDDING: Final = Case(leaf="shedding")
ACTUATION: Final = Case(leaf="actuation")
REFUSAL: Final = Case(leaf="refusal")
EARLIER: Final = Case(leaf="earlier")
TRANSITION: Final = Case(leaf="transition")
ALARM: Final = Case(block=False, alarm=True)
BOTH: Final = Case(leaf="transition", alarm=True)
ROTATED: Final = Case(rotated=True)
COMET: Final = Case(engine=2)
COMET_BOTH: Final = Case(engine=2, leaf="transition", alarm=True)
ADMITTED: Final = Case(admitted=True)
IMPORTED: Final = Case(imported=True)
MOVED: Final = Case(leaf="transition", alarm=True, imported=True, of_before=True)

HONEST: Final = (
    *(Case(leaf=leaf) for leaf in LEAVES),
    *(Case(rotated=rotated, ended=kind) for kind in (5, 6, 7) for rotated in (False, True)),
    *(Case(leaf="transition", block=block, alarm=True, mark=i) for block in (False, True) for i in (0, 1)),
    *(Case(engine=2, leaf=leaf, alarm=leaf == "transition") for leaf in LEAVES),
    ROTATED,
    Case(engine=2, rotated=True, ended=6),
    ADMITTED,
    IMPORTED,
    MOVED,
    Case(engine=2, leaf="transition", alarm=True, imported=True, of_before=True),
    Case(engine=2, admitted=True),
    Case(imported=True, rotated=True),
    Case(imported=True, ended=6),
    Case(imported=True, admitted=True),
    Case(leaf="transition", of_before=True),
)


class Story(NamedTuple):
    name: str
    case: Case
    bends: Mapping[str, Bend]


def put(*path: int, to: Item | Callable[[Item], Item]) -> Bend:
    """A bend that changes one place of a stage's item."""

    def bend(item: Item) -> Item:
        result = copy.deepcopy(item)
        at = result
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = to(at[path[-1]]) if callable(to) else to
        return result

    return bend


def keeping(*policy: int) -> Bend:
    """A series' dead band, longest interval, period and ring."""
    return lambda series: [*series[:6], *policy, *series[10:]]


def with_seen(*seen: Any) -> Mapping[str, Bend]:
    """A header that has seen this, without the checkpoint that would show it."""
    return {"header": put(12, to=list(seen)), "block_part": put(5, to=[])}


NO_SERIES: Final[Mapping[str, Bend]] = {"block_part": put(2, to=[])}


def sealed(height: int, time: int) -> Bend:
    """The hub's seal of another moment."""
    return lambda body: [body[0], height, time, body[3]]


def sealed_comet(height: int, time: int) -> Bend:
    """A consensus header of another moment."""
    return lambda header: [*header[:3], height, time // 1000, *header[5:]]


def everywhere(stage: str, bend: Bend, *roles: str) -> Mapping[str, Bend]:
    """One bend for the checkpoints of acceptance and standing, and of those named."""
    return {f"{role}_{stage}": bend for role in ("alarm", "block", "as_of", *roles)}


def signed_by(sign: Callable[[bytes], bytes]) -> Mapping[str, Bend]:
    """A header under another signature over the same bytes."""
    return {"signed_header": lambda signed: [*signed[:2], sign(b"tocsin/block/v1\0\x01" + signed[1])]}


def gateway_scalar() -> tuple[int, bytes]:
    return curve.secret(sha256(b"gateway"))[0], GATEWAY


def under_suite_2(signed: Item) -> Item:
    return [2, signed[1], key_of("gateway").sign(b"tocsin/block/v1\0\x02" + signed[1])]


def with_large_scalar(message: bytes) -> bytes:
    """S + L for S: the same number modulo the order."""
    signature = key_of("gateway").sign(message)
    return signature[:32] + (int.from_bytes(signature[32:], "little") + curve.ORDER).to_bytes(32, "little")


def with_small_point(point: bytes) -> Callable[[bytes], bytes]:
    """R of small order, S to match as well as can be: exact where R is the identity."""
    return lambda message: curve.sign_with(0, point, *gateway_scalar(), message)


def by_mixed_key(message: bytes) -> bytes:
    return curve.sign_luckily(
        curve.secret(sha256(b"second"))[0], key_of("second", torsion="second").public, message
    )


def small_authority(point: bytes) -> Mapping[str, Bend]:
    """An authority whose key is of small order, so that anyone signs for it."""

    def sign(signed: Item) -> Item:
        return [*signed[:2], curve.sign_luckily(0, point, b"tocsin/ticket/v1\0\x01" + signed[1])]

    return {"genesis": put(5, 0, 2, to=point), "ticket": put(1, to=point), "signed_ticket": sign}


def _emptied(comet_header: Item) -> Item:
    _, _, chain_id, height, *_ = comet_header
    validators, next_validators, _, app_hash, *_, proposer = comet_header[11:]
    head = [0, 0, chain_id, height, 0, 0, b"", 0, b"", b"", b""]
    return [*head, validators, next_validators, b"", app_hash, b"", b"", proposer]


def _filled(comet_header: Item) -> Item:
    _, _, chain_id, _, _, _, *hashes = comet_header
    return [MOST, MOST, chain_id, MOST, 9_007_199_254_739, 999_999_999, *hashes]


def _two_thirds(sets: Item) -> Item:
    return [sets[0], [[key, 9] for key, _ in sets[1][:3]]]


def _long(transition: Item) -> Item:
    """Every field within its bounds, 4096 bytes together exceeded."""
    faults = [f"{i:02}:{'x' * 93}" for i in range(32)]
    values = [["y" * 64, MOST, LAST_MOMENT]] * 32
    return [*transition[:8], faults, values, *transition[10:]]


def _later(transition: bytes) -> bytes:
    item = cbor2.loads(transition)
    return encode([*item[:3], item[3] + 1, *item[4:]])


def _many_documents(_: Item) -> Item:
    return [bytes([i]) * 16_384 for i in range(16)]


def _with_twin(sets: Item) -> Item:
    """In order, as the same key's other power is lower."""
    return [sets[0], [*sets[1], [sets[1][0][0], 1]]]


def _steps(count: int) -> Bend:
    return lambda sets: [sets[i % 2] for i in range(count + 1)]


def _twice_signed(enrolment: Item) -> Item:
    return [*enrolment[:2], enrolment[3], enrolment[3]]


def _with_double(authorities: Item) -> Item:
    """The first of one key gives the name."""
    return [*authorities, ["later", 1, authorities[1][2]]]


def _turned(keys: Item) -> Item:
    return [[keys[1][0], 1], [keys[1][0], 5]]


def founded_too(name: str) -> Mapping[str, Bend]:
    """An authority that the genesis and the roster both have, under two names."""
    public = key_of("authority").public
    return {"genesis": put(5, to=lambda known: [*known, [name, 2, public]])}


def _first_height(header: Item) -> Item:
    return [*header[:3], 1, ZERO, *header[5:]]


ACCEPTED: Final = (
    Story("reading at the least", PUBLIC, {"leaf": put(2, to=-(2**63))}),
    Story("reading at the most", PUBLIC, {"leaf": put(2, to=MOST)}),
    Story("offset at the span", PUBLIC, {"header": put(8, to=500)}),
    Story("longest block", PUBLIC, {"leaf": put(1, to=2**32 - 1), "header": put(8, to=2**32 - 1)}),
    Story("latest block", PUBLIC, {"header": put(6, to=LAST_MOMENT - 1000)}),
    Story("first block", PUBLIC, {"header": _first_height}),
    Story("height at the key's first", ROTATED, {"key_entry": put(2, to=7)}),
    Story("shedding of one block", SHEDDING, {"leaf": put(1, 1, to=9)}),
    Story("encrypted segment", RESTRICTED, {"header": put(13, 1, 4, to=MOST)}),
    Story("no seal seen", PUBLIC, with_seen(0, 0, ZERO)),
    Story("unknown seal from the future", PUBLIC, with_seen(MOST, MOST, OTHER)),
    Story("seal seen one below", PUBLIC, {"seen_body": put(1, to=8)}),
    Story("seal seen of an empty log", PUBLIC, {"seen_app": put(0, to=0)}),
    Story("seal seen of the same time", PUBLIC, {"seen_body": put(2, to=WALL + 60_000)}),
    Story("largest calibration", PUBLIC, {"series": put(11, to=bytes(8192))}),
    Story("series that keeps every value", PUBLIC, {"series": keeping(0, 0, 0, 0)}),
    Story("series without a dead band", PUBLIC, {"series": keeping(0, 1, 0, 0)}),
    Story("longest policy", PUBLIC, {"series": keeping(MOST, LAST_MOMENT, LAST_MOMENT, LAST_MOMENT)}),
    Story("longest who of an actuation", ACTUATION, {"leaf": put(1, 4, to="é" * 48)}),
    Story("actuation by nobody", ACTUATION, {"leaf": put(1, 4, to="")}),
    Story("output let go by a contract", ACTUATION, {"leaf": lambda _: [6, [500, "a", 0, 1, "gas.high", 0]]}),
    Story("longest reason of a refusal", REFUSAL, {"leaf": put(1, 2, to="x" * 64)}),
    Story("one earlier value", EARLIER, {"leaf": put(1, 2, to=[[0, MOST]])}),
    Story("most earlier values", EARLIER, {"leaf": put(1, 2, to=[[2**32 - 1, -(2**63)]] * 256)}),
    Story("restricted earlier values", RESTRICTED, {"leaf": lambda _: [8, [1, 1, [[1, 1]]]]}),
    Story("refusal of very many", REFUSAL, {"leaf": put(1, 3, to=MOST)}),
    Story("unit with a byte order mark", PUBLIC, {"series": put(3, to="\ufeffppm")}),
    Story("unit of 24 bytes", PUBLIC, {"series": put(3, to="é" * 12)}),
    Story("unit that JSON escapes", PUBLIC, {"series": put(3, to='"\\\u2028\x80\uffff')}),
    Story("unit beyond the first plane", PUBLIC, {"series": put(3, to="\U0001f525")}),
    Story("status in a restricted segment", RESTRICTED, {"leaf": lambda _: [2, [1, 1, 1, ""]]}),
    Story("documents in any order", PUBLIC, {"block_part": put(3, to=lambda parts: parts[::-1])}),
    Story("document sixteen times", PUBLIC, {"block_part": put(3, to=lambda parts: parts[:1] * 16)}),
    Story("faults by bytes, not by UTF-16", BOTH, {"transition": put(8, to=["a:\uffff", "a:\U00010000"])}),
    Story("alarm without its document", BOTH, {"alarm_part": put(1, to=b"")}),
    Story("ticket that has run out", PUBLIC, {"ticket": put(4, to=0)}),
    Story("end at another epoch's block above", Case(ended=6), {"key_end": put(1, to=[1, 8, OTHER])}),
    Story("revoked after rotation", Case(ended=6), {"key_end": put(1, to=[0, 7, ZERO])}),
    Story("alarm of a revoked key", Case(block=False, alarm=True, ended=6), {"key_end": put(1, to=[0, 0, ZERO])}),
    Story("seals at the highest height", PUBLIC, everywhere("body", sealed(MOST, WALL))),
    Story("seals at the latest time", PUBLIC, everywhere("body", put(2, to=LAST_MOMENT))),
    Story("standing under the acceptance's seal", PUBLIC, {"as_of_body": sealed(9, WALL + 60_000)}),
    Story("standing of the acceptance's time", PUBLIC, {"as_of_body": put(2, to=WALL + 60_000)}),
    Story("standing of a larger log", PUBLIC, {"as_of_app": put(0, to=8)}),
    Story("alarm accepted before the seal seen", BOTH, {"alarm_body": sealed(5, WALL - 5)}),
    Story("one header, two commits", COMET, {"as_of_header": sealed_comet(20, WALL + 60_000), "commit": put(0, to=1)}),
    Story("authority that is a hub too", PUBLIC, {"genesis": lambda g: put(5, 1, 2, to=g[6][0][2])(g)}),
    Story("reader under engine 2", COMET, {"genesis": put(6, to=lambda hubs: [*hubs, ["h", "a", OTHER]])}),
    Story("greatest powers", COMET, {"genesis": put(7, to=lambda v: [[key, 2**40] for key, _ in v])}),
    Story("authority by its key alone", ADMITTED, {"standing": put(4, to=[])}),
    Story("authority that the roster does not have either", ADMITTED, {"roster": put(1, 1, 2, to=OTHER)}),
    Story("founding authority under another name in the roster", ADMITTED, founded_too("fire")),
    Story("two authorities of one key in a roster", ADMITTED, {"roster": put(1, to=_with_double)}),
    Story("member without a vote", ADMITTED, {"roster": put(2, 0, 4, to=0)}),
    Story("greatest power of a member", ADMITTED, {"roster": put(2, 0, 4, to=2**40)}),
    Story("import of a gateway in bad standing", IMPORTED, {"old_entry": put(2, to=6)}),
    Story("import of a key of later blocks", IMPORTED, {"old_entry": put(1, 0, 1, to=7), "key_entry": put(2, to=7)}),
    Story("takeover that nobody signed", IMPORTED, {"genesis": put(11, 0, 3, to=bytes(64))}),
    Story("takeover of a chain beside", PUBLIC, {"genesis": put(11, to=[[OTHER, 0, ZERO, bytes(64)]])}),
    Story("validators out of order in the genesis", COMET, {"genesis": put(7, to=lambda v: v[::-1])}),
    Story("no step", COMET, {"validator_sets": lambda sets: sets[:1]}),
    Story("there and back", COMET, {"validator_sets": lambda sets: [*sets, sets[0]]}),
    Story("empty fields in a header", COMET, everywhere("header", _emptied, "seen")),
    Story("largest numbers in a header", COMET, everywhere("header", _filled)),
    Story("last header changes the set too", COMET, {"block_header": put(12, to=OTHER)}),
    Story("late round", COMET, {"commit": put(0, to=2**31 - 1)}),
    Story("many parts", COMET, {"commit": put(1, to=2**32 - 1)}),
    Story("three of four", COMET, {"commit": put(3, to=lambda votes: votes[:3])}),
    Story("large file", COMET_BOTH, {"documents": _many_documents, "validator_sets": _steps(45)}),
    Story("standing of a later time", PUBLIC, {"as_of_body": put(2, to=LAST_MOMENT)}),
    Story("lucky mixed key", Case(rotated=True, torsion="second"), signed_by(by_mixed_key)),
)  # fmt: skip

REFUSED: Final = (
    Story("mixed key", Case(rotated=True, torsion="second"), {}),
    Story("mixed hub's key", Case(torsion="hub"), {}),
    Story("mixed R", Case(torsion="R"), {}),
    Story("S above the order", PUBLIC, signed_by(with_large_scalar)),
    *(Story(f"small R {i}", PUBLIC, signed_by(with_small_point(point))) for i, point in enumerate(curve.SMALL)),
    *(Story(f"small key {i}", PUBLIC, small_authority(point)) for i, point in enumerate(curve.SMALL)),
    Story("reading after the span", PUBLIC, {"header": put(8, to=499)}),
    Story("status after the span", STATUS, {"header": put(8, to=499)}),
    Story("clock step after the span", Case(leaf="clock_step"), {"header": put(8, to=499)}),
    Story("outcome after the span", Case(leaf="outcome"), {"header": put(8, to=499)}),
    Story("actuation after the span", ACTUATION, {"header": put(8, to=499)}),
    Story("earlier values after the span", EARLIER, {"header": put(8, to=499)}),
    Story("no earlier values", EARLIER, {"leaf": put(1, 2, to=[])}),
    Story("too many earlier values", EARLIER, {"leaf": put(1, 2, to=[[1, 1]] * 257)}),
    Story("earlier values out of order", EARLIER, {"leaf": put(1, 2, to=[[5, 1], [6, 1]])}),
    Story("earlier value from the future", EARLIER, {"leaf": put(1, 2, 0, 0, to=-1)}),
    Story("earlier values of another series", EARLIER, {"leaf": put(1, 0, to=0)}),
    Story("earlier values without their series", EARLIER, NO_SERIES),
    Story("refusal after the span", REFUSAL, {"header": put(8, to=499)}),
    Story("clock step to state four", Case(leaf="clock_step"), {"leaf": put(1, 2, to=4)}),
    Story("clock of state four", PUBLIC, {"header": put(9, to=4)}),
    Story("transition under clock state four", BOTH, {"transition": put(12, to=4)}),
    Story("output driven twice over", ACTUATION, {"leaf": put(1, 2, to=2)}),
    Story("actuation without a cause", ACTUATION, {"leaf": put(1, 3, to=0)}),
    Story("actuation of cause ten", ACTUATION, {"leaf": put(1, 3, to=10)}),
    Story("who of an actuation too long", ACTUATION, {"leaf": put(1, 4, to="é" * 48 + "x")}),
    Story("output that moved otherwise", ACTUATION, {"leaf": put(1, 5, to=3)}),
    Story("output of no name", ACTUATION, {"leaf": put(1, 1, to="")}),
    Story("output with a capital", ACTUATION, {"leaf": put(1, 1, to="Siren")}),
    Story("actuation with a field more", ACTUATION, {"leaf": put(1, to=lambda body: [*body, 0])}),
    Story("restricted actuation", RESTRICTED, {"leaf": lambda _: [6, [1, "a", 1, 1, "", 0]], **NO_SERIES}),
    Story("actuation with a series", PUBLIC, {"leaf": lambda _: [6, [500, "a", 1, 1, "", 0]]}),
    Story("refusal of nothing known", REFUSAL, {"leaf": put(1, 1, to=0)}),
    Story("refusal of the fourth kind", REFUSAL, {"leaf": put(1, 1, to=4)}),
    Story("refusal's reason too long", REFUSAL, {"leaf": put(1, 2, to="x" * 65)}),
    Story("refusal of none", REFUSAL, {"leaf": put(1, 3, to=0)}),
    Story("refusal of half a hash", REFUSAL, {"leaf": put(1, 4, to=bytes(16))}),
    Story("restricted refusal", RESTRICTED, {"leaf": lambda _: [7, [1, 1, "x", 1, ZERO]], **NO_SERIES}),
    Story("dead band without an end", PUBLIC, {"series": keeping(5, 0, 1000, 0)}),
    Story("ring of a series that keeps every value", PUBLIC, {"series": keeping(0, 0, 1000, 30_000)}),
    Story("period beyond time", PUBLIC, {"series": put(8, to=LAST_MOMENT + 1)}),
    Story("ring below nothing", PUBLIC, {"series": put(9, to=-1)}),
    Story("block that ends too late", PUBLIC, {"header": put(6, to=LAST_MOMENT - 999)}),
    Story("boot that ends too late", PUBLIC, {"header": put(7, to=LAST_MOMENT - 999)}),
    Story("no header below the second", PUBLIC, {"header": put(4, to=ZERO)}),
    Story("header below the first", PUBLIC, {"header": put(3, to=1)}),
    Story("segments by falling class", PUBLIC, {"header": put(13, 0, 0, to=2)}),
    Story("encrypted public segment", PUBLIC, {"header": put(13, 0, 4, to=1)}),
    Story("another gateway's header", PUBLIC, {"header": put(1, to=bytes(16))}),
    Story("another chain's header", PUBLIC, {"header": put(0, to=ZERO)}),
    Story("seen at height zero", PUBLIC, with_seen(0, 0, OTHER)),
    Story("log seen at height zero", PUBLIC, with_seen(0, 2, ZERO)),
    Story("seen at the acceptance", PUBLIC, {"seen_body": put(1, to=9)}),
    Story("seen with itself in the log", PUBLIC, {"seen_app": put(0, to=3)}),
    Story("seen after the acceptance", PUBLIC, {"seen_body": put(2, to=WALL + 60_001)}),
    Story("seen of another chain", PUBLIC, {"seen_body": put(0, to=ZERO)}),
    Story("seen is another seal", PUBLIC, {"header": put(12, to=[6, 2, OTHER])}),
    Story("seen at another height", PUBLIC, {"header": put(12, 0, to=5)}),
    Story("seen with another log", PUBLIC, {"header": put(12, 1, to=1)}),
    Story("series of another class", PUBLIC, {"series": put(5, to=2)}),
    Story("series of another index", PUBLIC, {"series": put(0, to=2)}),
    Story("unit of 25 bytes", PUBLIC, {"series": put(3, to="é" * 12 + "x")}),
    Story("name with a digit of another script", PUBLIC, {"series": put(1, to="٣")}),
    Story("name with a line feed", PUBLIC, {"series": put(1, to="a\n")}),
    Story("status without its series", STATUS, {"block_part": put(2, to=[])}),
    Story("salted public leaf", PUBLIC, {"salt": lambda _: bytes(16)}),
    Story("restricted leaf with half a salt", RESTRICTED, {"salt": lambda salt: salt[:8]}),
    Story("restricted leaf without salt", RESTRICTED, {"salt": lambda _: b""}),
    Story("salt on a public leaf", PUBLIC, {"leaf_part": put(3, to=bytes(16))}),
    Story("no such segment", PUBLIC, {"leaf_part": put(0, to=2)}),
    Story("restricted shedding", RESTRICTED, {"leaf": lambda _: [3, [1, 1, 1, 1]], **NO_SERIES}),
    Story("event of kind nine", SHEDDING, {"leaf": put(0, to=9)}),
    Story("shedding backwards", SHEDDING, {"leaf": put(1, 1, to=10)}),
    Story("status as a byte string", STATUS, {"leaf": lambda leaf: [2, encode(leaf[1])]}),
    Story("leaf with a byte behind it", PUBLIC, {"leaf": lambda leaf: encode(leaf) + b"\0"}),
    Story("leaf in a longer spelling", PUBLIC, {"leaf": lambda _: b"\x83\x01\x19\x01\xf4\x18\x05"}),
    Story("another chain's transition", TRANSITION, {"transition": put(0, to=ZERO)}),
    Story("another gateway's transition", TRANSITION, {"transition": put(1, to=bytes(16))}),
    Story("transition too long", TRANSITION, {"transition": _long}),
    Story("transition zero", TRANSITION, {"transition": put(3, to=0)}),
    Story("faults unsorted", BOTH, {"transition": put(8, to=["b:x", "a:y"])}),
    Story("faults twice", BOTH, {"transition": put(8, to=["a:x", "a:x"])}),
    Story("faults by UTF-16, not by bytes", BOTH, {"transition": put(8, to=["a:\U00010000", "a:\uffff"])}),
    Story("fault with two colons", BOTH, {"transition": put(8, to=["a:b:c"])}),
    Story("transition's contract not there", TRANSITION, {"block_part": put(3, to=lambda parts: parts[1:])}),
    Story("alarm's document of another contract", ALARM, {"alarm_part": put(1, to=b"x")}),
    Story("another chain's alarm", ALARM, {"transition": put(0, to=ZERO)}),
    Story("alarm without a signature", ALARM, {"alarm": put(3, to=bytes(64))}),
    Story("alarm beside another transition", BOTH, {"leaf": put(1, to=_later)}),
    Story("alarm beside a reading", Case(alarm=True), {}),
    Story("alarm under the other mark", ALARM, {"alarm": put(0, to=1)}),
    Story("alarm accepted under the other mark", Case(block=False, alarm=True, mark=1), {"alarm_leaf": put(3, to=0)}),
    Story("another gateway's alarm", ALARM, {"transition": put(1, to=bytes(16))}),
    Story("header's leaf of another kind", PUBLIC, {"header_leaf": put(0, to=3)}),
    Story("document seventeen times", PUBLIC, {"block_part": put(3, to=lambda parts: parts[:1] * 17)}),
    Story("documents as a byte string", PUBLIC, {"block_part": put(3, to=b"")}),
    Story("index of a longer log", PUBLIC, {"finality": put(0, to=10)}),
    Story("index behind the log", PUBLIC, {"finality": put(0, to=MOST)}),
    Story("path too long", PUBLIC, {"finality": put(1, to=lambda path: [*path, ZERO])}),
    Story("another chain's ticket", PUBLIC, {"ticket": put(0, to=ZERO)}),
    Story("ticket of no authority", PUBLIC, {"ticket": put(1, to=ZERO)}),
    Story("ticket signed by another authority", PUBLIC, {"ticket": put(1, to=key_of("regulator").public)}),
    Story("enrolment of another key", PUBLIC, {"enrolment_body": put(1, to=OTHER)}),
    Story("ticket's key is the gateway's", PUBLIC, {"ticket": put(2, to=GATEWAY), "enrolment": _twice_signed}),
    Story("not signed by the ticket's key", PUBLIC, {"enrolment": put(2, to=bytes(64))}),
    Story("not signed by the gateway's key", PUBLIC, {"enrolment": put(3, to=bytes(64))}),
    Story("roster that is not there", PUBLIC, {"roster_shown": lambda _: [b"", [[], b"", b""]]}),
    Story("absent roster", ADMITTED, {"roster_shown": put(0, to=b"")}),
    Story("another roster", ADMITTED, {"roster_shown": put(0, to=lambda value: value[:-1] + b"\1")}),
    Story("roster without authorities", ADMITTED, {"roster": put(1, to=[])}),
    Story("roster without members", ADMITTED, {"roster": put(2, to=[])}),
    Story("roster of 65 members", ADMITTED, {"roster": put(2, to=lambda m: m[:1] * 65)}),
    Story("member with half a key", ADMITTED, {"roster": put(2, 0, 3, to=bytes(16))}),
    Story("member with a vote and no key", ADMITTED, {"roster": put(2, 1, 4, to=1)}),
    Story("member of standing 10", ADMITTED, {"roster": put(2, 2, 5, to=10)}),
    Story("member of standing 13", ADMITTED, {"roster": put(2, 2, 5, to=13)}),
    Story("member of too great a power", ADMITTED, {"roster": put(2, 0, 4, to=2**40 + 1)}),
    Story("import from a chain not taken over", IMPORTED, {"genesis": put(11, to=[])}),
    Story("import from another state", IMPORTED, {"genesis": put(11, 0, 2, to=OTHER)}),
    Story("import of another state", IMPORTED, {"import": put(1, 1, to=OTHER), "genesis": put(11, 0, 2, to=OTHER)}),
    Story("import of another gateway", IMPORTED, {"import": put(2, to=bytes(16))}),
    Story("import of a gateway that was not there", IMPORTED, {"import": put(3, 0, to=b"")}),
    Story("import of another entry", IMPORTED, {"import": put(3, 0, to=lambda value: value[:-1] + b"\0")}),
    Story("import without a contract set that was there", IMPORTED, {"import": put(4, 0, to=b"")}),
    Story("import with a contract set of another", IMPORTED, {"import": put(4, to=[b"\x82\1\0", [[], b"", b""]])}),
    Story("import of another key", IMPORTED, {"old_entry": put(1, 0, 0, to=OTHER)}),
    Story("import of a key from another height", IMPORTED, {"old_entry": put(1, 0, 1, to=2)}),
    Story("import of a key under another's id", Case(imported=True, rotated=True), {"old_entry": put(1, to=_turned)}),
    Story("import of standing 17", IMPORTED, {"old_entry": put(2, to=17)}),
    Story("import without keys", IMPORTED, {"old_entry": put(1, to=[])}),
    Story("another import", IMPORTED, {"key_entry": put(4, to=OTHER)}),
    Story("import of a rotated key", IMPORTED, {"key_entry": put(3, to=5)}),
    Story("import of an enrolled key", IMPORTED, {"key_entry": put(3, to=3)}),
    Story("no import of an imported key", IMPORTED, {"standing": put(1, to=b"")}),
    Story("key begun by a record of kind 15", IMPORTED, {"key_entry": put(3, to=15)}),
    Story("key begun by a record of kind 17", IMPORTED, {"key_entry": put(3, to=17)}),
    Story("chain taken over twice", IMPORTED, {"genesis": put(11, to=lambda taken: taken * 2)}),
    Story("alarm of a chain not taken over", MOVED, {"genesis": put(11, 0, 0, to=OTHER)}),
    Story("header of the chain taken over", IMPORTED, {"header": put(0, to=OLD_CHAIN)}),
    Story("ticket of the chain taken over", Case(of_before=True), {"ticket": put(0, to=OLD_CHAIN)}),
    Story("seal of the chain taken over", IMPORTED, {"block_body": put(0, to=OLD_CHAIN)}),
    Story("another enrolment", PUBLIC, {"key_entry": put(4, to=OTHER)}),
    Story("signed under suite 2", PUBLIC, {"signed_header": under_suite_2}),
    Story("enrolment under suite 2", PUBLIC, {"enrolment": put(0, to=2)}),
    Story("another gateway's id", PUBLIC, {"gateway": lambda _: bytes(16)}),
    Story("no enrolment of a first key", PUBLIC, {"standing": put(1, to=b"")}),
    Story("enrolment of a rotated key", ROTATED, {"standing": put(1, to=b"\x80")}),
    Story("first key from the second block", PUBLIC, {"key_entry": put(2, to=2)}),
    Story("first key from height zero", PUBLIC, {"key_entry": put(2, to=0)}),
    Story("key begun by a record of kind 4", ROTATED, {"key_entry": put(3, to=4)}),
    Story("entry of another gateway's key", ROTATED, {"key_entry": put(0, to=bytes(16))}),
    Story("entry of another key", ROTATED, {"key_entry": put(1, to=OTHER)}),
    Story("block before the key's first", ROTATED, {"key_entry": put(2, to=8)}),
    Story("block after rotation", Case(ended=5), {"key_end": put(1, 1, to=6)}),
    Story("another block at the end", Case(ended=6), {"key_end": put(1, 2, to=OTHER)}),
    Story("another epoch at the end", Case(ended=7), {"key_end": put(1, 0, to=1)}),
    Story("key revoked altogether", Case(ended=6), {"key_end": put(1, to=[0, 0, ZERO])}),
    Story("begin of another key", ROTATED, {"begin_key": put(2, to=OTHER)}),
    Story("begin of another gateway", ROTATED, {"begin_key": put(1, to=bytes(16))}),
    Story("end of another key", Case(ended=6), {"end_key": put(2, to=OTHER)}),
    Story("no end of another key", PUBLIC, {"end_key": put(2, to=OTHER)}),
    Story("end hidden", Case(ended=6), {"end": put(0, to=b"")}),
    Story("end by a record of kind 4", Case(ended=4), {}),
    Story("another chain's seal", PUBLIC, {"block_body": put(0, to=ZERO)}),
    Story("seal of another application hash", PUBLIC, {"block_body": put(3, to=ZERO)}),
    Story("hub's seal under engine 2", COMET, {"seal_engine": lambda _: 1}),
    Story("standing older than the acceptance", PUBLIC, {"as_of_body": sealed(8, WALL)}),
    Story("standing below the alarm's acceptance", ALARM, {"as_of_app": put(0, to=2), "as_of_body": sealed(7, WALL)}),
    Story("standing of an earlier time", PUBLIC, {"as_of_body": put(2, to=WALL + 59_999)}),
    Story("standing of a smaller log", PUBLIC, {"as_of_app": put(0, to=6)}),
    Story("two seals of one height", PUBLIC, {"as_of_body": put(1, to=9)}),
    Story("two logs of one height", PUBLIC, {"as_of_app": put(1, to=OTHER), "as_of_body": sealed(9, WALL + 60_000)}),
    Story("alarm below its block but later", BOTH, {"alarm_body": put(2, to=WALL + 60_001)}),
    Story("alarm above its block in a smaller log", BOTH, {"block_body": sealed(7, WALL)}),
    Story("alarm at its block's height by another seal", BOTH, {"alarm_body": sealed(9, WALL + 60_000)}),
    Story("alarm at the height seen by another seal", BOTH, {"alarm_body": sealed(6, WALL - 5)}),
    Story("alarm below the seal seen but later", BOTH, {"alarm_body": sealed(5, WALL - 4)}),
    Story("alarm below the seal seen in a larger log", BOTH, {"alarm_body": sealed(5, 0), "seen_app": put(0, to=1)}),
    Story("consensus back in time", COMET, {"as_of_header": sealed_comet(21, WALL + 59_000)}),
    Story("consensus back in its log", COMET, {"as_of_app": put(0, to=6)}),
    Story("two consensus headers of one height", COMET, {"as_of_header": put(3, to=20)}),
    Story("file too large", COMET_BOTH, {"documents": _many_documents, "validator_sets": _steps(100)}),
    Story("seal of another engine", PUBLIC, {"seal": put(0, to=2)}),
    Story("neither block nor alarm", Case(block=False), {}),
    Story("hash suite 2", PUBLIC, {"genesis": put(1, to=2)}),
    Story("no regulator", PUBLIC, {"genesis": put(5, 1, 1, to=2)}),
    Story("authority's name twice", PUBLIC, {"genesis": put(5, 1, 0, to="fire")}),
    Story("more custodians than agencies", PUBLIC, {"genesis": put(10, to=2)}),
    Story("two hubs under engine 1", PUBLIC, {"genesis": put(6, to=lambda hubs: [*hubs, ["h", "a", OTHER]])}),
    Story("validators under engine 1", PUBLIC, {"genesis": put(7, to=[[OTHER, 1]])}),
    Story("more validators than hubs", COMET, {"genesis": put(6, to=lambda hubs: hubs[:-1])}),
    Story("hub that is a validator too", COMET, {"genesis": lambda g: put(6, 3, 2, to=g[7][0][0])(g)}),
    Story("validator twice", COMET, {"genesis": put(7, to=lambda v: [*v, [v[0][0], 1]])}),
    Story("header of another chain", COMET, {"block_header": put(2, to="tocsin-")}),
    Story("header not above the step", COMET, {"block_header": put(3, to=1)}),
    Story("half of the power", COMET, {"commit": put(3, to=lambda votes: votes[:2])}),
    Story("exactly two thirds", COMET, {"validator_sets": _two_thirds, "commit": put(3, to=lambda votes: votes[:2])}),
    Story("one validator twice", COMET, {"commit": put(3, to=lambda votes: [*votes[:2], *votes[:2]])}),
    Story("validators by falling index", COMET, {"commit": put(3, to=lambda votes: votes[::-1])}),
    Story("validator beyond the set", COMET, {"commit": put(3, to=lambda votes: [*votes, [5, 0, 0, bytes(64)]])}),
    Story("bad surplus precommit", COMET, {"commit": put(3, 3, 3, to=bytes(64))}),
    Story("step names another set", COMET, {"step_header": put(12, to=OTHER)}),
    Story("step is of another set", COMET, {"step_header": put(11, to=OTHER)}),
    Story("step is of another chain", COMET, {"step_header": put(2, to="tocsin-")}),
    Story("last header is of another set", COMET, {"block_header": put(11, to=OTHER)}),
    Story("step without a change", COMET, {"validator_sets": lambda sets: [sets[0], sets[0]]}),
    Story("validator twice in a step", COMET, {"validator_sets": _with_twin}),
    Story("set out of order", COMET, {"validator_sets": lambda sets: [sets[0], sets[1][::-1]]}),
    Story("first set out of order", COMET, {"validator_sets": lambda sets: [in_order(sets[0])[::-1], sets[1]]}),
)  # fmt: skip
