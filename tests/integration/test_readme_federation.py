"""README's way from one hub to four is walked as it stands there, on other ports."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hubs import PATIENCE, eventually

README = Path(__file__).parents[2] / "README.md"
HOME = """\
set -eu
key=$(tocsin-hub init --dir hub --name hub-1 --region north)
tocsin-tools authority found --dir authority --name city-fire --chain "North district" --hub hub-1 --hub-key $key
cp authority/genesis.cbor hub/
sed -i 's/^port = .*/port = 0/' hub/hub.toml
"""
SETTLE = "sleep 60; "
AWAIT = """\
for n in 1 2 3 4; do
    until curl -sf "http://127.0.0.1:808$((n-1))/v1/checkpoint?height=2" > /dev/null; do sleep 1; done
done
"""
"""Stands for the minute, which a slow machine may need more of: until all have block 2 with its seal."""


def free_decade(taken: set[int]) -> int:
    """The first digits of ten ports of which none is used."""
    while True:
        decade = random.SystemRandom().randrange(1500, 3200)
        if decade not in taken and all(map(is_free, range(decade * 10, decade * 10 + 10))):
            taken.add(decade)
            return decade


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def blocks() -> list[str]:
    text = README.read_text()
    part = text[text.index("### From one hub to four") : text.index("### Then to four machines")]
    return re.findall(r"```sh\n(.*?)```", part, re.DOTALL)[1:]  # the first one installs the engine


def run_whole(command: list[str], directory: Path) -> str:
    """Run a command; return all that it says, and leave none of its processes, however it ends."""
    with (directory / "said").open("w+") as said:
        process = subprocess.Popen(
            command, cwd=directory, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            process.wait(600)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        said.seek(0)
        return said.read()


@pytest.mark.soak
def test_four_hubs_made_from_one_by_the_readmes_commands_print_one_checkpoint(
    tmp_path: Path, require: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (require("cometbft").parent, Path(sys.executable).parent):
        monkeypatch.setenv("PATH", str(folder), prepend=":")
    subprocess.run(["bash", "-c", HOME], cwd=tmp_path, check=True, timeout=PATIENCE)
    with (tmp_path / "hub.log").open("wb") as log:
        hub = subprocess.Popen(["tocsin-hub", "run", "--config", "hub/hub.toml"], cwd=tmp_path, stderr=log)
    eventually((tmp_path / "hub/endpoints.json").exists, "the hub alone")
    hub.send_signal(signal.SIGTERM)
    assert hub.wait(PATIENCE) == 0

    script, taken = "\n".join(blocks()), set[int]()
    ports = {there: f"{free_decade(taken)}$" for there in ("2665$", "808$", "188$")}
    for there, free in ports.items():
        assert there in script
        script = script.replace(there, free)
    assert SETTLE in script
    script = script.replace(SETTLE, AWAIT.replace("808$", ports["808$"]))
    out = run_whole(["bash", "-c", "set -eu\ntrap 'kill $(jobs -p); wait' EXIT\n" + script], tmp_path)
    assert "hub-1 (here)" in out, out
    found = re.findall(r"^2 ([0-9a-f]{64}) ([0-9a-f]{64})$", out, re.MULTILINE)
    assert len(found) == 4, out
    assert len(set(found)) == 1
