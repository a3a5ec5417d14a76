"""How a gateway belongs to its region: enrolled once, then in touch with every configured hub.

Owns the thread that enrols, the hubs' senders and their life. It does not own the enrolment itself
(`gateway.region.enrol`), what is sent (`gateway.region.sync`), nor who belongs to the chain
(`gateway.region.federation`).

Invariants:
* Whatever goes wrong here is tried again; it never touches recording, decisions or pins.
* A hub that the genesis does not name has its sender all the same: the roster may name it later.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.chain.genesis import Genesis
from gateway.chain.reading import Series
from gateway.config import Config, EnrolmentTable
from gateway.errors import GatewayError
from gateway.recording.recorder import Recorder
from gateway.region.enrol import EnrolmentRefused, Trust, enrol, erase_ticket
from gateway.region.federation import Federation
from gateway.region.herald import Herald
from gateway.region.keeper import Identity, Keeper
from gateway.region.orders import Orders
from gateway.region.succession import chains, remember
from gateway.storage.store import Store, Transition
from gateway.synchrony import Synchrony

if TYPE_CHECKING:
    from gateway.region.mouth import Mouth
    from gateway.region.sync import HubSync

__all__ = ["Membership"]

_log = logging.getLogger(__name__)

_ENROLLED: Final = "enrolled"
_AGAIN_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_END_S: Final = 5.0


class Membership:
    """Enrols where that is still to be done, then speaks with the hubs.

    Args:
        series: the catalogue in force.
        unwritten: transitions that have no row yet.
        roots: of the catalogue and the contract set in force.
        succeeded: told of this chain's genesis and of the one that takes it over.
    """

    def __init__(
        self,
        config: Config,
        where: str,
        trust: Trust,
        identity: Identity,
        store: Store,
        keeper: Keeper,
        herald: Herald,
        recorder: Recorder,
        clock: Synchrony,
        *,
        series: Sequence[Series],
        unwritten: Callable[[], Sequence[Transition]],
        roots: Callable[[], tuple[bytes, bytes]],
        succeeded: Callable[[Genesis, Genesis], None],
    ) -> None:
        self._config, self._where, self._trust, self._identity = config, where, trust, identity
        self._store, self._keeper, self._herald = store, keeper, herald
        self._recorder, self._clock, self._series = recorder, clock, series
        self._unwritten, self._roots, self._succeeded = unwritten, roots, succeeded
        self._federation = Federation(trust.genesis, store) if trust.genesis else None
        self._hubs: list[HubSync] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="membership", daemon=True)

    @property
    def hubs(self) -> tuple[HubSync, ...]:
        """The hubs spoken to; none before the genesis is known."""
        return tuple(self._hubs)

    @property
    def custodians(self) -> int | None:
        """How many agencies must keep a body before it may be pruned here; None while that is not known."""
        return self._federation.custodians if self._federation else None

    @property
    def earlier(self) -> tuple[int, int]:
        """The last block of earlier chains, and how many agencies the one before this asked to keep a body."""
        older = chains(self._store)[:-1]
        return self._store.moved, older[-1].custodians if older else 1

    def start(self) -> None:
        """Begin, and return at once."""
        self._thread.start()

    def stop(self) -> None:
        """Take leave of all hubs."""
        self._ending.set()
        self._thread.join(_END_S)
        for hub in self._hubs:
            hub.stop()

    def announce(self) -> None:
        """There is something new to send."""
        for hub in self._hubs:
            hub.announce()

    def changed(self) -> None:
        """What a birth says has changed."""
        for hub in self._hubs:
            hub.rebirth()

    def _run(self) -> None:
        genesis = self._enrolled()
        if genesis is None or self._ending.is_set():
            return
        if self._federation is None:
            self._federation = Federation(genesis, self._store)
        # Here, not above: the first sample does not wait for the network's libraries.
        from gateway.region.sync import HubSync

        mouth = self._mouth(self._federation)
        for table in self._config.hubs:
            try:
                hub = HubSync(table, mouth)
            except GatewayError as error:
                _log.error("%s: hub %s: %s", self._where, table.name, error)
                continue
            hub.start()
            self._hubs.append(hub)

    def _mouth(self, federation: Federation) -> Mouth:
        from gateway.region.mouth import Mouth

        orders = Orders(
            self._identity,
            federation,
            self._recorder,
            self._store,
            self._keeper,
            self._clock,
            self._series,
            self.changed,
        )
        return Mouth(
            self._identity,
            federation,
            self._config.gateway.region,
            self._store,
            self._keeper,
            self._herald,
            orders,
            self._config.gateway.heartbeat_s,
            self._unwritten,
            self._roots,
            self._receipted,
            self._succeeded,
            self._clock,
        )

    def _receipted(self, numbers: Mapping[str, Sequence[int]]) -> None:
        """Tell every hub's sender of the receipts that are in the store, whoever brought them."""
        for hub in self._hubs:
            if hub.name in numbers:
                hub.receipted(numbers[hub.name])

    def _enrolled(self) -> Genesis | None:
        """Return the genesis of the chain, once this gateway is enrolled there; None at the end or for want of one."""
        table = self._config.enrolment
        if table is not None and not self._store.get(_ENROLLED) and not self._was_enrolled(table):
            return self._enrol(table)
        if table is not None:  # a crash may have come between the note and the erasing
            erase_ticket(Path(table.ticket))
        if self._trust.genesis is None:
            _log.error("%s: the trust file holds a hash only; give the genesis, or [enrolment]", self._where)
        return self._trust.genesis

    def _was_enrolled(self, table: EnrolmentTable) -> bool:
        """Whether a database that was lost had noted it: the ticket is spent, and what it bought is here."""
        return not Path(table.ticket).exists() and (self._config.data / "genesis.cbor").exists()

    def _enrol(self, table: EnrolmentTable) -> Genesis | None:
        gateway, attempt = self._config.gateway, 0
        while not self._ending.is_set():
            try:
                genesis = enrol(
                    table,
                    self._identity.key,
                    gateway.name,
                    gateway.region,
                    self._trust,
                    self._config.data,
                    self._clock.doubt_ms,
                )
                self._store.put({_ENROLLED: b"\1"})
                remember(self._store, genesis)
                erase_ticket(Path(table.ticket))
            except EnrolmentRefused as error:
                _log.error("%s", error)
                attempt = len(_AGAIN_S)
            except GatewayError as error:
                _log.warning("not enrolled yet: %s", error)
            else:
                _log.info("enrolled in chain %s", genesis.hash.hex()[:16])
                return genesis
            self._ending.wait(_AGAIN_S[min(attempt, len(_AGAIN_S) - 1)])
            attempt += 1
        return None
