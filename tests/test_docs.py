"""What the documents say is there: commands, files, limits of the product, and both promises of the README."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from firmware_tools.bench import NAMES
from firmware_tools.cli import main as tools
from gateway.catalogue import make_catalogue
from gateway.cli import main as gateway
from gateway.config import parse_config
from gateway.contracting import configured_contracts
from gateway.sensors.registry import DRIVERS
from hub.cli import main as hub

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALLING = ROOT / "gateway/manual/installing.md"
PAGES = (ROOT / "README.md", INSTALLING, ROOT / "hub/manual/federation.md")
PROGRAMS: dict[str, click.Group] = {"tocsin-gateway": gateway, "tocsin-hub": hub, "tocsin-tools": tools}


def commands(name: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(f"{name} {word}", command)
        else:
            yield f"{name} {word}", command


COMMANDS = dict(pair for name, group in PROGRAMS.items() for pair in commands(name, group))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_with_an_example_of_itself(name: str) -> None:
    text = COMMANDS[name].help or ""
    assert f"Example: {name}" in text


def test_the_bench_names_its_figures() -> None:
    text = COMMANDS["tocsin-tools bench"].help or ""
    assert all(re.search(rf"\b{name}\b", text) for name in NAMES)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is(name: str) -> None:
    silent = [each.name for each in COMMANDS[name].params if isinstance(each, click.Option) and not each.help]
    assert silent == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_names_commands_and_options_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    named = re.findall(
        r"(tocsin-(?:gateway|hub|tools)(?: [a-z]+(?:-[a-z]+)*)+)((?: +-{1,2}[a-z-]+(?: +[^-\s`#]\S*)?)*)",
        text,
    )
    assert len(named) > 8
    for words, options in named:
        if any(n.startswith(words + " ") for n in COMMANDS):  # a group of commands
            continue
        name = next((n for n in COMMANDS if words == n or words.startswith(n + " ")), None)
        assert name is not None, f"{page.name} names {words}"
        known = {option for each in COMMANDS[name].params for option in each.opts}
        assert set(re.findall(r"--[a-z-]+", options)) <= known, words


def test_the_installers_configurations_are_understood() -> None:
    """The manual's tables beside README's first configuration, as the manual tells to write them."""
    first = re.findall(r"```toml\n(\[gateway\].*?)```", README, re.DOTALL)
    more = re.findall(r"```toml\n(.*?)```", INSTALLING.read_text(encoding="utf-8"), re.DOTALL)
    assert (len(first), len(more)) == (1, 2)
    own = re.sub(r'(?s)\[\[outputs\]\]\nname = "siren".*?\n\n', "", first[0])  # the manual has a better one
    text = "\n".join([own.split("[simulation]")[0], *more])
    for number in range(text.count('"…"')):  # a key each
        text = text.replace('"…"', f'"{bytes([number] * 32).hex()}"', 1)
    config = parse_config(text, INSTALLING)
    assert make_catalogue(config.sensors, "the manual").infos.keys() >= {
        "kitchen.temperature",
        "flat-2.alarm",
    }
    assert {each.id for each in configured_contracts(config, "the manual").contracts} == {
        "gas-ch4",
        "building-alarm",
    }
    assert {each.kind for each in config.outputs} == {"siren", "valve", "relay", "fault"}


def test_the_readme_lists_every_driver_and_every_template() -> None:
    flat = " ".join(README.split())
    for words, names in (
        ("Drivers", DRIVERS),
        (
            "Contract templates",
            sorted(each.stem for each in (ROOT / "gateway/contracts/templates").glob("*.toml")),
        ),
    ):
        listed = flat.split(f"{words}: ")[1].split(". ")[0]
        assert sorted(re.findall(r"`([^`]+)`", listed)) == sorted(names)


def test_the_readme_keeps_both_promises_and_its_honest_limits() -> None:
    for line in (
        "python3 -m venv .venv && .venv/bin/pip install -q '.[hub,tools]' && .venv/bin/tocsin-tools demo",
        "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/pytest",
    ):
        assert f"\n{line}\n" in README
    flat = " ".join(README.split())
    assert "Not a substitute for certified EN 54 / EN 50194 / EN 50291 equipment" in flat
    assert "could rewrite its own history unless a checkpoint is held elsewhere" in flat


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("gateway/**/*.md")]:
        for target in re.findall(r"\]\(([\w./:-]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
