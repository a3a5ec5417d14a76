"""A technician's key: what calibrations and certificates are signed with.

The file is JSON: `name`, and `seed`, the Ed25519 key's seed as 64 hexadecimal digits. Only its owner may read it; it is
never overwritten. Its public half is what a gateway's configuration names.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from firmware_tools.errors import BadFile
from gateway.chain.keys import SigningKey
from gateway.files import create_private


@dataclass(frozen=True, slots=True)
class Technician:
    """Who signs."""

    name: str
    key: SigningKey


def make_technician(name: str, path: Path) -> Technician:
    """Make a key and write it. Raises BadFile: the file is there already or cannot be written, or the name is none."""
    if not name.isprintable() or not 1 <= len(name.encode()) <= 64:
        raise BadFile("a technician's name has 1 to 64 printable characters")
    technician = Technician(name, SigningKey(secrets.token_bytes(32)))
    try:
        create_private(path, json.dumps({"name": name, "seed": technician.key.seed.hex()}) + "\n")
    except FileExistsError as error:
        raise BadFile(f"{path} is there already: a key is never overwritten") from error
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from error
    return technician


def load_technician(path: Path) -> Technician:
    """Read a key. Raises BadFile."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return Technician(str(table["name"]), SigningKey(bytes.fromhex(table["seed"])))
    except OSError as error:
        raise BadFile(
            f"{path}: {error.strerror}; make one with: tocsin-tools technician NAME -o {path}"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise BadFile(f"{path}: not a technician's key: {error}") from error
