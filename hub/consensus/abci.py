"""The socket on which CometBFT speaks ABCI to the hub: frames, their order, and which thread answers.

Owned: the Unix socket, its connections, their thread. Not owned: what is answered (`hub.consensus.application`).

Invariants:
- The engine opens four connections and labels none; each is answered strictly in the order of its requests.
- One thread alone answers what touches blocks, another what touches snapshots; the loop itself only checks
  transactions, and takes turns after each, so that no connection waits for another's.
- What cannot be answered is answered by an exception, and the connection ends. The engine then stops itself: it
  must never go on beside a machine that does not follow.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError, Message

from hub.consensus.abci_pb2 import Nothing, Request, Response, Text
from hub.consensus.sockets import listen
from hub.errors import ConsensusError, ConsensusStopped

SOCKET: Final = "abci.sock"
MAX_FRAME: Final = 32 << 20  # a snapshot's chunk has up to 16 MB
_MAX_WORDS: Final = 1000

_ON_LOOP: Final = frozenset({"check_tx", "query"})
_SNAPSHOTS: Final = frozenset(
    {"list_snapshots", "offer_snapshot", "load_snapshot_chunk", "apply_snapshot_chunk"}
)

Answer = Callable[[Request], Response]

_log = logging.getLogger(__name__)


class AbciServer:
    """Serves one engine. Thread-safe; start it once."""

    def __init__(self, directory: Path, answer: Answer) -> None:
        """Serve on `abci.sock` in a directory. `answer` raises ConsensusError for what it cannot answer."""
        self._directory, self._answer = directory, answer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Bind the socket and begin to serve. Raises ConsensusError."""
        try:
            bound = listen(self._directory, SOCKET)
        except OSError as error:
            raise ConsensusError(f"{self._directory / SOCKET} cannot be listened on: {error}") from error
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(bound, ready)), name="abci")
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """End all connections once what is in hand is done. Idempotent."""
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    async def _serve(self, bound: socket.socket, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "abci-blocks") as blocks, ThreadPoolExecutor(1, "abci-snapshots") as other:

            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await self._connected(reader, writer, blocks, other)

            # Not `start_unix_server`, which from Python 3.13 on looks for the socket by a path that is gone by now.
            server = await asyncio.start_server(connected, sock=bound)
            ready.set()
            await self._stopping.wait()
            server.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        blocks: Executor,
        snapshots: Executor,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._converse(reader, writer, blocks, snapshots)
        except (OSError, asyncio.IncompleteReadError) as error:
            _log.info("the engine cut a connection: %s", error)
        except asyncio.CancelledError:
            pass  # by `stop` alone, which has nothing left to wait for here
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        blocks: Executor,
        snapshots: Executor,
    ) -> None:
        """Answer one request after the other until the engine ends the connection or one cannot be answered."""
        loop = asyncio.get_running_loop()
        try:
            while (frame := await read_frame(reader)) is not None:
                request = Request.FromString(frame)
                kind = request.WhichOneof("value")
                if kind == "echo":
                    response = Response(echo=request.echo)
                elif kind == "flush":
                    response = Response(flush=Nothing())  # nothing is held back that could be flushed
                elif kind in _ON_LOOP:
                    response = self._answer(request)
                    await asyncio.sleep(0)
                else:
                    executor = snapshots if kind in _SNAPSHOTS else blocks
                    response = await loop.run_in_executor(executor, self._answer, request)
                writer.write(framed(response))
                await writer.drain()
        except ConsensusStopped:
            _log.info("a request is left unanswered: the hub stops")
        except (ConsensusError, DecodeError) as error:
            _log.error("the engine asks what cannot be answered, and is told so: %s", error)
            await _refuse(writer, str(error))
        except (OSError, asyncio.IncompleteReadError):
            raise
        except Exception as error:
            _log.exception("a defect in answering the engine")
            await _refuse(writer, f"a defect in the hub: {error!r}")


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Return the next message's bytes, None at the end. Raises ConsensusError, asyncio.IncompleteReadError."""
    length, shift = 0, 0
    while True:
        byte = await reader.read(1)
        if not byte and not shift:
            return None
        if not byte:
            raise asyncio.IncompleteReadError(b"", 1)
        length |= (byte[0] & 0x7F) << shift
        if length > MAX_FRAME or shift > 28:
            raise ConsensusError(f"a message on the ABCI socket is longer than {MAX_FRAME} bytes")
        if byte[0] < 0x80:
            return await reader.readexactly(length)
        shift += 7


def framed(message: Message) -> bytes:
    """Return a message's bytes behind their length."""
    body = message.SerializeToString()
    head, length = bytearray(), len(body)
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + body


async def _refuse(writer: asyncio.StreamWriter, words: str) -> None:
    writer.write(framed(Response(exception=Text(text=words[:_MAX_WORDS]))))
    await writer.drain()
