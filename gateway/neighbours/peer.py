"""One neighbour as this gateway knows it: what it told, whether that is proven, and what it is owed.

Owns the judgement over its messages and when it is to be written to by itself. It does not own signatures
(`gateway.chain.neighbour`) nor sending (`gateway.neighbours.circle`).

Invariants:
* Only a proven message changes what it told: an echo of one's own present or previous challenge, its counter
  above the last proven one's of that boot, and never a boot again that another followed.
* What is not proven costs the sender's proven word nothing for a second, within which the neighbour can prove itself:
  whoever replays old messages cannot make a neighbour doubtful.
* A neighbour is written to by itself no more than a few times a second, whatever seems to come from it.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

from gateway.chain.neighbour import Neighbour, NeighbourState
from gateway.errors import Replayed, Unproven
from gateway.neighbours.bucket import Bucket
from gateway.neighbours.challenges import Challenges

__all__ = ["Peer", "Standing"]

Standing = Literal["waiting", "proven", "unproven", "silent"]

_GRACE_MS: Final = 1_000
_ASK_AGAIN_MS: Final = (60, 150, 350, 700)
_LATE_MS, _LATE_COUNT = 2_000, 256  # what came by another way comes so late, and is so much, at most
_FRESH_MS: Final = 15_000  # so long after its proof, what only repeats it needs none
_ANSWERS_PER_S, _ANSWERS = 5, 10
_SPACING_MS: Final = 200
_CANDIDATES: Final = 16


class Peer:
    """A neighbour. Times are monotonic ms.

    Args:
        floor: the least serial of this gateway's challenges that its first message has to echo.

    Attributes:
        member: its entry in the roster.
        told: the last proven message, if any.
        proven_ms: when that came.
        address: where that came from, as (host, port); written to beside the roster's addresses.
        due_ms: when it is to be written to by itself, if at all.
        presses: whether that is for a proof, its own or this gateway's, and not only for a new challenge.
    """

    def __init__(self, member: Neighbour, now_ms: int, floor: int = 0) -> None:
        self.member = member
        self.told: NeighbourState | None = None
        self.proven_ms: int | None = None
        self.address: tuple[str, int] | None = None
        self.due_ms: int | None = None
        self.presses = False
        self._heard_ms = now_ms
        self._doubt_ms: int | None = None  # when the first message came that was not proven, since one was
        self._passed: deque[tuple[int, int]] = deque()  # counters proven just now, and when
        self._settled = 0  # the last counter that was proven before
        self._floor = floor  # the least serial that a message of another boot has to echo
        self._last: tuple[bytes, int] | None = None  # boot and counter of the latest message, proven or not
        self._proven_challenge = b""
        self._latest = deque[bytes](maxlen=_CANDIDATES)  # challenges since, of which some may be replayed
        self._echoed: tuple[bytes, ...] = ()
        self._answers = Bucket(_ANSWERS_PER_S, _ANSWERS, now_ms)
        self._asking: list[int] = []

    @property
    def echoes(self) -> tuple[bytes, ...]:
        """The challenges to echo to it: that of its last proven message, and the latest ones since, proven or not.

        Some, so that whoever replays its old messages does not keep it from ever getting an echo of the true one.
        """
        return tuple(dict.fromkeys(each for each in (self._proven_challenge, *self._latest) if each))

    def is_copy(self, message: NeighbourState) -> bool:
        """Whether a message claims to be the one that came last, by another way."""
        return self._last == (message.boot, message.counter)

    def hear(self, message: NeighbourState, mine: Challenges, now_ms: int) -> bool:
        """Take a message that this neighbour signed; say whether it was news.

        Raises:
            Replayed: it is of the past.
            Unproven: it may be. The neighbour will be asked to prove itself.
        """
        self._heard_ms = now_ms
        if self._is_old(message):
            self._settle(now_ms)
            if message.counter > self._settled:
                return False  # overtaken only just now, as happens where there are several ways
            raise Replayed(f"neighbour {self.member.name}: message {message.counter} came before")
        self._last = message.boot, message.counter
        if message.challenge not in self._latest:
            self._latest.append(message.challenge)
        if message.asks or message.challenge not in self._echoed:
            self._answer(now_ms, presses=bool(message.asks))
        serial = mine.serial_of(message.echoes)
        is_new_boot = self.told is None or self.told.boot != message.boot
        if serial is None or (is_new_boot and serial < self._floor):
            if self._repeats(message, now_ms):
                return False
            self._doubt(mine, now_ms)
            raise Unproven(
                f"neighbour {self.member.name}: message {message.counter} echoes no present challenge"
            )
        if is_new_boot:
            self._floor, self._settled = mine.serial + 1, 0
            self._passed.clear()
        self._passed.append((message.counter, now_ms))
        self._settle(now_ms)
        self.told, self.proven_ms, self._proven_challenge = message, now_ms, message.challenge
        self._latest.clear()
        self._doubt_ms, self._asking = None, []
        return True

    def standing(self, now_ms: int, silent_ms: int) -> Standing:
        """Return how it stands: what it told counts while it is proven."""
        is_doubted = self._doubt_ms is not None and now_ms - self._doubt_ms >= _GRACE_MS
        if self.proven_ms is not None and now_ms - self.proven_ms < silent_ms and not is_doubted:
            return "proven"
        if now_ms - self._heard_ms >= silent_ms:
            return "silent"
        return "unproven" if is_doubted or self.proven_ms is not None else "waiting"

    @property
    def is_doubted(self) -> bool:
        """Whether it was heard, and has not proven itself since."""
        return self._doubt_ms is not None

    @property
    def is_asked(self) -> bool:
        """Whether it has to prove itself."""
        return self.told is None or self.is_doubted

    def wrote(self, echoes: tuple[bytes, ...], now_ms: int) -> None:
        """Take note of what was sent to it just now."""
        self._echoed = echoes
        self._asking = [at for at in self._asking if at > now_ms]
        self.due_ms, self.presses = min(self._asking, default=None), bool(self._asking)

    def _is_old(self, message: NeighbourState) -> bool:
        told = self.told
        return told is not None and told.boot == message.boot and message.counter <= told.counter

    def _settle(self, now_ms: int) -> None:
        while self._passed and (now_ms - self._passed[0][1] > _LATE_MS or len(self._passed) > _LATE_COUNT):
            self._settled = self._passed.popleft()[0]

    def _repeats(self, message: NeighbourState, now_ms: int) -> bool:
        """Whether a message says nothing but what is proven: one to all may have no room for everyone's echo."""
        told, proven = self.told, self.proven_ms
        if told is None or proven is None or told.boot != message.boot or now_ms - proven > _FRESH_MS:
            return False
        return (told.raised, told.more, told.faults) == (message.raised, message.more, message.faults)

    def _doubt(self, mine: Challenges, now_ms: int) -> None:
        if mine.serial < self._floor:
            mine.renew(now_ms)
        if self._doubt_ms is None:
            self._doubt_ms = now_ms
            self._asking = [now_ms + each for each in _ASK_AGAIN_MS]
        self._answer(now_ms, presses=True)

    def _answer(self, now_ms: int, *, presses: bool) -> None:
        self.presses = self.presses or presses
        due = now_ms if self._answers.take(now_ms) else now_ms + _SPACING_MS
        self.due_ms = due if self.due_ms is None else min(due, self.due_ms)
