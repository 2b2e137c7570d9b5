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
from clebsch.phonons.read_folder import holds_curves, is_single, read_folder, read_single
from clebsch.phonons.read_jarvis import is_jarvis, read_jarvis
from clebsch.phonons.read_phonopy import MESH, Mesh

_OPEN = {".xz": lzma.decompress, ".gz": gzip.decompress, ".bz2": bz2.decompress}


def read_phonons(
    path: str | os.PathLike[str], mesh: Mesh = MESH, refused: list[str] | None = None
) -> PhononDataset:
    """Read crystals with a phonon density of states each.

    Args:
        path: the DFPT set of Petretto et al. (JSON lines) or the JARVIS set (JSON), each also
            compressed; or your own data: a folder of structures and curves, or one of the files
            that `read_folder` lists.
        mesh: of q-points where the data are force constants; see `phonopy_record`.
        refused: receives a sentence for every implausible curve of your own data, which is then
            left out; without it the first one is raised.

    Raises:
        UserError: one sentence with file, record and mend.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise UserError(f"{file}: there is no such file; check the path.")
    if file.is_dir():
        found = read_folder(file, mesh, refused)
        if refused and not found:
            raise UserError(refused[0])
        if not found:
            raise UserError(
                f"{file}: there is no density of states in this folder; it needs total_dos.dat, a "
                "CSV with the unit in its header, or phonopy_params.yaml, with a structure each."
            )
        return PhononDataset(str(file), found)
    single = None if file.suffix in _OPEN else read_single(file, mesh, refused)
    if refused and not single:
        raise UserError(refused[0])
    if single is not None:
        return PhononDataset(str(file), single)
    text = _text(file)
    first = _json(text.split("\n", 1)[0])
    if is_dfpt(first):
        return PhononDataset(str(file), read_dfpt(str(file), text.splitlines()))
    content = _json(text)
    if is_jarvis(content):
        return PhononDataset(str(file), read_jarvis(str(file), content))
    raise UserError(
        f"{file}: is no phonon data that is known here; give the JSON lines of the DFPT set, the "
        "JSON of the JARVIS set, or a folder of structures and densities of states."
    )


def holds_phonons(path: str | os.PathLike[str]) -> bool:
    """Whether `read_phonons` knows what is there; what is no phonon data is not read further."""
    file = Path(path).expanduser()
    if file.is_dir():
        return holds_curves(file)
    if not file.is_file():
        return False
    name = file.name.removesuffix(file.suffix) if file.suffix in _OPEN else file.name
    if not name.endswith((".json", ".jsonl")):
        return file.suffix not in _OPEN and is_single(file)
    try:
        text = _text(file)
    except UserError:
        return False
    content = _json(text.split("\n", 1)[0])
    return is_dfpt(content) or is_jarvis(content or _json(text)) or is_single(file)


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
