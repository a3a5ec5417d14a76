"""The engine's home: the files that CometBFT reads, all made by the hub.

Owned: `config.toml`, `genesis.json`, the node key (the hub's own) and the validator key with its first state.
Not owned: what the engine writes into `data`.

Invariants:
- Configuration and genesis follow from settings and the chain's genesis alone, and are written anew at each start.
- The validator key is made once, readable by its owner alone, and never written over; a key whose state of
  signing is lost is refused, because it might sign twice at one height.
- Nothing but the peers' port listens on the network; who may use it is asked of the hub for each peer.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from string import Template
from typing import Any, Final

from gateway.chain.cometbft import chain_id, in_order
from gateway.chain.genesis import Genesis
from gateway.chain.keys import SigningKey
from gateway.chain.ordered import MAX_TRANSACTION
from hub.consensus.abci import SOCKET
from hub.consensus.application import app_state
from hub.errors import ConsensusError
from hub.files import create_private, replace_private

RPC_SOCKET: Final = "rpc.sock"
DATA: Final = "data"
MAX_BLOCK: Final = 1 << 20
EVIDENCE_SECONDS: Final = 30 * 86_400
EVIDENCE_BLOCKS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Peer:
    """Another hub's engine: the hub's public key, and where it listens (`host:port`)."""

    key: bytes
    address: str


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the engine waits, in ms; `commit` is the same on all hubs.

    Each step of a round waits so long, and `delta` longer with every further round; `commit` is the pause after
    a final block in which late votes still come in.
    """

    propose: int = 1000
    prevote: int = 500
    precommit: int = 500
    delta: int = 500
    commit: int = 200


@dataclass(frozen=True, slots=True)
class StateSync:
    """Where a new hub begins: a header that its operator trusts, and two or more RPC addresses to check it by."""

    servers: tuple[str, ...]
    height: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class CometSettings:
    """How the engine is run.

    Attributes:
        home: its directory; made at the first start.
        host, port: where it listens for its peers.
        peers: the other hubs; each pair needs to be listed on one side only.
        program: the binary, a path or a name on PATH.
        interval: seconds between final blocks when nothing waits.
        timeouts: how long a round waits.
        double_sign_check: after a restore, refuse to vote where one of so many last final blocks has our vote.
        state_sync: begin by a snapshot, where the home is new.
        prunes: blocks are dropped, so that space has to be given back.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = 26656
    peers: tuple[Peer, ...] = ()
    program: str = "cometbft"
    interval: float = 30.0
    timeouts: Timeouts = field(default_factory=Timeouts)
    double_sign_check: int = 0
    state_sync: StateSync | None = None
    prunes: bool = False


def address(public: bytes) -> bytes:
    """Return the engine's name for a key (20 bytes), a validator's or a node's."""
    return sha256(public).digest()[:20]


def peer_url(peer: Peer) -> str:
    """Return a peer as the engine writes it."""
    return f"{address(peer.key).hex()}@{peer.address}"


def write_home(settings: CometSettings, genesis: Genesis, key: SigningKey) -> bytes:
    """Make or renew the home, and return the validator's public key. Raises ConsensusError."""
    public = make_validator_key(settings.home)
    config = settings.home / "config"
    try:
        replace_private(config / "node_key.json", _json({"priv_key": _private(key.seed, key.public)}))
        replace_private(config / "genesis.json", engine_genesis(genesis))
        replace_private(config / "config.toml", render(settings, address(key.public).hex()))
    except OSError as error:
        raise ConsensusError(f"{config} cannot be written: {error}") from error
    return public


def make_validator_key(home: Path) -> bytes:
    """Return the public key of a home's validator, which is made when there is none. Raises ConsensusError."""
    key_file, state_file = home / "config/priv_validator_key.json", home / "data/priv_validator_state.json"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        key_file.parent.mkdir(mode=0o700, exist_ok=True)
        state_file.parent.mkdir(mode=0o700, exist_ok=True)
        if not key_file.exists():
            # The state first: a key without one is never used.
            with contextlib.suppress(FileExistsError):
                create_private(state_file, _json({"height": "0", "round": 0, "step": 0}))
            create_private(key_file, validator_document(secrets.token_bytes(32)))
        if not state_file.exists():
            raise ConsensusError(
                f"{state_file} is lost: the key beside it could sign twice; tocsin-hub backup and restore give it back"
            )
        return read_validator_key(key_file).public
    except OSError as error:
        raise ConsensusError(f"{home} cannot be written: {error}") from error


def read_validator_key(path: Path) -> SigningKey:
    """Return a validator's key pair. Raises ConsensusError."""
    try:
        return SigningKey(base64.b64decode(json.loads(path.read_bytes())["priv_key"]["value"])[:32])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConsensusError(f"{path} is no validator's key: {error}; restore it from your backup") from error


def engine_genesis(genesis: Genesis) -> str:
    """Return the engine's genesis, which follows from ours alone, so that it is the same on every hub."""
    created = datetime.fromtimestamp(genesis.created // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return _json(
        {
            "genesis_time": f"{created}.{genesis.created % 1000:03}Z",
            "chain_id": chain_id(genesis.hash),
            "initial_height": "1",
            "consensus_params": {
                "block": {"max_bytes": str(MAX_BLOCK), "max_gas": "-1"},
                # Evidence expires when both its age and the blocks since say so.
                "evidence": {
                    "max_age_num_blocks": str(EVIDENCE_BLOCKS),
                    "max_age_duration": str(EVIDENCE_SECONDS * 10**9),
                    "max_bytes": str(MAX_BLOCK // 4),
                },
                "validator": {"pub_key_types": ["ed25519"]},
                "version": {"app": "0"},
                "abci": {"vote_extensions_enable_height": "0"},
            },
            "validators": [
                {
                    "address": address(each.key).hex().upper(),
                    "pub_key": _public(each.key),
                    "power": str(each.power),
                    "name": "",
                }
                for each in in_order(genesis.validators)
            ],
            "app_hash": "",
            "app_state": app_state(genesis),
        }
    )


def render(settings: CometSettings, moniker: str) -> str:
    """Return `config.toml`."""
    waits, sync = settings.timeouts, settings.state_sync
    values = {
        "moniker": moniker,
        "proxy_app": f"unix://{SOCKET}",
        "rpc": f"unix://{RPC_SOCKET}",
        "listen": f"tcp://{settings.host}:{settings.port}",
        "peers": ",".join(map(peer_url, settings.peers)),
        "peer_ids": ",".join(address(peer.key).hex() for peer in settings.peers),
        "max_tx": MAX_TRANSACTION,
        "sync": sync is not None,
        "servers": ",".join(sync.servers) if sync else "",
        "trust_height": sync.height if sync else 0,
        "trust_hash": sync.hash.hex() if sync else "",
        **{name: f"{getattr(waits, name)}ms" for name in Timeouts.__slots__},
        "interval": f"{round(settings.interval * 1000)}ms",
        "double_sign_check": settings.double_sign_check,
    }
    return Template(_CONFIG).substitute({name: json.dumps(value) for name, value in values.items()})


def validator_document(seed: bytes) -> str:
    """Return `priv_validator_key.json` for a key's seed."""
    key = SigningKey(seed)
    return _json(
        {
            "address": address(key.public).hex().upper(),
            "pub_key": _public(key.public),
            "priv_key": _private(seed, key.public),
        }
    )


def _public(key: bytes) -> dict[str, str]:
    return {"type": "tendermint/PubKeyEd25519", "value": base64.b64encode(key).decode()}


def _private(seed: bytes, public: bytes) -> dict[str, str]:
    return {"type": "tendermint/PrivKeyEd25519", "value": base64.b64encode(seed + public).decode()}


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"


_CONFIG: Final = """\
# Written by tocsin-hub at each start; change hub.toml instead.
proxy_app = $proxy_app
abci = "socket"
moniker = $moniker
db_backend = "goleveldb"
log_level = "info"
log_format = "plain"
filter_peers = true

[rpc]
laddr = $rpc
unsafe = true  # only the hub reaches this socket, and needs it to dial peers that were away for long
grpc_laddr = ""
pprof_laddr = ""

[p2p]
laddr = $listen
persistent_peers = $peers
unconditional_peer_ids = $peer_ids
pex = false
addr_book_strict = false
allow_duplicate_ip = true
max_num_inbound_peers = 64
max_num_outbound_peers = 64
flush_throttle_timeout = "10ms"

[mempool]
size = 2000
max_txs_bytes = 67108864
max_tx_bytes = $max_tx
cache_size = 10000
recheck = true
keep-invalid-txs-in-cache = false

[statesync]
enable = $sync
rpc_servers = $servers
trust_height = $trust_height
trust_hash = $trust_hash
trust_period = "720h0m0s"
discovery_time = "5s"

[consensus]
timeout_propose = $propose
timeout_propose_delta = $delta
timeout_prevote = $prevote
timeout_prevote_delta = $delta
timeout_precommit = $precommit
timeout_precommit_delta = $delta
timeout_commit = $commit
skip_timeout_commit = false
create_empty_blocks = false
create_empty_blocks_interval = $interval
peer_gossip_sleep_duration = "10ms"
double_sign_check_height = $double_sign_check

[storage]
discard_abci_responses = true

[tx_index]
indexer = "null"

[instrumentation]
prometheus = false
"""
