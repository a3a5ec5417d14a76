"""The engine's side of the ABCI socket: raw frames in, raw frames out."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from hub.consensus import abci_pb2 as pb
from hub.consensus.abci import SOCKET, framed
from hub.consensus.base import FinalBlock
from hub.consensus.sockets import connect

SECONDS = 20.0


class Client:
    """One connection, as the engine opens four of."""

    def __init__(self, directory: Path) -> None:
        self.socket = connect(directory, SOCKET, SECONDS)
        self._file = self.socket.makefile("rb")

    def ask(self, *requests: pb.Request) -> list[pb.Response]:
        """Send requests at once, and return as many answers."""
        self.socket.sendall(b"".join(map(framed, requests)))
        return [self.hear() for _ in requests]

    def hear(self) -> pb.Response:
        """Return the next answer. Raises EOFError where the connection ends first."""
        length, shift = 0, 0
        while True:
            byte = self._file.read(1)
            if not byte:
                raise EOFError
            length |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                return pb.Response.FromString(self._file.read(length))

    def is_over(self) -> bool:
        """Tell whether the other side has ended the connection."""
        return not self._file.read(1)

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def finalize(block: FinalBlock) -> pb.Request:
    """Return the request that finalizes a block."""
    time = Timestamp(seconds=block.time // 1000, nanos=block.time % 1000 * 1_000_000)
    caught = [
        pb.Misbehavior(type=each.kind, validator=pb.Validator(address=each.address), height=each.height)
        for each in block.misbehaviour
    ]
    proposal = pb.Proposal(txs=block.txs, misbehavior=caught, hash=block.hash, height=block.height, time=time)
    return pb.Request(finalize_block=proposal)


def check(tx: bytes, *, again: bool = False) -> pb.Request:
    return pb.Request(check_tx=pb.CheckTx(tx=tx, type=int(again)))


def echo(text: str) -> pb.Request:
    return pb.Request(echo=pb.Text(text=text))


def query(path: str) -> pb.Request:
    return pb.Request(query=pb.Query(path=path))


COMMIT = pb.Request(commit=pb.Nothing())
FLUSH = pb.Request(flush=pb.Nothing())
INFO = pb.Request(info=pb.Nothing())


def kinds(responses: Sequence[pb.Response]) -> list[str | None]:
    return [response.WhichOneof("value") for response in responses]


def abandon(client: Client) -> None:
    """End a connection as a killed engine does: with what was sent unread."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
    client.close()
