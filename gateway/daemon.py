"""The running gateway: its parts put together, started in order, and stopped in the reverse one.

Owns wiring and lifecycle. What the parts do is theirs. The order of starting is that of importance: pins and
contracts first, then samples, then disk, then network, then enrolment.

Invariants:
* Only a broken configuration, a missing key, or another process on its data keeps a gateway from starting; no hub,
  no disk, no sensor does.
* A gateway is of one chain from its start to its end. When another chain takes that over it asks for its turn, and
  `gateway.running` assembles the next one on the same directory.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.chain.keys import gateway_id
from gateway.clock import Clock
from gateway.config import Config
from gateway.contracting import first_contracts
from gateway.contracts.errors import ContractError
from gateway.control import Control
from gateway.decider import ContractSet, Decider
from gateway.errors import ConfigError, StoreError
from gateway.handling import Hands
from gateway.inspection.clashes import check_lines
from gateway.inspection.reporting import status_of
from gateway.machine import built_ms, configured_catalogue, data_directory, make_hardware, software
from gateway.neighbours.link import Link
from gateway.outputs.buttons import Buttons
from gateway.outputs.client import Guardian
from gateway.outputs.options import check_distinct
from gateway.outputs.wire import meeting_point
from gateway.recording.logbook import Logbook
from gateway.recording.recorder import Recorder
from gateway.recording.writer import Writer
from gateway.region.enrol import Trust, load_key, load_trust
from gateway.region.herald import Herald, check_birth
from gateway.region.keeper import Identity, Keeper
from gateway.region.membership import Membership
from gateway.region.succession import Succession
from gateway.sampler import Samplers
from gateway.sensors.base import Hardware
from gateway.storage.listings import Listings
from gateway.storage.pruning import Pruner, takes_data
from gateway.storage.recovery import Found, open_data
from gateway.synchrony import Synchrony, Word

__all__ = ["Gateway"]

_log = logging.getLogger(__name__)

_END_S: Final = 5.0
_TICK_S: Final = 20.0  # the ticker has something to do every second
_NO_ROOM: Final = 100_000  # per mille of the quota: as full as a heartbeat can say


class Gateway:
    """One gateway on one data directory.

    Args:
        config: what to run.
        where: the configuration's name, for messages.
        hardware: in place of what the configuration names, for tests and benches, or of the gateway before.
        turn: called when another chain has taken this one over: it is to be stopped and assembled anew.

    Raises:
        ConfigError, StoreError, JournalError: it cannot be run.
    """

    def __init__(
        self,
        config: Config,
        where: str,
        hardware: Hardware | None = None,
        turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._config, self._where, self._turn = config, where, turn
        self._keeps_hardware = False
        self.catalogue = configured_catalogue(config, where, runs=True)
        with contextlib.ExitStack() as opened:
            self._assemble(data_directory(config.data), hardware, opened)
            self._opened = opened.pop_all()

    def _assemble(self, directory: Path, hardware: Hardware | None, opened: contextlib.ExitStack) -> None:
        """Make the parts; `opened` takes what must be closed, whether all of them could be made or not."""
        config = self._config
        self._wake, self._ending = threading.Event(), threading.Event()
        clock = self._open_hardware(hardware, opened)
        found = self._open_data(directory, clock, opened)
        contracts = first_contracts(config, self._where, self.store)
        check_birth(self.catalogue.series, contracts.documents)
        hubs = [each.name for each in config.hubs]
        self.succession = Succession(self.store, self.keeper, hubs, turn=self._turn)
        self.decider = self._make_decider(contracts, clock, opened)
        self.pruner = self._make_pruner(directory, clock)
        self.writer = self._make_writer(found, clock)
        self.recorder = self._make_recorder(contracts, found, clock)
        self.membership = self._make_membership(found.trust, clock)
        self._state = found.state
        self.neighbours = Link(
            self.identity, config.neighbours, self.catalogue.sensors, self.recorder, clock, self._speed
        )
        opened.callback(self.neighbours.stop)
        self._samplers = Samplers(self.catalogue.sensors, self.hardware, self.recorder, self._speed)
        self._hands = Hands(self.recorder, self.decider)
        self.buttons = Buttons(config.buttons, self.hardware.pins, self._hands.press)
        self._control = Control(directory / "control.sock", self._do)
        self._ticked_at = time.monotonic()
        self._ticker = threading.Thread(target=self._tick, name="ticker", daemon=True)

    def start(self) -> None:
        """Begin: outputs and contracts, samples, then all else."""
        self.outputs.start()
        self.writer.start()
        self.recorder.start(self._state, self._loose())
        self._samplers.start()
        self.neighbours.start()
        self._ticker.start()
        self.buttons.start()
        self.membership.start()
        self._control.start()
        gateway, genesis = self.identity.gateway.hex(), self.identity.genesis.hex()[:16]
        sensors = len(self.catalogue.sensors)
        _log.info("%s: gateway %s of chain %s, %d sensors", software(), gateway, genesis, sensors)

    def stop(self, *, keep_hardware: bool = False) -> None:
        """End: no more samples, the open block sealed and stored; idempotent.

        The guardian holds the outputs as they are for the next start, and goes to the safe state if there is none.

        Args:
            keep_hardware: leave it open, for the next gateway.
        """
        if self._ending.is_set():
            return
        self._keeps_hardware = keep_hardware
        self._ending.set()
        self._wake.set()
        self._control.stop()
        self.buttons.stop()
        self._samplers.stop()
        self.neighbours.stop()
        self._ticker.join(_END_S)
        self.recorder.end()
        self.writer.stop()
        self.membership.stop()
        self._opened.close()

    @property
    def is_mended(self) -> bool:
        """Whether the disk, which took nothing at the start, does now, and no alarm is in the way of a restart."""
        acting = {each.name for each in self._config.outputs if each.kind != "fault"} & self.outputs.active
        if self.store.is_writable or acting:
            return False
        is_calm = all(condition == "normal" for condition, _ in self.recorder.conditions().values())
        return is_calm and takes_data(self._config.data)

    @property
    def hubs(self) -> tuple[Any, ...]:
        """The hubs spoken to (`gateway.region.sync.HubSync`); none before the genesis is known."""
        return self.membership.hubs

    @property
    def lines(self) -> dict[str, str]:
        """By output, the series that supervises its line."""
        return {each.name: each.line for each in self._config.outputs if each.line is not None}

    def ticks(self) -> dict[str, bool]:
        """Return, by name, whether each thread that alarms hang on ticked in its time: the buses' and two more."""
        is_ticking = self._ticked_at + _TICK_S > time.monotonic()
        return {**self._samplers.ticks(), "neighbours": self.neighbours.ticks(), "ticker": is_ticking}

    # parts

    def _open_hardware(self, hardware: Hardware | None, opened: contextlib.ExitStack) -> Synchrony:
        self.hardware, self._speed = make_hardware(self._config, self.catalogue, hardware)
        opened.callback(self._close_hardware)
        self.time = Synchrony(
            self.hardware.clock,
            Word if self._speed != 1 else None,
            follows=self._speed == 1,
            floor_ms=built_ms(),
        )
        return self.time

    def _open_data(self, directory: Path, clock: Synchrony, opened: contextlib.ExitStack) -> Found:
        """Open what this gateway left behind: who it is, its store and its journals."""
        config = self._config
        key, is_new = load_key(directory)
        asked = load_trust(Path(config.gateway.trust), directory)
        gateway = gateway_id(key.public)
        self._listings = Listings(self.catalogue, config, self._where)
        found = open_data(directory, asked, gateway, config.gateway.bound_ms, clock, self._listings.prepare)
        for journal in (*found.journals, *(journal for _, journal in found.left)):
            opened.callback(journal.close)
        self.store, trust = found.store, found.trust
        opened.callback(self.store.close)
        if trust.hash != asked.hash:
            _log.warning("the trust file names %s, which this chain took over", asked.hash.hex()[:16])
        self.identity = Identity(trust.hash, gateway, key, secrets.token_bytes(8))
        clock.floor_ms = max(clock.floor_ms, self.store.vouched_ms())
        self.keeper = Keeper(
            self.identity,
            self.store,
            whole=found.whole and (is_new or not self.store.is_new),
            hubs=lambda: len(config.hubs),
        )
        return found

    def _make_decider(self, contracts: ContractSet, clock: Clock, opened: contextlib.ExitStack) -> Decider:
        config = self._config
        check_lines(config, self.catalogue, self._where)
        directories, is_systems = meeting_point(config.data, simulated=self.hardware.is_simulated)
        try:
            check_distinct(config.outputs, config.buttons)
            self.outputs = Guardian(
                config.outputs,
                directories,
                hold_s=config.guardian.hold_s,
                simulated=self.hardware.is_simulated,
                speed=self._speed,
                spawns=not is_systems,
                poke=self._wake.set,
            )
            kinds = {each.name: each.kind for each in config.outputs}
            now = clock.monotonic_ms()
            decider = Decider(
                contracts, self.catalogue.infos, self.outputs, kinds, now, lambda: self.recorder.faulty
            )
        except (ContractError, ValueError) as error:
            raise ConfigError(f"{self._where}: {error}") from error
        opened.callback(self.outputs.close)
        for name in decider.unknown_outputs(contracts):
            _log.error("a contract drives %r, and no output is called so that contracts may drive", name)
        return decider

    def _make_pruner(self, directory: Path, clock: Clock) -> Pruner:
        limits = self._config.gateway
        return Pruner(
            self.store,
            directory,
            clock,
            quota=None if limits.quota_mb is None else limits.quota_mb << 20,
            retain_h=limits.retain_h,
            custodians=lambda: self.membership.custodians,
            note=lambda event: self.recorder.note(event),
            earlier=lambda: self.membership.earlier,
        )

    def _make_writer(self, found: Found, clock: Clock) -> Writer:
        return Writer(
            self.identity,
            self.store,
            self.keeper,
            found.journals,
            clock,
            left=found.left,
            unwritten=found.unwritten,
            release=lambda journal: self.recorder.release(journal),
            care=self._care,
            announce=lambda: self.membership.announce(),
            speed=self._speed,
        )

    def _make_recorder(self, contracts: ContractSet, found: Found, clock: Clock) -> Recorder:
        logbook = Logbook(
            self.identity.boot,
            found.number,
            [each.klass for each in self.catalogue.series],
            self.catalogue.listing,
            contracts.listing,
            journals=found.journals,
            seal=self._config.seal,
            clock=clock,
            shelf=self.writer,
            state=self.decider.state,
            clock_state=self.time,
        )
        return Recorder(
            self.identity,
            self.catalogue,
            self.decider,
            logbook,
            self.writer,
            powered_since_ms=self.hardware.powered_since_ms,
            poke=self._wake.set,
            changed=lambda: self.neighbours.poke(),
        )

    def _make_membership(self, trust: Trust, clock: Synchrony) -> Membership:
        herald = Herald(
            self.identity,
            self.store,
            self.keeper,
            clock,
            heartbeat_ms=self._config.gateway.heartbeat_s * 1000,
            software=software(),
            faults=lambda: self.recorder.faults + len(self.outputs.faults),
            fill=lambda: self.pruner.fill if self.store.is_writable else _NO_ROOM,
        )
        return Membership(
            self._config,
            self._where,
            trust,
            self.identity,
            self.store,
            self.keeper,
            herald,
            self.recorder,
            clock,
            series=self.catalogue.series,
            unwritten=self.writer.unwritten,
            roots=lambda: (self.catalogue.listing.root, self.recorder.contracts.listing.root),
            succeeded=self.succession.follow,
        )

    def _loose(self) -> list[bytes]:
        """Return the bodies of transitions that stand in no block, as far as the store can be read."""
        try:
            return [row.body for row in self.store.loose_transitions()]
        except StoreError as error:
            _log.error("%s", error)
            return []

    def _care(self) -> None:
        """Look after the store's room; on a full disk this start may still owe it something."""
        if not self.store.is_writable:
            return
        self.pruner.care()
        self._listings.care(self.store, self.recorder.contracts)
        self.succession.care()

    def _close_hardware(self) -> None:
        if not self._keeps_hardware:
            self.hardware.close()

    # threads

    def _tick(self) -> None:
        clock = self.hardware.clock
        while not self._ending.is_set():
            self._ticked_at = time.monotonic()
            try:
                self.recorder.tick()
                wait_ms = self.recorder.due_ms() - clock.monotonic_ms()
            except Exception:  # deadlines of alarms hang on this thread: whatever went wrong, it goes on
                _log.exception("deadlines were not met")
                wait_ms = 1000
            self._wake.wait(max(0, wait_ms) / 1000 / self._speed)
            self._wake.clear()

    # the control socket

    def _do(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.status() if request.get("do") == "status" else self._hands.ask(request)

    def status(self) -> dict[str, Any]:
        """Return what a person asks first, as plain values for JSON."""
        return status_of(self)
