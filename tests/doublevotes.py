"""Evidence of a double vote, as CometBFT takes it: whoever has a voter's key can forge the second vote."""

from __future__ import annotations

import base64
from typing import Any

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from gateway.chain.cometbft import CometHeader, Precommit, _block_id, _vote, in_order
from gateway.chain.genesis import Genesis
from gateway.chain.keys import SigningKey
from hub.consensus.comet_home import address
from hub.consensus.comet_rpc import RpcClient
from hub.consensus.comet_seals import read_signed_header


def signed_twice(rpc: RpcClient, genesis: Genesis, key: SigningKey, height: int) -> dict[str, Any]:
    """Return the evidence that a voter of the genesis signed two precommits at a height."""
    header, _ = read_signed_header(rpc.commit(height))
    shown = rpc.commit(height)["header"]["time"]
    order = [each.key for each in in_order(genesis.validators)]
    votes = [_signed(header, key.seed, order.index(key.public), shown, hashed) for hashed in (b"\1", b"\2")]
    powers = {each.key: each.power for each in genesis.validators}
    value = {
        "vote_a": votes[0],
        "vote_b": votes[1],
        "TotalVotingPower": str(sum(powers.values())),
        "ValidatorPower": str(powers[key.public]),
        "Timestamp": shown,
    }
    return {"type": "tendermint/DuplicateVoteEvidence", "value": value}


def _signed(header: CometHeader, seed: bytes, place: int, time: str, filler: bytes) -> dict[str, Any]:
    public, secret = crypto_sign_seed_keypair(seed)
    hashed = filler * 32
    vote = Precommit(place, header.seconds, header.nanos, bytes(64))
    signature = crypto_sign(_vote(header, 0, _block_id(hashed, 1, hashed), vote), secret)[:64]
    parts = {"total": 1, "hash": hashed.hex().upper()}
    return {
        "type": 2,
        "height": str(header.height),
        "round": 0,
        "block_id": {"hash": hashed.hex().upper(), "parts": parts},
        "timestamp": time,
        "validator_address": address(public).hex().upper(),
        "validator_index": place,
        "signature": base64.b64encode(signature).decode(),
        "extension": "",
        "extension_signature": "",
    }
