"""What an operator does to a hub of a running federation: new keys, a backup and what is made of it."""

from __future__ import annotations

import json
import shutil
import time

import pytest
from agencies import Agency, Federation, wait_for
from test_four_hubs import Line, check_all

from hub.backup import backup, restore
from hub.config import Config, load_config, read_key
from hub.errors import HubError
from hub.federation.keys import last_signed, present_validator_key
from hub.federation.quarantine import CLOCKS_MS


def at(hub: Agency, *words: object) -> dict[str, str]:
    """What `tocsin-hub federation` reports at a hub."""
    done = hub.command("federation", *words, "--json", "--config", hub.directory / "hub.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def member(hub: Agency, name: str) -> dict[str, object]:
    """A member as a hub shows it; empty while that does not answer."""
    shown = hub.ask("/v1/federation") or {"members": []}
    return next((dict(each) for each in shown["members"] if each["name"] == name), {})


def keys(config: Config) -> tuple[bytes, ...]:
    """The public keys of a running hub and of its engine; none while one of them is being replaced."""
    try:
        return read_key(config.directory / "hub.key").public, present_validator_key(config).public
    except HubError:
        return ()


def others_than(before: tuple[bytes, ...], now: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return () if set(before) & set(now) else now


def replace_keys(changed: Agency, others: list[Agency]) -> None:
    """Make a member's next keys, and have three others put them in force."""
    statement = at(changed, "rekey", "--hub", "--validator")["statement"]
    proposal = at(others[0], "propose", "change", statement, "--reason", "copied")["proposal"]
    for hub in others[1:]:
        at(hub, "approve", proposal[:16])


@pytest.mark.soak
def test_a_member_takes_up_new_keys_by_itself_once_the_others_agree(federation: Federation) -> None:
    changed, *others = federation.hubs
    line = Line(federation, "flat", others[0])
    line.await_final(line.send())
    config = load_config(changed.directory / "hub.toml")
    before = read_key(changed.directory / "hub.key").public, present_validator_key(config).public

    replace_keys(changed, others)
    after = wait_for(lambda: others_than(before, keys(config)), "the new keys")
    wait_for(lambda: member(changed, changed.name).get("key") == after[0].hex(), "the hub's return")
    wait_for(
        lambda: all(member(hub, changed.name).get("reached") for hub in others),
        "the others' way to its new key",
    )
    others[2].kill()  # of the four votes the new one is needed now
    line = Line(federation, "house", others[0])
    line.await_final(line.send(), changed, others[0], others[1])
    federation.start([others[2]])
    line.await_final(line.send())
    check_all(federation)


@pytest.mark.soak
def test_a_member_that_was_down_while_its_keys_were_replaced_comes_back_under_the_new_ones(
    federation: Federation,
) -> None:
    changed, *others = federation.hubs
    line = Line(federation, "flat", others[0])
    line.await_final(line.send())
    config = load_config(changed.directory / "hub.toml")
    before = present_validator_key(config).public
    changed.stop()  # as one would whose keys were copied
    replace_keys(changed, others)
    federation.start([changed])
    assert present_validator_key(config).public != before
    line.await_final(line.send())
    others[2].kill()  # the new vote is needed now
    line = Line(federation, "house", others[0])
    line.await_final(line.send(), changed, others[0], others[1])
    federation.start([others[2]])
    line.await_final(line.send())
    check_all(federation)


def test_a_restored_hub_follows_and_votes_again_without_signing_anything_twice(
    federation: Federation,
) -> None:
    lost, *others = federation.hubs
    line = Line(federation, "flat", others[0])
    line.await_final(line.send(3))
    config = load_config(lost.directory / "hub.toml")
    key = present_validator_key(config).public
    saved = federation.directory / "saved"
    backup(lost.directory, saved, with_keys=True)
    line.await_final(line.send(2))
    lost.kill()
    signed = last_signed(lost.directory / "engine")
    shutil.rmtree(lost.directory)

    restore(saved, lost.directory, time.time_ns() // 1_000_000 - CLOCKS_MS)  # this machine has one clock
    federation.start([lost])
    assert present_validator_key(config).public != key, "nothing is signed with the real key yet"
    line.await_final(line.send(), lost)

    def votes() -> bool:
        line.await_final(line.send(), others[0])
        return key in keys(config)

    wait_for(votes, "the real key's return")
    assert last_signed(lost.directory / "engine") > signed
    others[0].kill()  # its vote is needed again
    line = Line(federation, "house", others[1])
    line.await_final(line.send(), lost, others[1], others[2])
    federation.start([others[0]])
    line.await_final(line.send())
    check_all(federation)
