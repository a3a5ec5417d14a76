"""The protocol among a building's gateways, without sockets, threads and clocks: datagrams in, datagrams out.

Owns this gateway's challenges and counter, what was told last, its peers, and when what is sent. It does not own how
datagrams travel (`gateway.neighbours.lan`) nor what follows from them (`gateway.neighbours.link`).

Invariants:
* What this gateway tells goes out at once when it changes, a few times over, and at each heartbeat: to all at once
  and to each by itself, so that either way alone will do.
* Whatever comes is bounded in size and checked for its form and for who it claims to be before it costs a
  signature's check, and in rate by its source; but whoever sends from a neighbour's address uses up nothing of what is
  that neighbour's: an echo of a challenge of this gateway is looked at in any case.
* While there is an alarm to tell, there is a heartbeat each second: networks that are busy then drop much.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.chain.errors import ChainError, TooLarge
from gateway.chain.keys import SigningKey
from gateway.chain.neighbour import (
    MAX_DATAGRAM,
    MAX_ECHOES,
    Building,
    NeighbourState,
    Raised,
    read_message,
    sign_message,
    verify_message,
)
from gateway.errors import Flooded
from gateway.neighbours.bucket import Bucket, Sources
from gateway.neighbours.challenges import Challenges, random_challenge
from gateway.neighbours.peer import Peer

__all__ = ["Circle", "Outgoing", "Said"]

_REPEATS_MS: Final = (30, 100, 300)
_ALARM_BEAT_MS: Final = 1_000
_PER_SOURCE_S, _PER_SOURCE = 100, 200
_ANSWERS_PER_S, _ANSWERS = 5, 10


@dataclass(frozen=True, slots=True)
class Said:
    """What this gateway has to tell: contracts that are not normal, the worst first, how many more, series in fault."""

    raised: tuple[Raised, ...] = ()
    more: int = 0
    faults: int = 0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A datagram to one peer, or to all by multicast (None)."""

    to: Peer | None
    data: bytes


class Circle:
    """The neighbours of one gateway. Times are monotonic ms.

    Args:
        gateway, boot, key: this gateway's own.
        building: the roster; where it does not name this gateway, that has no neighbours.
        before: the circle that this one takes over from, for another roster; counter, challenges and what unchanged
            neighbours told go on.
    """

    def __init__(
        self,
        gateway: bytes,
        boot: bytes,
        key: SigningKey,
        building: Building,
        now_ms: int,
        *,
        heartbeat_ms: int,
        before: Circle | None = None,
        draw: Callable[[], bytes] = random_challenge,
    ) -> None:
        self._gateway, self._boot, self._key, self.building = gateway, boot, key, building
        self._heartbeat_ms = heartbeat_ms
        self._challenges: Challenges = before._challenges if before else Challenges(now_ms, draw)
        self._counter: int = before._counter if before else 0
        self._answers = Bucket(_ANSWERS_PER_S, _ANSWERS, now_ms)
        self._sources = Sources(_PER_SOURCE_S, _PER_SOURCE)
        known = {peer.member: peer for peer in before.peers} if before else {}
        self.is_member = gateway in building.by_gateway
        others = [each for each in building.members if each.gateway != gateway] if self.is_member else []
        # Of whom the circle before knew otherwise, nothing that was said before counts.
        floor = self._challenges.serial + 1 if before else 0
        self.peers: tuple[Peer, ...] = tuple(known.get(each) or Peer(each, now_ms, floor) for each in others)
        self._by_gateway = {peer.member.gateway: peer for peer in self.peers}
        self._said: Said | None = None
        self._broadcasts: list[int] = [now_ms]

    def hear(self, data: bytes, source: tuple[str, int], now_ms: int) -> Peer | None:
        """Take a datagram; return the peer that told something by it.

        Raises:
            Flooded, TooLarge: too many, or too long.
            ChainError: it is not of the format, or of nobody here.
            Replayed, Unproven: it is a neighbour's, and not to be acted on.
        """
        if not self.is_member:
            return None
        try:
            if len(data) > MAX_DATAGRAM:
                raise TooLarge(f"a datagram of {len(data)} bytes, at most {MAX_DATAGRAM} are allowed")
            signed, message = read_message(data)
        except ChainError:
            self._charge(source[0], now_ms)
            raise
        peer = self._by_gateway.get(message.gateway)
        if message.gateway == self._gateway or (peer is not None and peer.is_copy(message)):
            return None  # one's own, by multicast, or one that came by another way
        if self._challenges.serial_of(message.echoes) is None:
            self._charge(source[0], now_ms)
        verify_message(signed, message, self.building)
        assert peer is not None  # the roster names the sender
        if not peer.hear(message, self._challenges, now_ms):
            return None
        if ipaddress.ip_address(source[0]).is_private:  # what tells of a building's alarms stays near it
            peer.address = source
        return peer

    def _charge(self, source: str, now_ms: int) -> None:
        """Raise Flooded where a source has had its share."""
        if not self._sources.take(source, now_ms):
            raise Flooded(f"more than {_PER_SOURCE_S} datagrams a second come from {source}")

    def speak(self, said: Said, now_ms: int) -> list[Outgoing]:
        """Return what is to be sent now."""
        self._challenges.turn(now_ms)
        if said != self._said:
            self._said = said
            self._broadcasts = [now_ms, *(now_ms + each for each in _REPEATS_MS)]
        if self._broadcasts[0] <= now_ms:
            self._broadcasts = [at for at in self._broadcasts if at > now_ms] or [now_ms + self._beat_ms]
            return (
                [self._to_all(), *(self._to(peer, now_ms) for peer in self.peers)] if self.is_member else []
            )
        due = [peer for peer in self.peers if peer.due_ms is not None and peer.due_ms <= now_ms]
        # A proof goes by both ways, as some networks drop either.
        is_pressed = any(peer.presses for peer in due)
        also = [self._to_all()] if is_pressed and self._answers.take(now_ms) else []
        return [*also, *(self._to(peer, now_ms) for peer in due)]

    @property
    def _beat_ms(self) -> int:
        return (
            min(self._heartbeat_ms, _ALARM_BEAT_MS)
            if self._said and self._said.raised
            else self._heartbeat_ms
        )

    def due_ms(self) -> int:
        """Return when `speak` has something to send, as far as is known."""
        dues = [self._broadcasts[0], *(peer.due_ms for peer in self.peers if peer.due_ms is not None)]
        return min(dues)

    def _to_all(self) -> Outgoing:
        # Whoever is doubted, or not yet heard, waits for its echo most.
        peers = sorted(self.peers, key=lambda peer: not peer.is_asked)
        echoes = [each for peer in peers for each in dict.fromkeys((*peer.echoes[-1:], *peer.echoes[:1]))]
        return Outgoing(None, self._message(echoes[:MAX_ECHOES], any(peer.is_doubted for peer in peers)))

    def _to(self, peer: Peer, now_ms: int) -> Outgoing:
        echoes = peer.echoes
        data = self._message(echoes, peer.is_asked)
        peer.wrote(echoes, now_ms)
        return Outgoing(peer, data)

    def _message(self, echoes: Sequence[bytes], asks: bool) -> bytes:
        assert self._said is not None
        self._counter += 1
        state = NeighbourState(
            self.building.name,
            self._gateway,
            self._boot,
            self._counter,
            self._challenges.present,
            int(asks),
            self._said.raised,
            self._said.more,
            self._said.faults,
            tuple(echoes),
        )
        try:
            return sign_message(self._key, state)
        except TooLarge:
            return self._message(echoes[: len(echoes) * 3 // 4], asks)
