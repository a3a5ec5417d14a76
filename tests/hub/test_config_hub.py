"""`hub.toml`, the hub's key and its genesis: understood whole or refused with the remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fleet import Fleet

from hub.config import Config, init_directory, load_config, load_genesis, load_identity
from hub.errors import ConfigError


def write(directory: Path, text: str) -> Path:
    path = directory / "hub.toml"
    path.write_text(text)
    return path


MINIMAL = '[hub]\nname = "hub-1"\nregion = "north"\n'


def test_a_minimal_file_has_an_embedded_broker_and_paths_beside_it(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    assert config.directory == tmp_path
    assert config.ledger == tmp_path / "ledger.db"
    broker = config.embedded_broker()
    assert broker is not None
    assert (broker.data_dir, broker.host, broker.port) == (tmp_path / "broker", "127.0.0.1", 1883)


def test_a_url_replaces_the_embedded_broker(tmp_path: Path) -> None:
    text = MINIMAL + '[broker]\nurl = "mqtts://hub@b.example"\nca_file = "ca.pem"\npassword_file = "p"\n'
    config = load_config(write(tmp_path, text))
    assert config.embedded_broker() is None
    link = config.link(config.broker.url, "hub-1", ("t",), None)
    assert (link.ca_file, link.password_file, link.cert_file) == (tmp_path / "ca.pem", tmp_path / "p", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL + "nmae = 1\n", "hub.nmae: unknown key; did you mean 'name'?"),
        ('[hub]\nname = "hub-1"\n', "hub.region: is missing"),
        ('[hub]\nname = "Hub 1"\nregion = "north"\n', "is not lower-case"),
        (MINIMAL + "keep_days = 0\n", "keep_days must be 1 to 36500"),
        (MINIMAL + '[api]\nhost = "0.0.0.0"\n', "needs cert_file and key_file"),
        (MINIMAL + '[api]\ncert_file = "c"\n', "go together"),
        (MINIMAL + '[broker]\nhost = "10.0.0.1"\n', "loopback only"),
        (MINIMAL + "[broker]\nport = 70000\n", "port must be"),
        (MINIMAL + '[log]\nlevel = "loud"\n', "log.level"),
        ("[hub", "not valid TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tocsin-hub init"):
        load_config(tmp_path / "none.toml")


def test_init_makes_a_private_key_and_a_file_that_loads_and_never_replaces_them(tmp_path: Path) -> None:
    key = init_directory(tmp_path / "hub", "hub-1", "north")
    assert (tmp_path / "hub" / "hub.key").stat().st_mode & 0o777 == 0o600
    assert load_config(tmp_path / "hub" / "hub.toml").hub.name == "hub-1"
    assert init_directory(tmp_path / "hub", "hub-1", "north").public == key.public


def test_init_refuses_a_name_that_no_topic_can_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lower-case"):
        init_directory(tmp_path, "hub/1", "north")


@pytest.fixture
def member(tmp_path: Path) -> tuple[Config, Fleet]:
    """A directory whose key and genesis belong together."""
    fleet = Fleet()
    (tmp_path / "hub.key").write_text(fleet.hub_key.seed.hex())
    (tmp_path / "hub.key").chmod(0o600)
    (tmp_path / "genesis.cbor").write_bytes(fleet.genesis.encode())
    return load_config(write(tmp_path, MINIMAL.replace("hub-1", fleet.genesis.hubs[0].name))), fleet


def test_a_hub_is_whom_the_genesis_names(member: tuple[Config, Fleet]) -> None:
    config, fleet = member
    identity = load_identity(config)
    assert identity.genesis == fleet.genesis
    assert identity.hub == fleet.genesis.hubs[0]


def test_another_hubs_key_is_refused(member: tuple[Config, Fleet]) -> None:
    config, _ = member
    (config.directory / "hub.key").write_text("11" * 32)
    with pytest.raises(ConfigError, match="founded for another"):
        load_identity(config)


def test_another_name_is_refused(member: tuple[Config, Fleet]) -> None:
    config, _ = member
    other = replace(config, hub=replace(config.hub, name="other"))
    with pytest.raises(ConfigError, match="calls this hub"):
        load_identity(other)


def test_a_key_that_others_can_read_is_refused(member: tuple[Config, Fleet]) -> None:
    config, _ = member
    (config.directory / "hub.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_identity(config)


@pytest.mark.parametrize("seed", ["", "zz", "11" * 31])
def test_a_key_file_that_holds_no_key_is_refused(member: tuple[Config, Fleet], seed: str) -> None:
    config, _ = member
    (config.directory / "hub.key").write_text(seed)
    with pytest.raises(ConfigError, match="64 hexadecimal"):
        load_identity(config)


def test_a_broken_or_missing_genesis_is_refused(member: tuple[Config, Fleet]) -> None:
    config, _ = member
    path = config.directory / "genesis.cbor"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="is no genesis"):
        load_genesis(path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"put the authority's genesis\.cbor there"):
        load_genesis(path)
