"""What the files of `tocsin-hub`'s commands share: options, files, questions to the running hub."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hub.errors import HubError

if TYPE_CHECKING:
    import ssl

    from hub.config import Config

CONFIG: Final = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("hub.toml"),
    show_default=True,
    help="The hub's TOML file.",
)
DIRECTORY: Final = click.option(
    "--dir", "directory", type=click.Path(path_type=Path), required=True, help="The hub's directory."
)
NUMBER: Final = click.IntRange(0, (1 << 48) - 1)
JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class NotYet(HubError):
    """The running hub took it, and could not have it made final so far."""


def hexadecimal(text: str, size: int) -> bytes:
    """Return the bytes of a hexadecimal option; anything else is a usage error."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != size:
        raise click.UsageError(f"{text!r:.80} is not {2 * size} hexadecimal digits")
    return found


def write(path: Path, data: bytes) -> None:
    """Write a file. Raises HubError."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise HubError(f"{path} cannot be written: {error.strerror}") from error


def read(path: Path) -> bytes:
    """Return a file's bytes. Raises HubError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise HubError(f"{path}: {error.strerror}") from error


def ask(config: Config, path: str, body: bytes | None = None) -> Any:
    """Return what the running hub of a directory answers. Raises HubError."""
    from hub.endpoints import read_endpoints

    return fetch(read_endpoints(config.directory)["api"], path, body, config.api.cert_file)


def fetch(url: str, path: str, body: bytes | None = None, pinned: str = "") -> Any:
    """Return what a hub's REST interface answers; it shows the certificate `pinned` where one is given.

    Raises HubError.
    """
    import urllib.error
    import urllib.request

    context = _pin(pinned) if pinned else None
    request = urllib.request.Request(url + path, body, {"Content-Type": "application/cbor"})
    try:
        with urllib.request.urlopen(request, timeout=15, context=context) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            said = _words(error.read())
        kind = NotYet if said.startswith("NotFinalYet") else HubError
        raise kind(f"the hub at {url} refuses: {said}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise HubError(f"the hub at {url} does not answer: {reason}; does it run? see its log") from error


def _pin(certificate: str) -> ssl.SSLContext:
    """Trust one certificate and no other, whatever name it is for: on this machine the hub has many."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=certificate)
    except OSError as error:
        raise HubError(f"{certificate} is no certificate: {error}") from error
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def show(found: dict[str, Any], as_json: bool, text: str) -> None:
    """Print one JSON object, or a text for people."""
    if as_json:
        json.dump(found, sys.stdout)
        click.echo()
    else:
        click.echo(text)


def _words(answer: bytes) -> str:
    try:
        found = json.loads(answer)
        return f"{found['error']}: {found['detail']}"
    except (ValueError, LookupError, TypeError):
        return answer.decode("utf-8", "replace")[:300]
