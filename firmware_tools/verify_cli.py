"""`tocsin-tools verify` and `witness`: for whoever trusts a genesis and no hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from firmware_tools.errors import BadFile

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("file", type=_PATH)
@click.option("--trust", required=True, type=_PATH, help="The genesis, or its hash in hexadecimal.")
@click.option("--json", "as_json", is_flag=True, help="Print the proved statement as one JSON object.")
@click.option(
    "--members", type=_PATH, help="A checkpoint: who belongs now, as /v1/log/members of a hub gives it."
)
@click.option(
    "--witness", "witnesses", multiple=True, metavar="VKEY", help="A checkpoint: a witness that is known."
)
@click.option("--against", type=_PATH, help="A checkpoint: another one that it must agree with.")
@click.option(
    "--proof", type=_PATH, help="A checkpoint: what /v1/log/proof of a hub gives for the two sizes."
)
@click.option(
    "--technician", metavar="KEY", help="A commissioning record: the technician's key that is known."
)
def verify(
    file: Path,
    trust: Path,
    as_json: bool,
    members: Path | None,
    witnesses: tuple[str, ...],
    against: Path | None,
    proof: Path | None,
    technician: str | None,
) -> None:
    """Verify an evidence FILE, a checkpoint or a commissioning record offline, trusting only a genesis.

    Example: tocsin-tools verify alarm.evidence --trust genesis.cbor

    A checkpoint is what /v1/log/checkpoint of a hub gives:

    Example: tocsin-tools verify today.note --trust genesis.cbor --against last-year.note --proof proof.txt

    A commissioning record is signed by a technician, whose key must be known from elsewhere:

    Example: tocsin-tools verify flat-3.commissioning --trust genesis.cbor --technician 9f31…
    """
    if file.suffix == ".pdf":
        record = file.with_suffix(".commissioning")
        raise BadFile(
            f"{file} is for people; verify the record that is attached to it: {record} --technician KEY"
        )
    if technician or file.suffix == ".commissioning":
        from firmware_tools.verify_commissioning import explain_commissioning, verify_commissioning

        certified = verify_commissioning(file, trust, technician)
        _print(certified.statement(), explain_commissioning(certified), as_json)
        return
    if _is_note(file):
        from firmware_tools.verify_note import explain_note, verify_note

        note = verify_note(file, trust, members=members, witnesses=witnesses, against=against, proof=proof)
        _print(note.statement(), explain_note(note), as_json)
        return
    if members or witnesses or against or proof:
        raise BadFile(f"{file} is no checkpoint: --members, --witness, --against and --proof are for those")
    from firmware_tools.verify import explain, verify_file

    finding = verify_file(file, trust)
    _print(finding.statement(), explain(finding), as_json)


def _is_note(file: Path) -> bool:
    """Tell whether a file starts as a checkpoint does; whoever reads it whole says what is wrong with it."""
    try:
        with file.open("rb") as opened:
            return opened.read(7) == b"tocsin-"
    except OSError as error:
        raise BadFile(f"{file}: {error.strerror}") from error


def _print(statement: dict[str, Any], words: Iterable[str], as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps(statement, ensure_ascii=False))
    else:
        click.echo("Verified.\n" + "\n".join(words))


@click.command()
@click.option("--dir", "directory", required=True, type=_PATH, help="The witness' own directory; keep it.")
@click.option(
    "--trust", "trusts", required=True, multiple=True, type=_PATH, help="A chain's genesis; one for each log."
)
@click.option(
    "--members", type=_PATH, help="Who belongs now, as /v1/log/members of a hub gives it; with one --trust."
)
@click.option(
    "--name", default="", help="At the first start: its name for ever, such as university.example/tocsin."
)
@click.option("--listen", default="127.0.0.1:8090", show_default=True, help="Where to listen: host:port.")
def witness(directory: Path, trusts: tuple[Path, ...], members: Path | None, name: str, listen: str) -> None:
    """Cosign the checkpoints of federations' logs, as a witness outside all hubs (C2SP tlog-witness).

    Prints the verifier key that the hubs' operators put into hub.toml. TLS is a reverse proxy's work.

    Example: tocsin-tools witness --dir witness --name university.example/tocsin --trust genesis.cbor
    """
    from firmware_tools.trusted_log import load_log
    from firmware_tools.witness import Witness, serve

    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"{listen!r} is not host:port", param_hint="--listen")
    if members and len(trusts) > 1:
        raise click.BadParameter("goes with one --trust", param_hint="--members")
    found = Witness(directory, name, [load_log(each, members) for each in trusts])

    def ready(url: str) -> None:
        click.echo(f'[[witnesses]]\nurl = "{url}"\nvkey = "{found.vkey}"')

    serve(found, host.strip("[]"), int(port), ready)
