"""The command as people and services use it: check, read, run, status, reset, and ends that are clean."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gateway_site import CALM, TOML, Site, Started
from testchain import REGION, TestChain, make_federation, make_genesis
from testhub import PATIENCE, wait_until

from gateway.chain.block import Header
from gateway.cli import main
from gateway.control import ask
from gateway.errors import ConfigError, JournalError, TransportError
from gateway.outputs.wire import end_simulated
from gateway.region.enrol import Trust
from gateway.region.succession import adopt, settle
from gateway.storage.journal_file import DATA
from gateway.storage.store import Store

SIMULATED = f'[simulation]\nscenario = "quiet"\nsensors = {{ gas = {{ volts = {CALM} }} }}\n'


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "trust").write_bytes(make_genesis().encode())
    path = tmp_path / "gateway.toml"
    url = "mqtt://127.0.0.1:1"
    path.write_text(TOML.format(url=url, region=REGION, readings=50, seconds=60, extra="") + SIMULATED)
    yield path
    end_simulated(tmp_path / "data")


def call(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def start(config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gateway.cli", "run", "--config", str(config)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE)
    path = config.parent / "data" / "control.sock"
    try:
        wait_until(path.exists, "the control socket")
    except AssertionError:
        child.kill()
        child.communicate()
        raise
    return child


def end(child: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> str:
    child.send_signal(number)
    try:
        _, errors = child.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        _, errors = child.communicate()
    assert child.returncode == 0, errors.decode()
    return errors.decode()


def test_check_says_what_a_configuration_comes_to(config: Path) -> None:
    result = call("check", "--config", config)
    assert result.exit_code == 0, result.output
    assert "gas: ADS1115" in result.output
    assert "kitchen.ch4: raw calibrated, ppm" in result.output
    assert "outputs: siren, valve" in result.output
    assert not (config.parent / "data").exists()


def test_check_reports_for_machines_and_warns_of_what_is_doubtful(config: Path) -> None:
    text = config.read_text()
    config.write_text(text[: text.index("[[outputs]]")] + SIMULATED)
    report = json.loads(call("check", "--config", config, "--json").stdout)
    assert report["series"][0] == ["kitchen.ch4", "ppm", 0]
    assert any("'siren', and no output is called so" in each for each in report["warnings"])


def test_check_refuses_hubs_that_no_link_can_reach_and_names_those_that_have_to_wait(config: Path) -> None:
    text = config.read_text()
    config.write_text(text.replace("mqtt://127.0.0.1:1", "http://127.0.0.1:1"))
    assert "must begin with mqtt:// or mqtts://" in call("check", "--config", config).stderr
    config.write_text(text + '[[hubs]]\nname = "hub-2"\nurl = "mqtt://127.0.0.1:1"\n')
    assert "two hubs share mqtt://127.0.0.1:1" in call("check", "--config", config).stderr
    config.write_text(text + '[[hubs]]\nname = "hub-2"\nurl = "mqtt://127.0.0.1:2"\n')
    result = call("check", "--config", config)
    assert result.exit_code == 0
    assert "hub 'hub-2' is not in the genesis" in result.stderr


def test_check_refuses_a_trust_file_of_another_chain_and_says_what_took_over(
    tmp_path: Path, config: Path
) -> None:
    old = make_genesis()
    (tmp_path / "data").mkdir()
    store = Store(tmp_path / "data" / "gateway.db")
    settle(store, Trust(old.hash, old), tmp_path)
    assert f"chain {old.hash.hex()[:16]}\n" in call("check", "--config", config).output
    (tmp_path / "trust").write_bytes(make_genesis(name="another").encode())
    assert "is of chain" in call("check", "--config", config).stderr
    founded = make_federation()
    new = replace(founded, takeovers=(TestChain(old).close(founded),))
    (tmp_path / "trust").write_bytes(new.encode())
    assert "which this chain takes over" in call("check", "--config", config).output
    assert store.get("genesis") == old.hash  # looking changes nothing
    adopt(store, old, new)
    (tmp_path / "trust").write_bytes(old.encode())
    assert "which this chain took over" in call("check", "--config", config).output
    store.close()


def test_an_error_is_one_line_on_stderr_and_exit_1(config: Path) -> None:
    config.write_text(config.read_text().replace("[seal]", "[saal]"))
    result = call("check", "--config", config)
    assert result.exit_code == 1
    assert result.stderr.startswith("tocsin-gateway: ")
    assert "did you mean 'seal'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert call("--debug", "check", "--config", config).exception.__class__ is ConfigError
    assert call("check").exit_code == 2


def test_every_command_shows_an_example() -> None:
    for name in main.commands:
        assert "Example: tocsin-gateway" in call(name, "--help").output


def test_read_shows_every_series_live_and_records_nothing(config: Path) -> None:
    result = call("read", "--config", config, "--seconds", "2", "--json")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {row["series"] for row in rows} == {"kitchen.ch4", "kitchen.volts"}
    assert all(abs(row["value"] - 2000) < 50 for row in rows if row["series"] == "kitchen.ch4")
    text = call("read", "--config", config, "--seconds", "1").stdout
    assert " V" in text
    assert "0.25" in text or "0.24" in text
    assert not (config.parent / "data" / "gateway.db").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_cleanly_with_everything_stored(config: Path, number: int) -> None:
    child = start(config)
    journal = config.parent / "data" / "open-0.journal"
    wait_until(lambda: len(journal.read_bytes().rstrip(b"\0")) > DATA + 1000, "some dozens of readings")
    end(child, number)
    store = Store(config.parent / "data" / "gateway.db")
    counts = [sum(each.count for each in Header.decode(row.header).segments) for row in store.drafts()]
    store.close()
    assert sum(counts) >= 10
    assert not (config.parent / "data" / "control.sock").exists()


def test_a_running_gateway_answers_and_is_reset_by_its_administrator(config: Path) -> None:
    config.write_text(config.read_text().replace(f"volts = {CALM}", "volts = 2.0"))
    child = start(config)
    try:

        def status() -> Any:
            return json.loads(call("status", "--config", config, "--json").stdout)

        wait_until(lambda: status()["contracts"]["gas-ch4"]["condition"] == "alarm", "the alarm")
        wait_until(lambda: status()["outputs"] == ["siren", "valve"], "siren and valve")
        assert "gas-ch4: alarm" in call("status", "--config", config).stdout
        assert call("silence", "--config", config, "gas-ch4").exit_code == 0
        assert status()["outputs"] == ["valve"]
        none = {"retries": 0, "rescues": 0, "reopenings": 0, "power_cycles": 0}
        assert status()["buses"] == {"i2c-1": none}
        assert call("reset", "--config", config, "gas-ch4").exit_code == 0
        wrong = call("reset", "--config", config, "gas-co2")
        assert wrong.exit_code == 1
        assert "no contract has the id 'gas-co2'" in wrong.stderr
    finally:
        end(child)
    gone = call("status", "--config", config)
    assert gone.exit_code == 1
    assert "is it running?" in gone.stderr


def test_two_gateways_never_run_on_one_directory(config: Path) -> None:
    child = start(config)
    try:
        # In a process of its own: `run` takes over signals and the hook for threads that die.
        command = [sys.executable, "-m", "gateway.cli", "run", "--config", str(config)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    finally:
        end(child)
    assert second.returncode == 1
    assert "journal" in second.stderr


def test_a_second_gateway_object_is_refused_too(tmp_path: Path) -> None:
    site = Site(tmp_path)
    run = site.start()
    with pytest.raises(JournalError):
        Started(site.config())
    run.stop()


def test_a_gateway_that_cannot_be_made_holds_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with pytest.raises(ConfigError) as refused:
        site.start(more='[[contracts.templates]]\ntemplate = "gas-ch4"\nnames = { series = "attic.ch4" }')
    assert "attic.ch4" in str(refused.value)
    site.start().stop()  # though the error still holds the frames, its journals and pins are free


def test_the_control_socket_takes_no_nonsense(tmp_path: Path) -> None:
    run = Site(tmp_path).start()
    path = tmp_path / "data" / "control.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    for request in ({"do": "explode"}, {"do": "reset"}, {}):
        with pytest.raises(TransportError, match="known requests"):
            ask(path, request)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
        peer.sendall(b"[" * 4096 + b"\n")
        assert b"not JSON" in peer.recv(4096)
    assert ask(path, {"do": "status"})["lost"] == 0
    run.stop()


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    site = Site(tmp_path)
    first = site.start()
    first.stop()
    key = tmp_path / "data" / "key"
    assert key.stat().st_mode & 0o777 == 0o600
    second = site.start()
    second.stop()
    assert first.id == second.id
    key.write_text("no key")
    with pytest.raises(ConfigError, match="not a key"):
        site.start()


def test_a_deadline_is_met_without_a_sample(tmp_path: Path) -> None:
    run = Site(tmp_path).start(max_age="1s")
    run.simulation.hold("gas", 2.0)
    wait_until(lambda: run.siren, "the alarm")
    run.gateway._samplers.stop()
    wait_until(lambda: run.gateway.recorder.conditions()["gas-ch4"][1] == ("gas:missing",), "the fault")
    assert run.siren
    run.stop()


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """A disk that has become read-only, as worn cards do."""
    done = subprocess.run(["mount", "--bind", directory, directory], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted: {done.stderr.decode().strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=False)


def test_on_a_read_only_disk_a_gateway_starts_with_its_identity_and_its_alarm(tmp_path: Path) -> None:
    site = Site(tmp_path / "g")
    run = site.start(readings=10)
    run.leak()
    wait_until(lambda: run.siren, "the alarm")
    wait_until(lambda: run.gateway.store.last_number() > 2, "blocks")
    first = run.id
    run.stop()
    with read_only(site.directory):
        run = site.start(readings=10)
        assert run.id == first
        assert run.siren  # the latched alarm, before any sample
        assert "nothing is recorded" in run.gateway.status()["troubles"][0]
        run.calm()
        wait_until(lambda: len(run.gateway.writer.unwritten()) > 0, "an alarm that no row holds")
        assert {row.mark for row in run.gateway.writer.unwritten()} == {1}
        run.stop()
    run = site.start(readings=10)
    assert run.gateway.keeper.whole
    run.stop()
