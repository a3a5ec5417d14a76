"""New keys for a member: made beside the present ones, taken up once the chain has them in force.

Owned: the files of the next keys, and the change from one to the other, which is made while the engine is down.
Not owned: how the federation agrees to it (`hub.federation.changes`), the keys' formats (`hub.config`,
`hub.consensus.comet_home`).

Invariants:
- A key is never written over: one that is replaced is kept aside, for the records it signed are still shown.
- The engine never signs for one height under two keys. A new validator key votes from the second final block
  after the change on, and takes over the state of the old one's signing, raised by a height.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from gateway.chain.governance import Member, Roster
from gateway.chain.keys import SigningKey
from hub.config import Config, make_key, read_key
from hub.consensus.comet_home import read_validator_key, validator_document
from hub.errors import ConfigError
from hub.federation.founding import Place, write_statement
from hub.files import replace_private

NEXT: Final = ".next"
HUB_KEY: Final = "hub.key"

_log = logging.getLogger(__name__)


def key_file(home: Path) -> Path:
    """Return where the engine's home has its validator key."""
    return home / "config" / "priv_validator_key.json"


def state_file(home: Path) -> Path:
    """Return where the engine keeps what it signed last."""
    return home / "data" / "priv_validator_state.json"


def next_hub_key(config: Config) -> SigningKey:
    """Return this hub's next key, which is made when there is none. Raises ConfigError."""
    return make_key(config.directory, HUB_KEY + NEXT)


def next_validator_key(config: Config) -> SigningKey:
    """Return the key that this hub will vote with, which is made when there is none. Raises ConfigError."""
    return make_key(config.directory, "validator.key" + NEXT)


def state_next(
    config: Config, genesis: bytes, agency: str, power: int, *, hub: bool, validator: bool
) -> Path:
    """Make the next keys asked for, and the member's statement under them; return that file. Raises HubError."""
    key = next_hub_key(config) if hub else read_key(config.directory / HUB_KEY)
    vote = None
    if power:
        vote = next_validator_key(config) if validator else present_validator_key(config)
    place = Place(config.hub.name, agency, config.hub.region, power)
    return write_statement(config.directory, place, genesis, key, vote)


def has_next(config: Config) -> bool:
    """Tell whether next keys were made that were not taken up yet."""
    return any((config.directory / (file + NEXT)).exists() for file in (HUB_KEY, "validator.key"))


def adopt_keys(config: Config, roster: Roster) -> list[str]:
    """Take up next keys that are in force by now; the engine must be down. Return what was taken up.

    Raises ConfigError where the files cannot be changed.
    """
    member = _self(config, roster)
    taken = []
    if member is not None and _is_next(config, "validator.key", member.validator):
        install_validator_key(Path(config.federation.engine_home), next_validator_key(config))
        _retire(config.directory / f"validator.key{NEXT}", remove=True)
        taken.append("validator key")
    if member is not None and _is_next(config, HUB_KEY, member.key):
        path = config.directory / HUB_KEY
        if path.exists():
            _retire(path)
        (config.directory / (HUB_KEY + NEXT)).rename(path)
        taken.append("hub key")
    for each in taken:
        _log.info("the new %s is in force and taken up", each)
    return taken


def waits_for_keys(config: Config, roster: Roster) -> bool:
    """Tell whether a next key is in force that was not taken up yet. Raises ConfigError."""
    member = _self(config, roster)
    return member is not None and (
        _is_next(config, "validator.key", member.validator) or _is_next(config, HUB_KEY, member.key)
    )


def install_validator_key(home: Path, key: SigningKey, signed: int = 0) -> None:
    """Make a key the engine's, to sign only above final block `signed` and whatever this home has signed.

    Raises ConfigError.
    """
    path, state = key_file(home), state_file(home)
    height = max(signed, last_signed(home)) + 1
    try:
        for directory in (path.parent, state.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The state first: whatever a crash leaves, no key meets a state that lies below what it has signed.
        replace_private(state, json.dumps({"height": str(height), "round": 0, "step": 0}, indent=2) + "\n")
        if path.exists() and read_validator_key(path).public != key.public:
            _retire(path)
        replace_private(path, validator_document(key.seed))
    except OSError as error:
        raise ConfigError(f"{home} cannot be written: {error}") from error


def last_signed(home: Path) -> int:
    """Return the highest final block that the engine in a home has signed for, 0 for none. Raises ConfigError."""
    path = state_file(home)
    try:
        return int(json.loads(path.read_bytes())["height"])
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{path} does not say what was signed last: {error}") from error


def present_validator_key(config: Config) -> SigningKey:
    """Return the key that this hub's engine has. Raises ConsensusError."""
    return read_validator_key(key_file(Path(config.federation.engine_home)))


def _self(config: Config, roster: Roster) -> Member | None:
    return next((each for each in roster.members if each.name == config.hub.name), None)


def _is_next(config: Config, file: str, public: bytes) -> bool:
    path = config.directory / (file + NEXT)
    return bool(public) and path.exists() and read_key(path).public == public


def _retire(path: Path, *, remove: bool = False) -> None:
    """Keep a key's file aside, under the first free number, or remove it once its key is elsewhere."""
    try:
        if remove:
            path.unlink()
            return
        number = 1
        while (aside := path.with_name(f"{path.name}.{number}")).exists():
            number += 1
        path.rename(aside)
    except OSError as error:
        raise ConfigError(f"{path} cannot be put aside: {error}") from error
