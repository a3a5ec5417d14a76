"""A hub's backup as one file, and a directory made from it.

Owned: the file, a tar of the configuration, the genesis, the ledger as it stood at one moment, and, if asked for,
the keys. Not owned: when a restored key may vote again (`hub.federation.quarantine`).

Invariants:
- A backup is taken beside a running hub and never disturbs it.
- A federation's hub that was restored gets its chain from the others again, from the first final block on, because
  its engine begins anew and neither may be ahead of the other; what only this hub had, the bodies and what it
  promised, comes from the backup.
- Nothing is restored over a directory that is there.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.chain.genesis import COMETBFT
from gateway.chain.keys import SigningKey
from hub.config import load_config, load_genesis, read_key
from hub.consensus.comet_home import read_validator_key
from hub.errors import ConfigError
from hub.federation import quarantine
from hub.federation.keys import HUB_KEY, key_file
from hub.files import replace_private
from hub.storage.database import copy_database, empty_tables

CONFIG: Final = "hub.toml"
GENESIS: Final = "genesis.cbor"
LEDGER: Final = "ledger.db"
VALIDATOR: Final = "validator.key"
CHAIN: Final = (
    *("genesis", "final_blocks", "commits", "seals", "steps"),
    *("log", "state", "origin", "records"),
)
"""The tables that hold what the others can give again."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a directory was made of: whether keys were there, whether the vote waits, whether a chain is begun anew."""

    keys: bool
    waits: bool
    follows: bool


def backup(directory: Path, output: Path, *, with_keys: bool) -> int:
    """Write a hub's backup, also while it runs, and return its size in bytes. Raises ConfigError, StoreError.

    With keys the file is as secret as they are; it is readable by its owner alone either way.
    """
    config = load_config(directory / CONFIG)
    draft = output.with_name(f"{output.name}.new")
    try:
        # Whoever else may write in that directory must not own what becomes of the backup.
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with (
            open(handle, "wb") as file,
            tarfile.open(fileobj=file, mode="w") as tar,
            tempfile.TemporaryDirectory(dir=output.parent) as place,
        ):
            copy = Path(place) / LEDGER
            copy_database(config.ledger, copy)
            _add(tar, CONFIG, (directory / CONFIG).read_bytes())
            _add(tar, GENESIS, (config.directory / config.hub.genesis).read_bytes())
            if with_keys:
                _add(tar, HUB_KEY, (config.directory / HUB_KEY).read_bytes())
                home = Path(config.federation.engine_home)
                if key_file(home).exists():
                    _add(tar, VALIDATOR, read_validator_key(key_file(home)).seed.hex().encode())
            tar.add(copy, LEDGER)
        draft.replace(output)
        return output.stat().st_size
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)


def restore(file: Path, directory: Path, now_ms: int | None = None) -> Restored:
    """Make a hub's directory from a backup. Raises ConfigError, StoreError; nothing is made then."""
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(f"{directory} is not empty: a backup is restored into a directory of its own")
    draft = directory.with_name(f"{directory.name}.new")
    try:
        draft.mkdir(mode=0o700, parents=True)
        try:
            restored = _unpack(file, draft, time.time_ns() // 1_000_000 if now_ms is None else now_ms)
            draft.replace(directory)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise ConfigError(
            f"{directory} cannot be made from {file}: {error.filename}: {error.strerror}"
        ) from error
    except (tarfile.TarError, KeyError) as error:
        raise ConfigError(f"{file} is no backup of a hub: tocsin-hub backup writes one") from error
    return restored


def _unpack(file: Path, directory: Path, now_ms: int) -> Restored:
    with tarfile.open(file) as tar:
        taken = tar.getmember(LEDGER).mtime
        for name in (CONFIG, GENESIS, LEDGER):
            _extract(tar, name, directory / name)
        key, validator = (_text(tar, name) for name in (HUB_KEY, VALIDATOR))
    config = load_config(directory / CONFIG)
    if config.directory != directory.absolute() or config.hub.genesis != GENESIS:
        raise ConfigError(f"{CONFIG} in {file} places files elsewhere: put them there by hand")
    if key:
        replace_private(directory / HUB_KEY, key + "\n")
        read_key(directory / HUB_KEY)
    follows = load_genesis(directory / GENESIS).engine == COMETBFT
    if follows:
        forget_chain(directory / LEDGER)
    if follows and validator:
        if now_ms + quarantine.CLOCKS_MS < taken * 1000:
            raise ConfigError(
                f"{file} was made later than this machine's clock says it is: set the clock right, because it tells"
                " from when on the restored key may vote"
            )
        quarantine.begin(directory, SigningKey(bytes.fromhex(validator)), now_ms)
    return Restored(bool(key), follows and bool(validator), follows)


def forget_chain(ledger: Path) -> None:
    """Empty the tables that the others' engines fill again, and nothing else. Raises StoreError."""
    empty_tables(ledger, CHAIN)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(data), 0o600, int(time.time())
    tar.addfile(member, io.BytesIO(data))


def _extract(tar: tarfile.TarFile, name: str, path: Path) -> None:
    source = tar.extractfile(name)
    if source is None:
        raise KeyError(f"{name} is no file")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        while data := source.read(1 << 20):
            target.write(data)
        target.flush()
        os.fsync(target.fileno())


def _text(tar: tarfile.TarFile, name: str) -> str:
    try:
        source = tar.extractfile(name)
    except KeyError:
        return ""
    return "" if source is None else source.read().decode("ascii").strip()
