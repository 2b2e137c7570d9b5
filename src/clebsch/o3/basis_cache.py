"""Changes of basis kept on disk: ``bases`` in ``$CLEBSCH_CACHE`` or the user's cache folder.

An entry is plain numbers with a checksum; one that is damaged reads as absent. Without a place to
write, bases are built anew in each process.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from clebsch.errors import UserError
from clebsch.files import atomic_path
from clebsch.machine import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Part of every key: a change of signs, order or file layout makes new entries.
VERSION = 1


def entry(key: str) -> Path:
    """The file for this key."""
    name = hashlib.sha256(f"{VERSION} {key}".encode()).hexdigest()[:32]
    return cache_folder() / "bases" / f"{name}.basis"


def load(key: str) -> tuple[list[list[int]], NDArray[np.float64]] | None:
    """What `store` kept under this key, or None where there is no intact entry."""
    try:
        digest, _, content = entry(key).read_bytes().partition(b"\n")
        if digest.decode() != hashlib.sha256(content).hexdigest():
            return None
        head, _, numbers = content.partition(b"\n")
        header = json.loads(head)
        if header["key"] != key:
            return None
        n = header["nonzero"]
        positions = np.frombuffer(numbers, "<i8", n)
        values = np.frombuffer(numbers, "<f8", n, offset=8 * n)
        Q = np.zeros(header["shape"])
        Q.reshape(-1)[positions] = values
        return header["irreps"], Q
    except (OSError, ValueError, KeyError):
        return None


def store(key: str, irreps: list[list[int]], Q: NDArray[np.float64]) -> None:
    """Keep the non-zero elements of ``Q``; silently does nothing where nothing can be written."""
    positions = np.flatnonzero(Q)
    header = {"key": key, "irreps": irreps, "shape": Q.shape, "nonzero": len(positions)}
    content = b"".join(
        [
            json.dumps(header).encode() + b"\n",
            positions.astype("<i8").tobytes(),
            Q.reshape(-1)[positions].astype("<f8").tobytes(),
        ]
    )
    with suppress(OSError, UserError), atomic_path(entry(key)) as path:
        path.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
