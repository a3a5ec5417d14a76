"""Four real hubs and a witness outside: one log, cosigned by all, verified offline; a lie about it is kept."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from agencies import Agency, Federation, wait_for
from click.testing import CliRunner

from firmware_tools.cli import main
from firmware_tools.trusted_log import TrustedLog
from firmware_tools.witness import Server, Witness
from gateway.chain.cometbft import chain_id
from gateway.chain.notes import LogHead, Note, Submission, sign_note
from hub.witnessing.plainhttp import post


def configure(hub: Agency, outside: str = "") -> None:
    """Have a hub publish every second, and ask a witness outside."""
    file = hub.directory / "hub.toml"
    text = file.read_text()
    assert text.count("[federation]\n") == 1
    file.write_text(
        text.replace("[federation]\n", "[federation]\ncheckpoint_seconds = 1\nidle_seconds = 2\n") + outside
    )


def note_of(hub: Agency) -> bytes:
    """The latest note of a hub, empty while there is none."""
    return hub.rest.get("/v1/log/checkpoint") if hub.rest.status_of("/v1/log/checkpoint") == 200 else b""


def cosigned(hub: Agency, size: int, *others: str) -> bytes:
    """Wait for a hub's note of at least so many leaves with the cosignatures of others, by name."""

    def look() -> bytes:
        found = note_of(hub)
        names = {line.name.rpartition("/")[2] for line in Note.parse(found).lines} if found else set()
        return found if names >= set(others) and LogHead.parse(Note.parse(found).text).size >= size else b""

    return wait_for(look, f"a note of {hub.name} with the cosignatures of {', '.join(others)}")


def verify(directory: Path, note: bytes, genesis: bytes, *more: object) -> dict[str, object]:
    """What the command proves of a note."""
    (directory / "shown.note").write_bytes(note)
    (directory / "trusted.cbor").write_bytes(genesis)
    words = ["verify", str(directory / "shown.note"), "--trust", str(directory / "trusted.cbor"), "--json"]
    result = CliRunner().invoke(main, [*words, *map(str, more)], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.output))


def kept(directory: Path, name: str, data: bytes) -> Path:
    (directory / name).write_bytes(data)
    return directory / name


def test_one_log_is_cosigned_by_all_hubs_and_outside_and_a_lie_about_it_is_found(
    founding: Federation, tmp_path: Path
) -> None:
    log = TrustedLog.of(founding.genesis)
    witness = Witness(tmp_path / "witness", "university.example/tocsin", [log])
    with Server(witness, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for hub in founding.hubs:
            first = hub is founding.hubs[0]
            configure(
                hub, f'\n[[witnesses]]\nurl = "{server.url}"\nvkey = "{witness.vkey}"\n' if first else ""
            )
        with founding as federation:
            check_log(federation, tmp_path, str(witness.vkey))
        server.shutdown()


def check_log(federation: Federation, directory: Path, vkey: str) -> None:
    one, two, three, four = federation.hubs
    genesis, names = federation.genesis.encode(), [hub.name for hub in federation.hubs]
    federation.call("a", at=one)
    early = cosigned(one, 1, *names[1:], "tocsin")
    proved = verify(directory, early, genesis, "--witness", vkey)
    assert proved["votes"] == [4, 4]
    shown = proved["checkpoint"]
    assert isinstance(shown, dict)
    assert [name for name, _ in shown["cosigned"]] == [*names[1:], "university.example/tocsin"]

    four.kill()
    two.kill()
    federation.start([two])  # it goes on from what it had cosigned
    federation.call("b", at=one)
    size = one.answer("/v1/status")["log_size"]
    late = [cosigned(hub, size, *{"hub-1", "hub-2", "hub-3"} - {hub.name}) for hub in (one, two, three)]
    assert (
        len({Note.parse(each).text for each in late if LogHead.parse(Note.parse(each).text).size == size})
        == 1
    )
    old = LogHead.parse(Note.parse(early).text).size
    new = LogHead.parse(Note.parse(late[1]).text).size
    proved = verify(
        directory,
        late[1],
        genesis,
        *("--members", kept(directory, "members.cbor", three.rest.cbor("/v1/log/members"))),
        *("--against", kept(directory, "early.note", early)),
        *("--proof", kept(directory, "proof.txt", three.rest.get(f"/v1/log/proof?old={old}&new={new}"))),
    )
    assert proved["votes"] == [3, 4]
    check_lie(federation, one, three)


def check_lie(federation: Federation, one: Agency, liar: Agency) -> None:
    """A hub that signs another log than the one agreed on is refused, and both notes are kept."""
    origin = chain_id(federation.genesis.hash)
    size = LogHead.parse(Note.parse(note_of(one)).text).size
    text = LogHead(origin, size, bytes(32)).text
    lie = Submission(0, (), Note(text, (sign_note(federation.key(liar), origin, text),)))
    status, _ = post(f"{one.url}/v1/witness/add-checkpoint", lie.encode(), 1000)
    assert status == 422
    (split,) = one.answer("/v1/log/splits")
    log = TrustedLog.of(federation.genesis)
    signers = [Note.parse(split[side].encode()).verify(log.keys)[0] for side in ("theirs", "ours")]
    assert [log.member(each.key.public).name for each in signers] == [liar.name, one.name]  # type: ignore[union-attr]
    assert [each["kind"] for each in one.answer("/v1/findings")].count("split-view") == 1
