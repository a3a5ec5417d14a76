"""What blocks of this boot name, kept in the store: the catalogue and the contract set.

Owns that they are there before anything refers to them, also after a change of configuration or the loss of the
database, and as soon as a full disk takes them. What they say is `gateway.catalogue`'s and `gateway.contracting`'s.
"""

from __future__ import annotations

import logging

from gateway.catalogue import Catalogue
from gateway.config import Config
from gateway.contracting import first_contracts
from gateway.decider import ContractSet
from gateway.errors import StoreError
from gateway.storage.store import Store

__all__ = ["Listings"]

_log = logging.getLogger(__name__)


class Listings:
    """The catalogue and the contracts of a configuration.

    Args:
        where: the configuration's name, for messages.
    """

    def __init__(self, catalogue: Catalogue, config: Config, where: str) -> None:
        self._catalogue, self._config, self._where = catalogue, config, where
        self._owes = False

    def prepare(self, store: Store) -> None:
        """Keep what the configuration comes to, before blocks of the boot before are looked at. Raises ConfigError."""
        try:
            self._keep(store, first_contracts(self._config, self._where, store))
        except StoreError as error:
            _log.error("the catalogue cannot be stored yet: %s", error)
            self._owes = True

    def care(self, store: Store, contracts: ContractSet) -> None:
        """Keep what a full disk did not take at the start. Raises StoreError."""
        if self._owes:
            self._keep(store, contracts)
            self._owes = False

    def _keep(self, store: Store, contracts: ContractSet) -> None:
        series = [each.encode() for each in self._catalogue.series]
        store.add_listing(self._catalogue.listing.root, series)
        store.add_listing(contracts.listing.root, contracts.documents)
