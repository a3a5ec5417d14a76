"""The gateway as a service: what it tells systemd, what stops the watchdog's feed, and what it writes to."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gateway_site import CALM, TOML
from testchain import REGION, make_genesis
from testhub import PATIENCE, wait_until

from gateway import sampler
from gateway.catalogue import SensorPlan, make_catalogue
from gateway.chain.keys import gateway_id
from gateway.clock import SystemClock
from gateway.config import SensorTable
from gateway.errors import ConfigError, SensorError
from gateway.notify import Notifier
from gateway.region.enrol import CREDENTIAL, load_key
from gateway.sampler import Samplers
from gateway.sensors.base import Tally
from gateway.sensors.hardware import header_chip
from gateway.vigil import Vigil

SIMULATED = f'[simulation]\nscenario = "quiet"\nsensors = {{ gas = {{ volts = {CALM} }} }}\n'


class Manager:
    """The service manager's end: notes what it is told."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.settimeout(PATIENCE)
        self.environ = {"NOTIFY_SOCKET": address}

    def told(self) -> str:
        return self.socket.recv(4096).decode()

    def told_until(self, message: str) -> list[str]:
        heard = [self.told()]
        while heard[-1] != message:
            heard.append(self.told())
        return heard

    def is_quiet(self, seconds: float) -> bool:
        self.socket.settimeout(seconds)
        try:
            return self.told() == ""
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    directory.mkdir()
    (directory / "trust").write_bytes(make_genesis().encode())
    path = directory / "gateway.toml"
    url = "mqtt://127.0.0.1:1"
    path.write_text(TOML.format(url=url, region=REGION, readings=50, seconds=60, extra="") + SIMULATED)
    return path


def run(config: Path, environ: Mapping[str, str], *before: str) -> subprocess.Popen[bytes]:
    command = [*before, sys.executable, "-m", "gateway.cli", "run", "--config", str(config)]
    return subprocess.Popen(command, env={**os.environ, **environ}, stderr=subprocess.PIPE)


def end(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGTERM)
    try:
        _, errors = child.communicate(timeout=PATIENCE)
    finally:
        child.kill()
    assert child.returncode == 0, errors.decode()


def test_a_service_says_when_it_samples_how_it_goes_and_that_it_stops(config: Path, manager: Manager) -> None:
    child = run(config, {**manager.environ, "WATCHDOG_USEC": "1000000"})
    try:
        assert manager.told() == "READY=1"  # before anything else
        heard = manager.told_until("WATCHDOG=1") + manager.told_until("WATCHDOG=1")
        assert any(each.startswith("STATUS=1 sensors, 0 series in fault") for each in heard)
    finally:
        end(child)
    manager.told_until("STOPPING=1")


@pytest.mark.parametrize("pid", ["", "1", str(os.getpid())])
def test_a_watchdog_that_waits_for_another_process_is_not_fed(manager: Manager, pid: str) -> None:
    notifier = Notifier({**manager.environ, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": pid})
    assert notifier.watchdog_s == (None if pid == "1" else 30.0)


def test_an_abstract_socket_is_spoken_to_as_any_other() -> None:
    manager = Manager(f"@tocsin-test-{os.getpid()}")
    try:
        Notifier(manager.environ).status("two\nlines")
        assert manager.told() == "STATUS=two lines"
    finally:
        manager.socket.close()


def test_without_a_manager_or_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).alive()


def test_readiness_and_the_watchdog_wait_for_every_thread_and_a_hang_is_named(manager: Manager) -> None:
    vigil = Vigil(Notifier({**manager.environ, "WATCHDOG_USEC": "2000000"}))
    assert vigil.interval_s == 0.5
    vigil.look({"i2c-1": True, "ticker": False}, "two sensors")
    assert manager.told() == "STATUS=hanging: ticker; two sensors"
    assert manager.is_quiet(0.1)
    vigil.look({"i2c-1": True, "ticker": True}, "two sensors")
    assert [manager.told() for _ in range(3)] == ["READY=1", "WATCHDOG=1", "STATUS=two sensors"]


class Stuck:
    """A bus whose sensor does not come back until it is let go."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.go = threading.Event()
        self.taken = 0

    def pins(self) -> Any:
        self.go.wait(PATIENCE)
        raise SensorError("wiring", "no pins")

    def tally(self, bus: str) -> Tally:
        return Tally()

    def sample(self, plan: SensorPlan, values: Mapping[str, int]) -> None: ...

    def retried(self, plan: SensorPlan) -> None: ...

    def fail(self, plan: SensorPlan, error: SensorError) -> None:
        self.taken += 1


def ticking(hardware: Any, period_ms: int) -> Samplers:
    table = SensorTable("door", "contact", period_ms, {"pin": 5})
    return Samplers(make_catalogue([table], "test").sensors, hardware, hardware)


def test_a_bus_thread_that_hangs_in_a_sensor_does_not_tick_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampler, "_HANG_S", 0.2)
    hardware = Stuck()
    samplers = ticking(hardware, 50)
    samplers.start()
    try:
        wait_until(lambda: not all(samplers.ticks().values()), "the hang")
        hardware.go.set()
        wait_until(lambda: all(samplers.ticks().values()), "the end of the hang")
    finally:
        hardware.go.set()
        samplers.stop()


def test_a_sensor_that_may_be_slow_and_a_bus_that_waits_for_its_hour_are_no_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampler, "_HANG_S", 0.2)
    monkeypatch.setattr(sampler, "_TICK_S", 0.05)
    hardware = Stuck()
    samplers = ticking(hardware, 1000)
    waiting = ticking(
        SimpleNamespace(clock=SystemClock(), pins=None, tally=lambda bus: Tally(), fail=lambda *_: None),
        3_600_000,
    )
    waiting._buses["gpio"].patience_s = 0.2  # so that only its ticks while it waits can help it
    for each in (samplers, waiting):
        each.start()
    try:
        time.sleep(0.6)
        assert all(samplers.ticks().values())
        assert all(waiting.ticks().values())
    finally:
        hardware.go.set()
        for each in (samplers, waiting):
            each.stop()


@pytest.mark.parametrize(
    ("labels", "chip"),
    [
        ([(0, "pinctrl-bcm2835"), (1, "raspberrypi-exp-gpio")], 0),  # Pi 3, Zero 2 W
        ([(1, "raspberrypi-exp-gpio"), (0, "pinctrl-bcm2711")], 0),  # Pi 4
        ([(4, "pinctrl-rp1"), (0, "gpio-brcmstb@107d508500")], 4),  # Pi 5 with an older kernel
        ([(11, "gpio-brcmstb@107d508500"), (15, "pinctrl-rp1")], 15),  # Pi 5 with one of 2026
        ([(0, "pinctrl-rp1"), (4, "pinctrl-rp1")], 0),  # an alias for old programs
    ],
)
def test_the_header_is_found_by_its_chips_label(labels: list[tuple[int, str]], chip: int) -> None:
    assert header_chip(labels) == chip


def test_a_machine_without_a_known_header_is_told_what_it_has() -> None:
    with pytest.raises(SensorError, match="but INTC1055:00"):
        header_chip([(0, "INTC1055:00")])


def test_a_key_that_comes_as_a_credential_is_never_written_down(tmp_path: Path) -> None:
    first, made = load_key(tmp_path, {})
    assert made
    credentials, data = tmp_path / "credentials", tmp_path / "data"
    for directory in (credentials, data):
        directory.mkdir()
    shutil.copy(tmp_path / "key", credentials / CREDENTIAL)
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    again, made = load_key(data, environ)
    assert (gateway_id(again.public), made) == (gateway_id(first.public), False)
    assert list(data.iterdir()) == []
    load_key(data, {"CREDENTIALS_DIRECTORY": str(tmp_path)})  # none of ours among them: one is made
    with pytest.raises(ConfigError, match="remove the wrong one"):
        load_key(data, environ)


def test_with_all_else_read_only_a_gateway_runs(config: Path, manager: Manager) -> None:
    state, runtime = config.parent / "data", config.parent / "run"
    for directory in (state, runtime):
        directory.mkdir()
    unshare = shutil.which("unshare")
    script = (
        'mount --bind "$1" "$1" && mount --bind "$2" "$2" && mount -o remount,bind,ro / && cd "$2" || exit 9;'
        ' shift 2; ! touch "$1" 2>/dev/null || exit 9; shift; exec "$@"'
    )
    before = ["sh", "-c", script, "sh", str(state), str(runtime), str(config)]
    if os.geteuid():
        before = [unshare or "unshare", "--map-root-user", "--mount", "--", *before]
    else:
        before = [unshare or "unshare", "--mount", "--", *before]
    trial = subprocess.run([*before, "true"], capture_output=True, text=True, timeout=60, check=False)
    if unshare is None or trial.returncode:
        pytest.skip(f"a root cannot be made read-only here: {trial.stderr.strip() or 'no unshare'}")
    child = run(config, {**manager.environ, "TMPDIR": str(runtime), "HOME": "/nonexistent"}, *before)
    try:
        manager.told_until("READY=1")
        wait_until(lambda: (state / "control.sock").exists(), "the control socket")
        wait_until(lambda: any(state.glob("*.db")), "the database")
    finally:
        end(child)
    assert {each.name for each in state.iterdir()} >= {"key"}
