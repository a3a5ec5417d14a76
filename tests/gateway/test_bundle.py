"""A support bundle: it holds what helps, and no byte of a secret, wherever that was planted."""

from __future__ import annotations

import base64
import json
import stat
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from gateway_site import CALM, TOML, Site
from testchain import REGION, make_genesis
from testhub import TestHub, wait_until

from gateway.chain.block import Block, Header
from gateway.chain.canonical import decode
from gateway.chain.keys import BLOCK
from gateway.cli import main
from gateway.inspection.redaction import GONE, Secrets, redacted
from hub.broker import EmbeddedBroker
from hub.broker_config import BrokerConfig

SIMULATED = f'[simulation]\nscenario = "quiet"\nsensors = {{ gas = {{ volts = {CALM} }} }}\n'
PASSWORD = "corr ect/horse+b@ttery"
TOKEN = "tok-5f1d3a9b77c2"
SEED = "9f" * 16 + "3c" * 16
ENROL = f"""
[enrolment]
url = "https://support:{TOKEN}@hub.example/"
ticket = "ticket"
"""


def call(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def opened(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {each.name.partition("/")[2]: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "trust").write_bytes(make_genesis().encode())
    (tmp_path / "ticket").write_text(json.dumps({"ticket": "00", "seed": SEED}))
    (tmp_path / "broker.password").write_text(PASSWORD + "\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "key").write_text("ab" * 32 + "\n")
    path = tmp_path / "gateway.toml"
    text = TOML.format(url="mqtts://flat@hub.example", region=REGION, readings=50, seconds=60, extra="")
    text = text.replace('name = "hub"', 'name = "hub"\npassword_file = "broker.password"')
    path.write_text(f"# the old password was {PASSWORD}\n{text}{ENROL}{SIMULATED}")
    return path


def planted_log(folder: Path) -> Path:
    log = folder / "gateway.log"
    seed = bytes.fromhex(SEED)
    log.write_text(
        f"connecting to mqtts://flat:{quote(PASSWORD, safe='')}@hub.example\n"
        f"GET https://other:hunter2secret@example/ failed\n"
        f"password={PASSWORD}\nAuthorization: {base64.b64encode(PASSWORD.encode()).decode()}\n"
        f"ticket seed {SEED.upper()} and {base64.b64encode(seed).decode()}\n"
        f"key {'ab' * 32}\n-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIPlanted\n-----END PRIVATE KEY-----\n"
        "sensor gas: nack\n"
    )
    return log


def test_no_byte_of_a_planted_secret_is_in_the_archive(tmp_path: Path, config: Path) -> None:
    out = tmp_path / "b.tar.gz"
    result = call("bundle", "--config", config, "-o", out, "--log", planted_log(tmp_path))
    assert result.exit_code == 0, result.output
    parts = opened(out)
    everything = b"\n".join(parts.values()).lower()
    raw = PASSWORD.encode()
    for secret in (
        raw, quote(raw, safe="").encode(), base64.b64encode(raw).rstrip(b"="), raw.hex().encode(),
        SEED.encode(), base64.b64encode(bytes.fromhex(SEED)).rstrip(b"="), bytes.fromhex(SEED),
        b"ab" * 32, TOKEN.encode(), b"hunter2secret", b"MC4CAQAwBQYDK2Vw", b"flat@hub",
    ):  # fmt: skip
        assert secret.lower() not in everything, secret
    assert b"sensor gas: nack" in parts["logs/0-gateway.log"]
    shown = json.loads(parts["configuration.json"])
    assert shown["hubs"][0]["url"] == f"mqtts://{GONE}@hub.example"
    assert shown["gateway"]["name"] == "flat 3"


def test_a_bundle_is_its_owners_alone_and_its_index_lists_every_part(tmp_path: Path, config: Path) -> None:
    out = tmp_path / "b.tar.gz"
    out.write_text("of last week")
    result = call("bundle", "--config", config, "-o", out, "--log", planted_log(tmp_path))
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    parts = opened(out)
    index = json.loads(parts["index.json"])
    assert {each["name"] for each in index["members"]} | {"index.json"} == set(parts)
    assert {"configuration.json", "check.json", "versions.json", "machine.json", "clock.json"} <= set(parts)
    assert index["left_out"]["status.json"].startswith("no gateway answers")
    assert not list(tmp_path.glob("*.new"))
    assert "not a ticket file" in json.loads(parts["check.json"])["error"]


def test_beside_a_running_gateway_a_bundle_holds_its_status_and_its_newest_blocks(tmp_path: Path) -> None:
    site = Site(tmp_path)
    config = tmp_path / "gateway.toml"
    config.write_text(TOML.format(url=site.url, region=REGION, readings=20, seconds=60, extra=""))
    started = site.start(readings=20)
    try:
        wait_until(lambda: started.gateway.store.last_number() >= 3, "three blocks")
        out = tmp_path / "b.tar.gz"
        assert call("bundle", "--config", config, "-o", out, "--log", config, "--blocks", "2").exit_code == 0
        parts = opened(out)
        assert json.loads(parts["status.json"])["gateway"] == started.id.hex()
        blocks = [decode(data) for name, data in parts.items() if name.startswith("blocks/")]
        assert len(blocks) == 2
        for header, segments in blocks:
            assert Header.decode(header).segments
            assert all(segments)
        assert json.loads(parts["check.json"])["buses"].keys() == {"i2c-1"}
    finally:
        started.stop()


def test_signed_blocks_go_in_as_they_were_sent(tmp_path: Path) -> None:
    broker = EmbeddedBroker(BrokerConfig(tmp_path / "broker"))
    broker.start()
    hub = TestHub(make_genesis(), broker.url)
    hub.start()
    started = (site := Site(tmp_path / "site", broker.url, hub.genesis)).start(readings=20, enrol_at=hub)
    try:
        wait_until(lambda: len(hub.blocks) >= 3, "three blocks at the hub")
        config = site.directory / "gateway.toml"
        config.write_text(TOML.format(url=site.url, region=REGION, readings=20, seconds=60, extra=""))
        out = tmp_path / "b.tar.gz"
        assert call("bundle", "--config", config, "-o", out, "--log", config).exit_code == 0
        blocks = [Block.decode(data) for name, data in opened(out).items() if name.endswith(".block")]
    finally:
        started.stop()
        hub.stop()
        broker.stop()
    assert len(blocks) >= 3
    for block in blocks:
        block.signed.verify(BLOCK, started.gateway.identity.key.public)
        assert all(block.segments)


def test_a_configuration_that_is_not_understood_is_not_copied_but_the_rest_is(tmp_path: Path) -> None:
    broken = tmp_path / "gateway.toml"
    broken.write_text(f'password = "{PASSWORD}\n')
    out = tmp_path / "b.tar.gz"
    result = call("bundle", "--config", broken, "-o", out, "--log", planted_log(tmp_path))
    assert result.exit_code == 0, result.output
    assert "left out: configuration.json" in result.stderr
    assert PASSWORD.encode() not in b"".join(opened(out).values())


def test_a_bundle_that_cannot_be_written_leaves_nothing(tmp_path: Path, config: Path) -> None:
    result = call("bundle", "--config", config, "-o", tmp_path / "no" / "b.tar.gz")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


def test_redaction_goes_by_structure_and_keeps_what_is_no_secret() -> None:
    tree = {"a": [{"api_key": "x", "url": "https://u:p@h/p?q"}], "password_file": "f", "pin": 4, "Token": 5}
    assert redacted(tree) == {
        "a": [{"api_key": GONE, "url": f"https://{GONE}@h/p?q"}],
        "password_file": "f",
        "pin": 4,
        "Token": GONE,
    }
    assert Secrets([b"abc"]).clean("abcdef: the pins 4, 5") == "abcdef: the pins 4, 5"  # too short to be one


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Basic aHVudGVyMg==hunter2",
        "authorization=Bearer hunter2",
        'sent {"user": "flat", "password": "hunter2 with space", "n": 1}',
        "sent {'user': 'flat', 'seed': 'hunter2'}",
        r'body "{\"ticket\": 1, \"seed\": \"hunter2\"}"',
        "TOCSIN_MQTT_PASSWORD=hunter2",
        "mosquitto_pub --hub-password hunter2 -t x",
        "mqtts://flat:p@hunter2@hub.example refused",
        "psk=hunter2",
    ],
)
def test_what_is_said_to_be_a_secret_goes_however_it_is_written(line: str) -> None:
    assert "hunter2" not in Secrets([]).clean(line)
    assert Secrets([]).clean("hub.example: tokens 3, bypassed: yes") == "hub.example: tokens 3, bypassed: yes"


def test_a_block_that_holds_a_secret_is_left_out(tmp_path: Path) -> None:
    assert Secrets([b"s3cr3t-value"]).stand_in(b"\x00\x01S3CR3T-value\xff")
    assert not Secrets([b"s3cr3t-value"]).stand_in(b"harmless")
