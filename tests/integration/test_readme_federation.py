"""README's way from one hub to four is walked as it stands there, on other ports."""

from __future__ import annotations

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
    for there in ("2665$", "808$", "188$"):
        assert there in script
        script = script.replace(there, f"{free_decade(taken)}$")
    begun = "set -eu\ntrap 'kill $(jobs -p); wait' EXIT\n"
    done = subprocess.run(
        ["bash", "-c", begun + script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "hub-1 (here)" in done.stdout, done.stdout + done.stderr
    found = re.findall(r"^2 ([0-9a-f]{64}) ([0-9a-f]{64})$", done.stdout, re.MULTILINE)
    assert len(found) == 4, done.stdout + done.stderr
    assert len(set(found)) == 1
