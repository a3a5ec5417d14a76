"""A support bundle: what somebody far away needs to find out what is wrong with a gateway, in one file.

Owns what goes in, the index and the archive. What is a secret is `gateway.inspection.redaction`'s, the machine's facts
`gateway.inspection.facts`'. It asks a running gateway and reads its database, and changes neither.

Invariants:
* Every member is looked through for every known secret before it goes in; one that holds any is left out, and the
  index says so. A part that cannot be had is named there too, with the reason: a bundle is made in any case.
* The file appears whole, readable by its owner alone, or not at all.
"""

from __future__ import annotations

import io
import json
import platform
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

from gateway.chain.canonical import encode
from gateway.chain.errors import ChainError
from gateway.config import Config, parse_config
from gateway.contracts.errors import ContractError
from gateway.contracts.tables import loads_toml
from gateway.errors import ConfigError, GatewayError
from gateway.files import replace_whole
from gateway.inspection.facts import Machine, run
from gateway.inspection.redaction import Secrets, redacted, secrets_of
from gateway.machine import software

__all__ = ["Contents", "make_bundle"]

_MAX_LOG: Final = 8 << 20
_UNIT: Final = "tocsin-gateway.service"
_FAILURES: Final = (GatewayError, ContractError, ChainError, OSError, ValueError)


@dataclass(slots=True)
class Contents:
    """What a bundle holds.

    Attributes:
        members: by name, the bytes and what they are.
        left_out: by name, why a part is missing.
    """

    members: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def index(self) -> dict[str, Any]:
        """Return what is inside and what is not."""
        return {
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "by": software(),
            "members": [
                {"name": name, "bytes": len(data), "sha256": sha256(data).hexdigest(), "what": what}
                for name, (data, what) in self.members.items()
            ],
            "left_out": self.left_out,
        }


def make_bundle(
    path: Path, out: Path, *, logs: Sequence[Path] = (), blocks: int = 20, lines: int = 5000
) -> Contents:
    """Write a bundle for the configuration at `path`.

    Args:
        logs: files in place of the journal of the gateway's unit.
        blocks: how many of the newest blocks go in.
        lines: how much of the journal.

    Raises:
        ConfigError: the archive cannot be written.
    """
    tree, config = _configuration(path)
    secrets = secrets_of(config, _named(tree, path.parent))
    contents = Contents()
    _gather(contents, secrets, path, tree, config, logs, blocks, lines)
    _write(out, contents)
    return contents


def _gather(
    contents: Contents,
    secrets: Secrets,
    path: Path,
    tree: dict[str, object],
    config: Config | None,
    logs: Sequence[Path],
    blocks: int,
    lines: int,
) -> None:
    def put(name: str, what: str, make: Callable[[], object]) -> None:
        try:
            made = make()
        except _FAILURES as error:
            contents.left_out[name] = secrets.clean(str(error))
            return
        data = made if isinstance(made, bytes) else secrets.clean(_text(made)).encode()
        if secrets.stand_in(data):
            contents.left_out[name] = "it holds a secret"
        else:
            contents.members[name] = data, what

    put("configuration.json", "the configuration, without secrets", lambda: redacted(_tree(tree, path)))
    put("check.json", "what `tocsin-gateway check` says", lambda: _check(path))
    put("versions.json", "this software and what it is built on", _versions)
    data = config.data if config else path.parent
    put("machine.json", "the machine: supply, clock, disk, watchdog", lambda: Machine().everything(data))
    put("clock.json", "the clocks at this moment", _clock)
    for name, read in _logs(logs, lines):
        put(name, "log", read)
    if config is None:
        return
    put("status.json", "what the running gateway says", lambda: _status(config))
    try:
        found = list(_blocks(config, blocks))
    except _FAILURES as error:
        contents.left_out["blocks"] = secrets.clean(str(error))
        return
    for name, what, body in found:
        put(f"blocks/{name}", what, lambda body=body: body)  # type: ignore[misc]


def _configuration(path: Path) -> tuple[dict[str, object], Config | None]:
    """Return a configuration's tree and what it means, as far as either is understood."""
    tree: dict[str, object] = {}
    try:
        text = path.read_text(encoding="utf-8")
        tree = loads_toml(text, str(path))
        return tree, parse_config(text, path)
    except (OSError, UnicodeDecodeError, ContractError, ConfigError):
        return tree, None


def _tree(tree: dict[str, object], path: Path) -> dict[str, object]:
    if not tree:
        raise ConfigError(f"{path} cannot be read or is not TOML; what it holds is not copied")
    return tree


def _named(tree: object, base: Path) -> Iterator[Path]:
    """Yield the secret files that a tree names, even one that is not understood."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key in ("ticket", "password_file", "key_file") and isinstance(value, str):
                yield base / value
            elif key == "data" and isinstance(value, str):
                yield base / value / "key"
            yield from _named(value, base)
    elif isinstance(tree, list):
        for value in tree:
            yield from _named(value, base)


def _check(path: Path) -> dict[str, Any]:
    from gateway.config import load_config
    from gateway.inspection.checking import examine

    try:
        return examine(load_config(path), str(path)).statement()
    except (GatewayError, ContractError, ChainError) as error:
        return {"error": str(error)}


def _versions() -> dict[str, Any]:
    return {
        "software": software(),
        "python": sys.version,
        "machine": platform.machine(),
        "system": platform.platform(),
        "packages": dict(sorted((each.metadata["Name"], each.version) for each in distributions())),
    }


def _clock() -> dict[str, Any]:
    return {
        "wall_ms": time.time_ns() // 1_000_000,
        "monotonic_ms": time.monotonic_ns() // 1_000_000,
        "boottime_ms": time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
        "boot_id": Machine().text("proc/sys/kernel/random/boot_id"),
        "timedatectl": run(["timedatectl", "show"]),
    }


def _status(config: Config) -> dict[str, Any]:
    from gateway.control import ask

    return dict(ask(config.data / "control.sock", {"do": "status"}))


def _logs(logs: Sequence[Path], lines: int) -> Iterator[tuple[str, Callable[[], object]]]:
    if not logs:
        yield "logs/journal.txt", lambda: _journal(lines)
    for number, log in enumerate(logs):
        yield f"logs/{number}-{log.name}", lambda log=log: _tail(log)  # type: ignore[misc]


def _journal(lines: int) -> str:
    text = run(["journalctl", "--no-pager", "--output=short-precise", "--lines", str(lines), "--unit", _UNIT])
    if text is None:
        raise ConfigError(f"no journal of {_UNIT} here; name log files with --log")
    return text[-_MAX_LOG:]


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _MAX_LOG))
        return file.read(_MAX_LOG).decode(errors="replace")


def _blocks(config: Config, count: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield the newest blocks as they are stored and sent: header, signature, and the bodies that are still here.

    One that has no place in the chain yet has no signature; it goes by its number.
    """
    from gateway.storage.recovery import DATABASE
    from gateway.storage.store import Store

    path = config.data / DATABASE
    if not path.exists():
        raise ConfigError(f"{path} does not exist: nothing was recorded yet")
    store = Store(path, writable=False)
    try:
        head = store.head()
        signed = store.above(max(0, head.height - count)) if head else []
        for stored in [*signed, *store.drafts()][-count:] if count else ():
            if stored.height:
                how = "final" if stored.final else "not known to be final"
                name, data = f"{stored.epoch}-{stored.height}.block", store.message(stored).encode()
            else:
                how, name = "not signed yet: its header and its segments", f"{stored.number}.draft"
                data = encode([stored.header, list(store.message(stored).segments)])
            yield name, f"block, {how}", data
    finally:
        store.close()


def _text(made: object) -> str:
    return (
        made if isinstance(made, str) else json.dumps(made, indent=1, ensure_ascii=False, default=str) + "\n"
    )


def _write(out: Path, contents: Contents) -> None:
    try:
        replace_whole(out, _archive(contents), 0o600)
    except OSError as error:
        raise ConfigError(f"{out}: the bundle cannot be written: {error.strerror}") from error


def _archive(contents: Contents) -> bytes:
    file = io.BytesIO()
    index = _text(contents.index()).encode()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in (("index.json", index), *((n, d) for n, (d, _) in contents.members.items())):
            info = tarfile.TarInfo(f"tocsin-bundle/{name}")
            info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()
