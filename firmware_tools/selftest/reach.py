"""Who must be reached: hubs, their brokers, neighbours; and how far the clock is from the hub's.

Owns short attempts to connect. It logs in nowhere and sends nothing but a request for a page that everybody may read.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urlsplit

from firmware_tools.selftest.finding import FAILED, OK, WARNING, Finding
from gateway.chain.neighbour import Neighbour
from gateway.config import Config, HubTable
from gateway.contracting import contracts_in_force
from gateway.errors import GatewayError
from gateway.inspection.facts import run
from gateway.neighbours.config import parse_address
from gateway.region.enrol import known_gateway
from gateway.tls import client_context

__all__ = ["hub_url", "neighbour_findings", "reach_findings"]

_TIMEOUT_S: Final = 5.0
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_OFF_S: Final = 5.0
_FAR_OFF_S: Final = 60.0
_NET: Final = "check the network, the firewall and the name; the gateway records and alarms without it"


def hub_url(config: Config, given: str | None) -> str | None:
    """Return the hub's REST address: the one given, or where the gateway enrols."""
    return (given or (config.enrolment.url if config.enrolment else "")).rstrip("/") or None


def reach_findings(config: Config, url: str | None) -> Iterator[Finding]:
    """Yield whether brokers and hub are reached, and the clock's distance from the hub's."""
    if not config.hubs:
        yield Finding(
            "hub", "broker", WARNING, "no hub is configured", "add [[hubs]]: nobody else sees its alarms"
        )
    for hub in config.hubs:
        yield _broker(hub)
    if url is None:
        yield Finding("hub", "REST", WARNING, "its address is not known", "name it: --hub https://...")
    else:
        yield from _hub(url, config.enrolment.ca_file if config.enrolment else "")


def neighbour_findings(config: Config, where: str) -> Iterator[Finding]:
    """Yield whether the machines of the building's other gateways are there; what they say only a gateway hears."""
    try:
        building = contracts_in_force(config, where).building
        own = known_gateway(config.data)
    except GatewayError as error:
        yield Finding("neighbour", "roster", FAILED, str(error), "correct it: tocsin-gateway check")
        return
    for member in building.members if building else ():
        if member.gateway != own:
            yield _neighbour(member)


def _neighbour(member: Neighbour) -> Finding:
    hosts = [parse_address(each)[0] for each in member.addresses]
    if not hosts:
        said = "reached by multicast alone: only the running gateways can tell"
        return Finding(
            "neighbour", member.name, WARNING, said, "give it an address, or see tocsin-gateway status"
        )
    if shutil.which("ping") is None:
        remedy = "apt install iputils-ping, or see tocsin-gateway status"
        return Finding("neighbour", member.name, WARNING, "not tried: there is no ping here", remedy)
    for host in hosts:
        if run(["ping", "-c", "1", "-W", "1", host]) is not None:
            return Finding("neighbour", member.name, OK, f"{host} answers")
    said = f"{', '.join(hosts)} does not answer a ping"
    return Finding(
        "neighbour", member.name, FAILED, said, "see that it has power and network, and the roster's address"
    )


def _broker(hub: HubTable) -> Finding:
    parts = urlsplit(hub.url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 1883)
    begun = time.monotonic()
    try:
        with socket.create_connection((host, port), _TIMEOUT_S) as connection:
            if parts.scheme == "mqtts":
                context = client_context(hub.ca_file or None)
                if hub.cert_file:
                    context.load_cert_chain(hub.cert_file, hub.key_file or None)
                with context.wrap_socket(connection, server_hostname=host):
                    pass
    except ssl.SSLError as error:
        return Finding(
            "hub", hub.name, FAILED, f"{host}:{port}: {error.reason}", "check ca_file, certificates and clock"
        )
    except OSError as error:
        return Finding("hub", hub.name, FAILED, f"{host}:{port}: {error.strerror or error}", _NET)
    return Finding(
        "hub", hub.name, OK, f"{host}:{port} answers after {(time.monotonic() - begun) * 1000:.0f} ms"
    )


def _hub(url: str, ca_file: str) -> Iterator[Finding]:
    context = client_context(ca_file or None) if url.startswith("https") else None
    begun = time.time()
    date = ""
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=_TIMEOUT_S, context=context) as answer:
            date = answer.headers.get("Date", "")
    except HTTPError as error:
        date = error.headers.get("Date", "")
        yield Finding("hub", "REST", WARNING, f"{url} answers {error.code}", "ask who looks after the hub")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        yield Finding("hub", "REST", FAILED, f"{url}: {getattr(reason, 'strerror', None) or reason}", _NET)
        return
    else:
        yield Finding("hub", "REST", OK, f"{url} answers after {(time.time() - begun) * 1000:.0f} ms")
    with contextlib.suppress(ValueError, TypeError):
        yield _drift(parsedate_to_datetime(date).timestamp() + 0.5, (begun + time.time()) / 2)


def _drift(hub: float, own: float) -> Finding:
    """Judge the clock's distance; a date has whole seconds."""
    off = own - hub
    said = f"{off:+.1f} s off the hub's"
    remedy = "let it reach a time server; check its real-time clock's battery"
    if abs(off) > _FAR_OFF_S:
        return Finding("clock", "drift", FAILED, said, remedy)
    return (
        Finding("clock", "drift", WARNING, said, remedy)
        if abs(off) > _OFF_S
        else Finding("clock", "drift", OK, said)
    )
