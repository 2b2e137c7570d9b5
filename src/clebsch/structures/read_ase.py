"""Frames from any file that ASE reads: extxyz, VASP, .traj, ASE databases, and many more."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path

import ase.io
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype

from clebsch.errors import UserError
from clebsch.structures.dataset import FrameList
from clebsch.structures.labels import LabelKeys, standardise

_BROKEN_ARCHIVE = (EOFError, lzma.LZMAError, zlib.error)


def read_ase(path: Path, keys: LabelKeys, default_type: str = "default") -> FrameList:
    """All frames of ``path``, whose format ASE recognises by name and content.

    ``.xz``, ``.gz`` and ``.bz2`` files are opened as what they contain.

    Raises:
        UserError: unknown format, truncated or broken file (names the frame), no frames, or what
            ``labels.standardise`` refuses.
    """
    frames: list[Atoms] = []
    try:
        # xyz files are always read as extended xyz, of which plain xyz is a case. ASE seeks back
        # and forth in them, which takes minutes in a compressed file: so from memory.
        name = path.name.lower().removesuffix(".xz").removesuffix(".gz").removesuffix(".bz2")
        is_xyz = name.endswith("xyz")
        kind = "extxyz" if is_xyz else filetype(str(path))
        source = io.StringIO(_text(path)) if is_xyz else str(path)
        for atoms in ase.io.iread(source, index=":", format=kind):
            frames.append(atoms)
    except UnknownFileTypeError:
        raise UserError(
            f"{path}: the format is not known; give a file that ASE reads (extxyz, OUTCAR, "
            "vasprun.xml, .traj, .db, ...), an .npz or an .h5 file."
        ) from None
    except _BROKEN_ARCHIVE as error:
        raise UserError(
            f"{path}, frame {len(frames)}: the compressed file is truncated or broken ({error}); "
            "fetch it again."
        ) from error
    except UserError:
        raise
    except Exception as error:  # each ASE reader has its own errors
        reason = str(error).removeprefix("ase.io.extxyz: ") or type(error).__name__
        raise UserError(
            f"{path}, frame {len(frames)}: cannot be read, the file is truncated or broken "
            f"({reason}); mend or remove the frame."
        ) from error
    if not frames:
        raise UserError(f"{path}: there are no frames in the file.")
    for i, atoms in enumerate(frames):
        standardise(atoms, f"{path}, frame {i}", keys, default_type)
    return FrameList(str(path), frames)


def _text(path: Path) -> str:
    data = path.read_bytes()
    decompress = {".xz": lzma.decompress, ".gz": gzip.decompress, ".bz2": bz2.decompress}
    if path.suffix in decompress:
        data = decompress[path.suffix](data)
    return data.decode()
