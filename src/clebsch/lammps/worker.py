"""The process beside each LAMMPS rank: it holds the model and answers the plug-in.

``python -m clebsch.lammps.worker SOCKET,MEMORY`` is started by ``pair_clebsch.cpp`` with two open
file descriptors. Messages are 16 integers, some with text behind them; arrays are in the shared
memory, at the offsets that the message gives.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import struct
import sys
from typing import Any, NamedTuple

LOAD, COMPUTE, FORWARD, REVERSE, DONE, FAILED = range(1, 7)
_FORMAT = struct.Struct("=16q")


class Message(NamedTuple):
    """As in ``pair_clebsch.cpp``: sizes, and offsets in bytes into the shared memory."""

    operation: int
    text: int = 0
    local: int = 0
    all: int = 0
    edges: int = 0
    size: int = 0
    species: int = 0
    dst: int = 0
    src: int = 0
    vectors: int = 0
    energies: int = 0
    slopes: int = 0
    rows: int = 0
    width: int = 0
    item: int = 0
    spare: int = 0


class Closed(Exception):
    """The plug-in has gone."""


class Channel:
    """The socket to the plug-in and the memory shared with it."""

    def __init__(self, connection: socket.socket, file: int) -> None:
        self._socket, self._file = connection, file
        self._memory: mmap.mmap | None = None

    def receive(self) -> tuple[Message, bytes]:
        """The next message and its text.

        Raises:
            Closed: there is none.
        """
        message = Message(*_FORMAT.unpack(self._exactly(_FORMAT.size)))
        return message, self._exactly(message.text)

    def send(self, message: Message, text: bytes = b"") -> None:
        """Send a message with its text."""
        try:
            self._socket.sendall(_FORMAT.pack(*message._replace(text=len(text))) + text)
        except OSError as error:
            raise Closed from error

    def memory(self, size: int) -> mmap.mmap:
        """The shared memory; it grows with the system."""
        if self._memory is None or len(self._memory) != size:
            self._memory = mmap.mmap(self._file, size)  # the old one lives as long as its views
        return self._memory

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self._socket.recv(count)
            if not part:
                raise Closed
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def serve(channel: Channel) -> None:
    """Answer the plug-in until it goes."""
    from clebsch.errors import UserError
    from clebsch.lammps.engine import Engine

    engine: Engine | None = None
    loaded: tuple[str, object] | None = None
    while True:
        message, text = channel.receive()
        try:
            if message.operation == LOAD:
                wanted = _identity(text.decode())
                if engine is None or wanted != loaded:
                    engine, loaded = Engine.from_request(wanted[0]), wanted
                channel.send(
                    Message(DONE, width=engine.widest, item=engine.itemsize), engine.limits()
                )
            else:
                assert engine is not None
                _compute(engine, channel, message)
        except UserError as error:
            channel.send(Message(FAILED), str(error).encode())
        except Closed:
            raise
        except Exception as error:
            import traceback

            traceback.print_exc()
            said = (str(error).strip() or "no message").splitlines()[0]
            channel.send(Message(FAILED), f"{type(error).__name__}: {said}".encode())


def _identity(request: str) -> tuple[str, object]:
    """The request and the state of its file: what a loaded model stands for."""
    try:
        facts = os.stat(request.split("\n", 1)[0].removeprefix("file="))
    except OSError:
        return request, None
    return request, (facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _compute(engine: Any, channel: Channel, message: Message) -> None:
    import numpy as np

    memory = channel.memory(message.size)

    def array(offset: int, kind: Any, *shape: int) -> Any:
        flat = np.frombuffer(memory, kind, int(np.prod(shape)), offset)
        return flat.reshape(shape)

    n, edges = message.local, message.edges
    energies, slopes = engine.compute(
        n_local=n,
        species=array(message.species, np.int64, message.all),
        dst=array(message.dst, np.int64, edges),
        src=array(message.src, np.int64, edges),
        vectors=array(message.vectors, np.float64, edges, 3),
        exchange=_Neighbours(engine, channel, message),
    )
    array(message.energies, np.float64, n)[:] = energies
    array(message.slopes, np.float64, edges, 3)[:] = slopes
    channel.send(Message(DONE))


class _Neighbours:
    """The exchange with other ranks, by LAMMPS's communication: ``ops.exchange.Exchange``."""

    def __init__(self, engine: Any, channel: Channel, message: Message) -> None:
        self.engine, self.channel, self.message = engine, channel, message

    def forward(self, rows: Any) -> Any:
        shared = self._rows(rows)
        shared[: self.message.local] = rows
        self._ask(FORWARD, rows)
        return shared.to(rows.device, copy=True)

    def reverse(self, rows: Any) -> Any:
        shared = self._rows(rows)
        shared[:] = rows
        self._ask(REVERSE, rows)
        return shared[: self.message.local].to(rows.device, copy=True)

    def _rows(self, rows: Any) -> Any:
        """The rows of all atoms in the shared memory, (n_all, width)."""
        import torch

        shape = (self.message.all, rows.shape[1])
        if not self.message.all:  # an empty rank
            return torch.empty(shape, dtype=rows.dtype)
        memory, count = self.channel.memory(self.message.size), shape[0] * shape[1]
        flat = torch.frombuffer(memory, dtype=rows.dtype, count=count, offset=self.message.rows)
        return flat.view(shape)

    def _ask(self, operation: int, rows: Any) -> None:
        self.channel.send(Message(operation, width=rows.shape[1], item=rows.element_size()))
        answer, _ = self.channel.receive()
        assert answer.operation == operation


def main() -> None:
    """Serve the plug-in that started this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # LAMMPS decides; the socket tells
    connection, memory = (int(word) for word in sys.argv[1].split(","))
    try:
        serve(Channel(socket.socket(fileno=connection), memory))
    except Closed:
        sys.stdout.flush()
        os._exit(0)  # nothing to tidy up, and LAMMPS waits


if __name__ == "__main__":
    main()
