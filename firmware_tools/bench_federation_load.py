"""A crowd of made-up gateways that bring hubs more than they can make final, and count what they do.

Anchors alone are handed to the engines themselves, over the sockets in their homes, and of gateways of a region that
none of these hubs serves, of a class that nobody else is given: so hubs want no bodies, and what is measured is
consensus with the whole of the state machine, but no broker. Readings come as from gateways: whole blocks, to the
broker of every hub.

Owned: the way to the hubs and the pressure. Invariants: what is offered and not yet final never exceeds a window;
whatever is dropped on the way is offered again; only what every hub asked holds to be final is counted.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from firmware_tools.authority import open_desk
from firmware_tools.bench_federation_crowd import Crowd, Offer
from firmware_tools.demo_site import REGION
from gateway.chain.ordered import Enrol, encode_transaction
from gateway.chain.reading import INTERNAL, PUBLIC
from gateway.mqtt.config import LinkConfig
from gateway.mqtt.link import Link

__all__ = ["Load"]

ELSEWHERE: Final = "elsewhere"
_POLL_S: Final = 0.1
_STALL_S: Final = 4.0
_PATIENCE_S: Final = 60.0
_RPC_BATCH: Final = 10  # what an engine takes in one request
_PAGE: Final = 20  # headers that an engine shows in one answer
_WRITERS: Final = 16


Bring = Callable[[Sequence[Offer]], None]


class Load:
    """The crowds, and the hubs that they bring their blocks to: each as (REST address, broker, engine's home)."""

    def __init__(self, authority: Path, hubs: Sequence[Sequence[str]]) -> None:
        self._desk = open_desk(authority)
        self._apis = [api for api, _, _ in hubs]
        self._engines = [_Engine(Path(home)) for _, _, home in hubs if home]
        self._links = [
            Link(LinkConfig(url, f"bench-{n}", ()), lambda *_: True) for n, (_, url, _) in enumerate(hubs)
        ]
        for link in self._links:
            link.start()
        self._crowds: dict[str, Crowd] = {}

    def close(self) -> None:
        """Take leave of the brokers."""
        for link in self._links:
            link.close()

    def crowd(self, name: str, readings: int, count: int, height: int) -> int:
        """Make up gateways with blocks up to a height: `anchors` are elsewhere's, `readings` of this region."""
        is_here = name == "readings"
        region, klass = (REGION, PUBLIC) if is_here else (ELSEWHERE, INTERNAL)
        self._crowds[name] = crowd = Crowd(self._desk, region, klass, readings, count)
        crowd.sign(height)
        return count

    def enrol(self, name: str) -> int:
        """Enrol a crowd, and wait until every hub knows it."""
        crowd, before = self._crowds[name], self._least("gateways")
        enrolments = [member.enrolment for member in crowd.members]
        if name == "readings":
            with ThreadPoolExecutor(_WRITERS) as pool:
                list(pool.map(lambda each: _post(f"{self._apis[0]}/v1/enrolment", each.encode()), enrolments))
        else:
            self._engines[0].broadcast([encode_transaction(Enrol(each)) for each in enrolments])
        self._wait(
            lambda: self._least("gateways") >= before + len(crowd.members), "gateways are not enrolled"
        )
        if name == "readings":
            self._wait(lambda: all(link.is_connected for link in self._links), "no broker is reached")
            for gateway, birth in crowd.births():
                self._publish(gateway, "birth", birth)
        return len(enrolments)

    def anchors(self, seconds: float, batch: int, window: int, hubs: Sequence[int]) -> dict[str, Any]:
        """Bring headers to the engines of some hubs; return as `_press`."""
        engines = [self._engines[index] for index in hubs]
        offers = self._crowds["anchors"].headers(len(engines), batch)

        def bring(chosen: Sequence[Offer]) -> None:
            for lane, engine in enumerate(engines):
                engine.broadcast([offer.data for offer in chosen if offer.lane == lane])

        return self._press(offers, bring, seconds, window, hubs)

    def readings(self, seconds: float, window: int, hubs: Sequence[int]) -> dict[str, Any]:
        """Bring whole blocks to the brokers of all hubs; return as `_press`."""
        crowd = self._crowds["readings"]

        def bring(chosen: Sequence[Offer]) -> None:
            for offer in chosen:
                self._publish(offer.ends[0][0], "block", offer.data)

        return self._press(crowd.blocks(), bring, seconds, window, hubs)

    def intervals(self, first: int, last: int) -> list[float]:
        """Return the ms between the final blocks from one height to another."""
        times = list(self._engines[0].times(first, last))
        return [(after - before) * 1000 for before, after in pairwise(times)]

    def _press(
        self, offers: Iterator[Offer], bring: Bring, seconds: float, window: int, hubs: Sequence[int]
    ) -> dict[str, Any]:
        """Keep `window` blocks in the air for some seconds, then wait until all are final.

        Returns:
            `samples`, as (seconds, final by then), of the time of pressure; `final` and `seconds` of the whole; and
            the `first` and `last` final block's height.
        """
        course, base = _Course(), self._least("final_blocks", hubs)
        first = self._least("final_height", hubs)
        while not (course.is_ended and course.final >= course.offered):
            if course.elapsed >= seconds:
                course.is_ended = True
            if not course.is_ended:
                bring(course.take(offers, window))
            time.sleep(_POLL_S)
            course.note(self._least("final_blocks", hubs) - base)
            if course.elapsed - course.moved > _STALL_S:
                course.pending = dict.fromkeys(self._left(course.pending, hubs))
                course.moved = course.elapsed
                bring(list(course.pending))
            if course.elapsed > seconds + _PATIENCE_S:
                raise TimeoutError(f"{course.final} of {course.offered} blocks became final")
        if not course.offered:
            raise ValueError("the crowd has no block left: let it sign more")
        last = self._least("final_height", hubs)
        return {
            "samples": course.samples,
            "final": course.final,
            "seconds": course.moved,
            "first": first,
            "last": last,
        }

    def _left(self, pending: Iterable[Offer], hubs: Sequence[int]) -> list[Offer]:
        """Return what of the pending is not final, which may have been dropped."""
        heads = {each["id"]: each["head"] for each in _get(f"{self._apis[hubs[0]]}/v1/gateways")}
        return [offer for offer in pending if any(heads.get(name, 0) < end for name, end in offer.ends)]

    def _publish(self, gateway: str, kind: str, payload: bytes) -> None:
        for link in self._links:
            link.publish(f"tocsin/v1/{REGION}/{gateway}/{kind}", payload, timeout=_PATIENCE_S)

    def _least(self, what: str, hubs: Sequence[int] | None = None) -> int:
        """Return the least of a total that hubs show."""
        chosen = self._apis if hubs is None else [self._apis[index] for index in hubs]
        return min(int(_get(f"{api}/v1/status")[what]) for api in chosen)

    @staticmethod
    def _wait(ready: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + _PATIENCE_S
        while not ready():
            if time.monotonic() > end:
                raise TimeoutError(f"{otherwise} within {_PATIENCE_S:.0f} s")
            time.sleep(_POLL_S)


@dataclass(slots=True)
class _Course:
    """How a load goes on; times are seconds since it began. Nothing more is taken once it is ended."""

    begun: float = field(default_factory=time.monotonic)
    pending: dict[Offer, None] = field(default_factory=dict)
    samples: list[tuple[float, int]] = field(default_factory=list)
    offered: int = 0
    final: int = 0
    moved: float = 0.0
    is_ended: bool = False

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.begun

    def take(self, offers: Iterator[Offer], window: int) -> list[Offer]:
        """Return what to bring now."""
        chosen = []
        while self.offered - self.final < window:
            if (offer := next(offers, None)) is None:
                self.is_ended = True
                break
            chosen.append(offer)
            self.offered += offer.count
        self.pending |= dict.fromkeys(chosen)
        return chosen

    def note(self, final: int) -> None:
        """Take up how many are final by now."""
        if final == self.final:
            return
        self.final, self.moved = final, self.elapsed
        if not self.is_ended:
            self.samples.append((self.moved, final))


class _Engine:
    """A CometBFT node, asked over the Unix socket in its home."""

    def __init__(self, home: Path) -> None:
        self._connection = _Connection(str(home / "rpc.sock"))

    def broadcast(self, txs: Sequence[bytes]) -> None:
        """Offer transactions to its mempool, in order, without waiting for its judgement."""
        self._connection.close()  # the engine has hung up by now, if there was nothing to say for long
        for at in range(0, len(txs), _RPC_BATCH):
            encoded = [base64.b64encode(tx).decode() for tx in txs[at : at + _RPC_BATCH]]
            self._ask([_request("broadcast_tx_async", place, tx=tx) for place, tx in enumerate(encoded)])

    def times(self, first: int, last: int) -> Iterator[float]:
        """Yield the times of headers, in seconds."""
        for at in range(first, last + 1, _PAGE):
            top = min(at + _PAGE - 1, last)
            answer = self._ask(_request("blockchain", 0, minHeight=str(at), maxHeight=str(top)))
            for meta in reversed(answer["result"]["block_metas"]):
                text = meta["header"]["time"].removesuffix("Z")
                yield datetime.fromisoformat(f"{text[:26]}+00:00").timestamp()

    def _ask(self, body: object) -> Any:
        self._connection.request("POST", "/", json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(self._connection.getresponse().read())


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _request(method: str, place: int, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": place, "method": method, "params": params}


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=_PATIENCE_S) as answer:
        return json.load(answer)


def _post(url: str, data: bytes) -> None:
    request = urllib.request.Request(url, data, {"Content-Type": "application/cbor"})
    with urllib.request.urlopen(request, timeout=_PATIENCE_S):
        pass
