"""How a federation stands, on a terminal: `hub.federation.view`'s picture as tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table


def print_status(found: dict[str, Any], console: Console) -> None:
    """Print the picture."""
    running = found["running"]
    console.print(_headline(found), soft_wrap=True, highlight=False)
    for key in ("standing", "waits"):
        if found.get(key):
            console.print(
                f"{'STANDS STILL' if key == 'standing' else 'does not vote'}: {found[key]}", soft_wrap=True
            )
    table = Table("member", "agency", "power", "standing", "breaches", "voted", "reached")
    for each in found["members"]:
        table.add_row(
            f"{each['name']} (here)" if each["self"] else each["name"],
            each["agency"],
            str(each["power"]) if each["power"] else "reads",
            each["standing"],
            str(each["breaches"]),
            _mark(each["voted"]),
            _mark(each["reached"]),
        )
    console.print(table)
    _print_proposals(found, console)
    for each in found.get("requests", ()):
        console.print(
            f"{each['name']}, hub key {each['key'][:16]}…, asks to be admitted; if its agency names that key:"
            f" tocsin-hub federation propose admit {each['name']}",
            soft_wrap=True,
            highlight=False,
        )
    disk = found["disk"]
    console.print(
        f"disk: ledger {_mib(disk['ledger'])}, engine {_mib(disk['engine'])}, free {_mib(disk['free'])}"
        f"; version {found['version']}"
        + ("" if running else "; the hub does not run: this is what its ledger says"),
        soft_wrap=True,
        highlight=False,
    )


def _headline(found: dict[str, Any]) -> str:
    age = found["final_age_ms"]
    chain = f"{found['chain']} ({found['genesis'][:16]}), roster {found['roster_version']}"
    said = f"{chain}: final block {found['height']}"
    said += "" if age is None else f", {age / 1000:.0f} s ago"
    if found["running"]:
        lag = found["lag"]
        said += f", lag {'unknown' if lag is None else lag}, {found['peers']} peers"
        said += ", catching up" if found["catching_up"] else ""
    return said


def _print_proposals(found: dict[str, Any], console: Console) -> None:
    for each in found["proposals"]:
        if each["state"] != "open":
            continue
        until = datetime.fromtimestamp(each["not_after_ms"] / 1000, UTC)
        console.print(
            f"proposal {each['hash'][:16]}: {each['action']} {each['about']} ({each['reason']})\n"
            f"  has power {each['power']} of the {each['needed']} it needs, by {', '.join(each['approvals'])}; missing:"
            f" {', '.join(each['missing'])}; open until {until:%Y-%m-%d %H:%M} UTC",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )


def _mark(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "NO"


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
