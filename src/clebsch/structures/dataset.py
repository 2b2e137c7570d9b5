"""A data set: frames with labels, from one or several files, in memory or on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from ase import Atoms

from clebsch.errors import UserError
from clebsch.structures.labels import found_keys, is_isolated_atom, kind_of_key


class Source(Protocol):
    """The frames of one file, or of one compound in it."""

    file: str
    path: str  # the file, and the compound where there are several

    def __len__(self) -> int: ...

    def atoms(self, index: int) -> Atoms:
        """Frame ``index`` with standardised labels (see ``labels.standardise``)."""

    def n_atoms(self) -> npt.NDArray[np.int64]:
        """Number of atoms of every frame."""

    def column(self, name: str, default: str = "") -> list[str]:
        """``info[name]`` of every frame as text."""


class FrameList:
    """Frames in memory."""

    def __init__(self, path: str, frames: Sequence[Atoms]) -> None:
        self.file = self.path = path
        self.frames = list(frames)

    def __len__(self) -> int:
        return len(self.frames)

    def atoms(self, index: int) -> Atoms:
        return self.frames[index]

    def n_atoms(self) -> npt.NDArray[np.int64]:
        return np.array([len(a) for a in self.frames], dtype=np.int64)

    def column(self, name: str, default: str = "") -> list[str]:
        return [str(a.info.get(name, default)) for a in self.frames]


class Dataset:
    """Frames of one or several files, numbered through.

    ``dataset[i]`` is an ``ase.Atoms`` whose ``calc.results`` hold those of ``energy`` (eV),
    ``forces`` (eV/Å) and ``stress`` (eV/Å^3, tension positive) that the file has, and whose
    ``info["config_type"]`` is set. The frame belongs to the data set: copy it before a change.

    Isolated atoms keep their place in the numbering; ``isolated`` has their indices, and
    ``split_dataset`` and ``dataset_statistics`` leave them out but for their energies.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self._starts = np.cumsum([0] + [len(s) for s in self.sources])
        self._n_atoms: npt.NDArray[np.int64] | None = None
        self._isolated: npt.NDArray[np.int64] | None = None

    @property
    def path(self) -> str:
        """Where the frames come from, as text."""
        return ", ".join(dict.fromkeys(s.file for s in self.sources))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _locate(self, index: int) -> tuple[Source, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        index = int(index) % len(self)
        source = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.sources[source], index - int(self._starts[source])

    def __getitem__(self, index: int) -> Atoms:
        source, local = self._locate(index)
        return source.atoms(local)

    def __iter__(self) -> Iterator[Atoms]:
        return (self[i] for i in range(len(self)))

    def where(self, index: int) -> str:
        """``"file.xyz, frame 3"``: the frame's place in its own file, counted from 0."""
        source, local = self.place(index)
        return f"{source}, frame {local}"

    def place(self, index: int) -> tuple[str, int]:
        """File (and compound, where it has several) of a frame, and its number there from 0."""
        source, local = self._locate(index)
        return source.path, local

    @property
    def n_atoms(self) -> npt.NDArray[np.int64]:
        """Number of atoms of every frame (len,)."""
        if self._n_atoms is None:
            self._n_atoms = np.concatenate([s.n_atoms() for s in self.sources])
        return self._n_atoms

    def column(self, name: str, default: str = "") -> npt.NDArray[np.str_]:
        """``info[name]`` of every frame as text (len,), without reading the frames again."""
        return np.array([x for s in self.sources for x in s.column(name, default)], dtype=np.str_)

    @property
    def isolated(self) -> npt.NDArray[np.int64]:
        """Indices of the frames that are one free atom."""
        if self._isolated is None:
            ones = np.flatnonzero(self.n_atoms == 1)
            self._isolated = np.array(
                [i for i in ones if is_isolated_atom(self[int(i)])], dtype=np.int64
            )
        return self._isolated

    @property
    def frames(self) -> npt.NDArray[np.int64]:
        """Indices of all other frames: those to train on."""
        return np.setdiff1d(np.arange(len(self)), self.isolated)

    def isolated_energies(self) -> dict[str, float]:
        """Energy in eV of each free atom by chemical symbol; the lowest one if there are more."""
        energies: dict[str, float] = {}
        for i in self.isolated:
            atoms = self[int(i)]
            energy = label(atoms, "energy")
            if energy is not None:
                symbol = atoms.get_chemical_symbols()[0]
                energies[symbol] = min(float(energy), energies.get(symbol, np.inf))
        return energies

    def require(self, *labels: str, indices: Sequence[int] | None = None) -> None:
        """Make sure that every frame has these labels (``"energy"``, ``"forces"``, ``"stress"``).

        Isolated atoms need none but an energy.

        Raises:
            UserError: names the first frame without, how many there are, and the keys found.
        """
        chosen = self.frames if indices is None else np.asarray(indices)
        if len(chosen) == 0:
            raise UserError(f"{self.path}: there is no frame with more than one isolated atom.")
        for name in labels:
            lacking = [int(i) for i in chosen if label(self[int(i)], name) is None]
            if not lacking:
                continue
            atoms = self[lacking[0]]
            keys = sorted(k for k in found_keys(atoms) if k not in ("config_type", *labels))
            alike = [k for k in keys if name.rstrip("s") in k.lower() or kind_of_key(k) == name]
            count = "no frame has" if len(lacking) == len(chosen) else f"{len(lacking)} lack"
            if alike:
                mend = f"it has {', '.join(map(repr, alike))}: name it with --{name}-key"
            elif keys:
                mend = f"it only has {', '.join(map(repr, keys))}: name the key with --{name}-key"
            else:
                mend = "compute it or remove these frames"
            raise UserError(f"{self.where(lacking[0])}: there is no {name} ({count} it); {mend}.")

    def fingerprint(self) -> str:
        """SHA-256 of all elements, positions, cells and labels: the hash of the training data."""
        digest = hashlib.sha256()
        for atoms in self:
            parts: list[Any] = [atoms.numbers.astype(np.int64), atoms.positions]
            parts += [atoms.cell.array, atoms.pbc]
            parts += [label(atoms, name) for name in ("energy", "forces", "stress")]
            for part in parts:
                digest.update(b"none" if part is None else np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


def label(atoms: Atoms, name: str) -> Any:
    """Label ``name`` of a frame, or None."""
    return None if atoms.calc is None else atoms.calc.results.get(name)
