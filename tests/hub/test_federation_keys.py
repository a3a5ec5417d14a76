"""A member's keys change without two of them ever signing one height; a restored key waits for its time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.chain.finality import AppState, Checkpoint, Seal
from gateway.chain.governance import Joining, Member, Roster
from gateway.chain.keys import NO_HASH, SigningKey
from gateway.chain.trees import EMPTY_ROOT
from hub.config import Config, load_config, read_key
from hub.consensus.base import FinalBlock, FinalEvent, Result
from hub.consensus.comet_home import make_validator_key, read_validator_key
from hub.errors import ConfigError
from hub.federation import quarantine
from hub.federation.founding import Place, init, own_validator
from hub.federation.keys import (
    adopt_keys,
    install_validator_key,
    key_file,
    last_signed,
    present_validator_key,
    state_file,
    state_next,
    waits_for_keys,
)

GENESIS = bytes(range(32))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    init(tmp_path / "hub", Place("rail", "city-rail", "north"))
    return load_config(tmp_path / "hub/hub.toml")


def home(config: Config) -> Path:
    return Path(config.federation.engine_home)


def signed(config: Config, height: int) -> None:
    """Leave the engine's note that it signed a height."""
    state_file(home(config)).write_text(json.dumps({"height": str(height), "round": 1, "step": 3}))


def roster(config: Config, key: bytes = b"", validator: bytes = b"") -> Roster:
    """A roster with this hub under its present keys, or others."""
    key = key or read_key(config.directory / "hub.key").public
    member = Member("rail", "city-rail", key, validator or own_validator(config).public, 1, 0, 0)
    return Roster(1, (), (member,))


def restated(config: Config, *, hub: bool = True, validator: bool = True) -> Member:
    path = state_next(config, GENESIS, "city-rail", 1, hub=hub, validator=validator)
    return Joining.decode(path.read_bytes()).verify(GENESIS)


def test_next_keys_are_taken_up_only_once_they_are_in_force(config: Config) -> None:
    before = read_key(config.directory / "hub.key"), present_validator_key(config)
    signed(config, 41)
    member = restated(config)
    assert member.key != before[0].public
    assert member.validator != before[1].public
    assert not waits_for_keys(config, roster(config))
    assert adopt_keys(config, roster(config)) == []
    assert read_key(config.directory / "hub.key").public == before[0].public
    changed = roster(config, member.key, member.validator)
    assert waits_for_keys(config, changed)
    assert adopt_keys(config, changed) == ["validator key", "hub key"]
    assert read_key(config.directory / "hub.key").public == member.key
    assert present_validator_key(config).public == member.validator
    assert last_signed(home(config)) == 42, "nothing at or below what the old key signed is signed again"
    assert not waits_for_keys(config, changed)
    assert adopt_keys(config, changed) == []
    assert read_key(config.directory / "hub.key.1").public == before[0].public


def test_one_key_changes_without_the_other(config: Config) -> None:
    vote = present_validator_key(config).public
    member = restated(config, validator=False)
    assert member.validator == vote
    assert adopt_keys(config, roster(config, member.key)) == ["hub key"]
    assert present_validator_key(config).public == vote


def test_making_the_next_keys_again_gives_the_same(config: Config) -> None:
    assert restated(config) == restated(config)


def test_another_members_new_key_is_not_taken_for_ones_own(config: Config) -> None:
    member = restated(config)
    other = replace(roster(config, member.key, member.validator).members[0], name="water")
    assert adopt_keys(config, Roster(1, (), (other,))) == []


def test_a_crash_between_the_steps_of_a_change_is_gone_on_from(config: Config) -> None:
    signed(config, 41)
    member = restated(config)
    changed = roster(config, member.key, member.validator)
    key_file(home(config)).rename(key_file(home(config)).with_suffix(".aside"))
    (config.directory / "hub.key").rename(config.directory / "hub.key.1")
    assert adopt_keys(config, changed) == ["validator key", "hub key"]
    assert present_validator_key(config).public == member.validator
    assert last_signed(home(config)) >= 42


def test_a_key_is_installed_above_all_that_was_signed_here_or_elsewhere(tmp_path: Path) -> None:
    key = SigningKey(bytes(range(32)))
    make_validator_key(tmp_path)
    install_validator_key(tmp_path, key, signed=99)
    assert json.loads(state_file(tmp_path).read_text()) == {"height": "100", "round": 0, "step": 0}
    install_validator_key(tmp_path, key, signed=5)
    assert last_signed(tmp_path) == 101
    assert read_validator_key(key_file(tmp_path)).public == key.public
    assert key_file(tmp_path).stat().st_mode & 0o077 == 0


def test_a_state_of_signing_that_cannot_be_read_stops_the_change(config: Config) -> None:
    state_file(home(config)).write_text("{}")
    with pytest.raises(ConfigError, match="does not say what was signed last"):
        install_validator_key(home(config), SigningKey(bytes(32)))


def event(height: int, time: int) -> FinalEvent:
    app = AppState(0, EMPTY_ROOT, NO_HASH)
    return FinalEvent(FinalBlock(height, time, NO_HASH, ()), Result(app, ()), Checkpoint(app, Seal(2, b"")))


def restored(config: Config, at: int) -> SigningKey:
    """Let a key wait in a directory whose engine has another one, as after a restore at `at` (Unix ms)."""
    key = SigningKey(bytes(range(1, 33)))
    quarantine.begin(config.directory, key, at)
    return key


def test_a_restored_key_waits_for_three_final_blocks_made_after_the_restore(config: Config) -> None:
    at = 1_000_000_000
    key = restored(config, at)
    watch = quarantine.Quarantine(config)
    late = at + quarantine.CLOCKS_MS + 1
    for height in range(1, 70):
        watch.heard(event(height, at - 1000 + height))  # what the others made long ago
    assert watch.waits
    for height in (70, 71):
        watch.heard(event(height, late + height))
        assert not watch.over
        assert not quarantine.end(config)
    watch.heard(event(72, late + 72))
    assert watch.over
    assert present_validator_key(config).public != key.public
    assert quarantine.end(config)
    assert present_validator_key(config).public == key.public
    assert last_signed(home(config)) == 73
    assert not quarantine.end(config)
    assert not quarantine.Quarantine(config).waits


def test_a_restored_key_starts_its_wait_anew_when_the_hub_does(config: Config) -> None:
    restored(config, 0)
    first = quarantine.Quarantine(config)
    first.heard(event(5, quarantine.CLOCKS_MS + 1))
    second = quarantine.Quarantine(config)
    second.heard(event(7, quarantine.CLOCKS_MS + 2))
    assert not second.over


def test_a_hub_that_was_never_restored_has_nothing_to_wait_for(config: Config) -> None:
    watch = quarantine.Quarantine(config)
    watch.heard(event(1, 1 << 50))
    assert not watch.waits
    assert not watch.over
    assert not quarantine.end(config)


def test_a_lost_mark_does_not_free_a_restored_key(config: Config) -> None:
    restored(config, 0)
    (config.directory / quarantine.MARK).unlink()
    with pytest.raises(ConfigError, match="restore the hub from its backup again"):
        quarantine.Quarantine(config)
    with pytest.raises(ConfigError, match="restore the hub"):
        quarantine.end(config)
