"""Crystals with a phonon density of states each."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

from clebsch.errors import UserError
from clebsch.phonons.spectrum import PhononDos
from clebsch.structures.dataset import Dataset, FrameList
from clebsch.structures.splits import Split


@dataclass(frozen=True)
class PhononRecord:
    """One crystal of a file.

    Attributes:
        name: identifier within the file, such as ``mp-149``.
        where: file and record, for messages.
        atoms: the structure.
        dos: its density of states, 3N states in all where ``whole``.
        whole: whether the curve covers the whole spectrum in absolute numbers; a curve in
            arbitrary units is not.
        part: ``train``, ``valid`` or ``test`` where the file says so.
        facts: further values of the record, by name.
    """

    name: str
    where: str
    atoms: Atoms
    dos: PhononDos
    whole: bool = True
    part: str = ""
    facts: dict[str, object] = field(default_factory=dict)


class PhononDataset(Dataset):
    """A data set whose frames have a phonon density of states; see `read_phonons`.

    Raises:
        UserError: two records with one name, or none at all.
    """

    def __init__(self, path: str, records: Sequence[PhononRecord]) -> None:
        if not records:
            raise UserError(f"{path}: there is no phonon density of states in it.")
        repeated = [name for name, n in Counter(r.name for r in records).items() if n > 1]
        if repeated:
            raise UserError(
                f"{path}: the record {repeated[0]} is there more than once; a crystal that is in "
                "two parts of a split would be tested on what it was trained on: keep one."
            )
        self.records = list(records)
        super().__init__([FrameList(path, [r.atoms for r in records])])

    @property
    def names(self) -> list[str]:
        """Identifier of every record."""
        return [record.name for record in self.records]

    def dos(self, index: int) -> PhononDos:
        """The density of states of record ``index``."""
        return self.records[index].dos

    def where(self, index: int) -> str:
        return self.records[index].where

    def fingerprint(self) -> str:
        digest = hashlib.sha256(super().fingerprint().encode())
        for record in self.records:
            digest.update(np.ascontiguousarray(record.dos.frequencies).tobytes())
            digest.update(np.ascontiguousarray(record.dos.density).tobytes())
        return digest.hexdigest()

    def split_by_names(self, file: Path) -> Split:
        """The split that a JSON file names: ``{"train": [names], "valid": [...], "test": [...]}``.

        Raises:
            UserError: not such a file, a name that is not in the data, or one in two parts.
        """
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            parts = {part: [str(name) for name in content[part]] for part in _PARTS}
        except FileNotFoundError:
            raise UserError(f"{file}: there is no such split file; check the path.") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f'{file}: is no split; write {{"train": [...], "valid": [...], "test": [...]}} '
                "with names of records."
            ) from None
        index = {name: i for i, name in enumerate(self.names)}
        owner: dict[str, str] = {}
        for part, names in parts.items():
            for name in names:
                if name not in index:
                    raise UserError(f"{file}: {name} ({part}) is not in {self.path}; remove it.")
                if name in owner:
                    raise UserError(
                        f"{file}: {name} is in {owner[name]} and in {part}; a test on it would be "
                        "no test: leave it in one."
                    )
                owner[name] = part
        return Split(
            *(np.array(sorted(index[n] for n in parts[p]), dtype=np.int64) for p in _PARTS)
        )


_PARTS = ("train", "valid", "test")
