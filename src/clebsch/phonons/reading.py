"""``read_phonons``: crystals and their densities of states from whatever holds them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import zlib
from pathlib import Path

from clebsch.errors import UserError
from clebsch.phonons.dataset import PhononDataset
from clebsch.phonons.read_dfpt import is_dfpt, read_dfpt
from clebsch.phonons.read_jarvis import is_jarvis, read_jarvis

_OPEN = {".xz": lzma.decompress, ".gz": gzip.decompress, ".bz2": bz2.decompress}


def read_phonons(path: str | os.PathLike[str]) -> PhononDataset:
    """Read crystals with a phonon density of states each.

    Args:
        path: the DFPT set of Petretto et al. (JSON lines) or the JARVIS set (JSON), each also
            compressed.

    Raises:
        UserError: one sentence with file, record and mend.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise UserError(f"{file}: there is no such file; check the path.")
    text = _text(file)
    first = _json(text.split("\n", 1)[0])
    if is_dfpt(first):
        return PhononDataset(str(file), read_dfpt(str(file), text.splitlines()))
    content = _json(text)
    if is_jarvis(content):
        return PhononDataset(str(file), read_jarvis(str(file), content))
    raise UserError(
        f"{file}: is no phonon data that is known here; give the JSON lines of the DFPT set or "
        "the JSON of the JARVIS set."
    )


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
        return _OPEN.get(file.suffix, bytes)(data).decode()
    except (EOFError, lzma.LZMAError, zlib.error, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); fetch it again.") from error


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
