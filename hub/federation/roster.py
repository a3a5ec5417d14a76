"""Who belongs to the federation now, asked of its members by a hub that may be behind: its own key may have changed.

A hub under a key that is no member's any more is let in by nobody, so it cannot learn of the change from the chain.
What a member shows is a roster with its proof under a sealed checkpoint, so nobody has to be believed.
"""

from __future__ import annotations

import logging

from gateway.chain.errors import ChainError
from gateway.chain.genesis import Genesis
from gateway.chain.governance import Roster
from gateway.chain.members import MAX_MEMBERS_FILE, read_members
from hub.config import Config
from hub.errors import HubError
from hub.peers.link import PeerLink

PATH = "/v1/log/members"

_log = logging.getLogger(__name__)


def latest_roster(config: Config, genesis: Genesis, known: Roster) -> Roster:
    """Return the latest roster that a peer proves, or the one that is known where none proves a later one."""
    latest = known
    for peer in config.federation.peers:
        if not peer.url:
            continue
        try:
            shown = PeerLink(peer.url, peer.ca_file).get(PATH, MAX_MEMBERS_FILE)
            roster, sealed = read_members(shown, genesis)
        except (HubError, ChainError, OSError) as error:
            _log.warning("%s does not prove who belongs to the federation: %s", peer.name, error)
            continue
        if roster.version > latest.version:
            _log.info("as of final block %d, roster %d is in force", sealed.height, roster.version)
            latest = roster
    return latest
