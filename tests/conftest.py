"""What all tests share: the external tools that some of them need, found or loudly missed.

A test asks for a program with `require("mosquitto")` and is skipped, with the reason, where it is not
installed. `TOCSIN_REQUIRE=mosquitto,node` turns such a skip into a failure: CI must not pass by skipping.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import pytest

# Tool -> the names its program goes by, and how to come by it.
TOOLS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "mosquitto": (("mosquitto",), "apt-get install mosquitto"),
    "nats-server": (("nats-server",), "pip install 'tocsin[hub]'"),
    "node": (("node", "nodejs"), "apt-get install nodejs"),
    "cometbft": (("cometbft",), "go install github.com/cometbft/cometbft/cmd/cometbft@v0.38.25"),
    "chromium": (("chromium", "chromium-browser", "google-chrome"), "apt-get install chromium"),
    "qemu": (("qemu-system-x86_64",), "apt-get install qemu-system-x86"),
    "busybox": (("busybox",), "apt-get install busybox-static"),
    "openssl": (("openssl",), "apt-get install openssl"),
    "cc": (("cc", "gcc", "clang"), "apt-get install gcc"),
    "systemd-analyze": (("systemd-analyze",), "apt-get install systemd"),
}
# Wheels put programs beside the interpreter, Debian its daemons into sbin, Go where GOBIN says or ~/go.
PLACES: Final = (
    str(Path(sys.executable).parent),
    *os.environ.get("PATH", os.defpath).split(os.pathsep),
    *filter(None, [os.environ.get("GOBIN")]),
    str(Path.home() / "go/bin"),
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
)


def required_tools() -> frozenset[str]:
    names = frozenset(filter(None, os.environ.get("TOCSIN_REQUIRE", "").replace(" ", "").split(",")))
    if unknown := names - TOOLS.keys():
        raise pytest.UsageError(
            f"TOCSIN_REQUIRE names {', '.join(sorted(unknown))}; known are {', '.join(TOOLS)}"
        )
    return names


def pytest_configure(config: pytest.Config) -> None:
    required_tools()  # a misspelt name must not quietly require nothing
    # A shell's background job ignores Ctrl-C, and so would every program that a test starts and interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def lacking() -> Callable[[str, str], NoReturn]:
    """Ends a test that lacks a tool, or what belongs to it: skipped, or failed if TOCSIN_REQUIRE names the tool."""

    def end(tool: str, reason: str) -> NoReturn:
        if tool in required_tools():
            pytest.fail(f"TOCSIN_REQUIRE names {tool}, but {reason}")
        pytest.skip(reason)

    return end


@pytest.fixture(scope="session")
def require(lacking: Callable[[str, str], NoReturn]) -> Callable[[str], Path]:
    """Path of an external program's file; skips the test, or fails it if TOCSIN_REQUIRE names the tool."""

    def find(tool: str) -> Path:
        programs, remedy = TOOLS[tool]
        places = os.pathsep.join(PLACES)
        found = next(filter(None, (shutil.which(each, path=places) for each in programs)), None)
        if found is None:
            lacking(tool, f"{tool} is not installed ({remedy})")
        return Path(found)

    return find
