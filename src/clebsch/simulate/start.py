"""The structure that a simulation starts from."""

from __future__ import annotations

from collections.abc import Sequence

from ase import Atoms

from clebsch.errors import UserError
from clebsch.structures import read_dataset


def read_structure(
    path: str, frame: int = -1, supercell: Sequence[int] | None = None
) -> tuple[Atoms, str]:
    """One frame of a file of any format that ``read_dataset`` knows, and where it stands.

    Args:
        path: a file, or an embedded set such as ``"embedded:ethanol"``.
        frame: index from 0; negative ones count from the end.
        supercell: repetitions along the three cell vectors.

    Raises:
        UserError: the file cannot be read, has no such frame, or a repetition goes along a
            direction that is not periodic.
    """
    dataset = read_dataset(path)
    if not -len(dataset) <= frame < len(dataset):
        raise UserError(
            f"{path}: has {len(dataset)} frame(s), so there is no frame {frame}; "
            f"choose one from 0 to {len(dataset) - 1}."
        )
    index = frame % len(dataset)
    where = dataset.where(index)
    atoms: Atoms = dataset[index].copy()
    atoms.calc = None
    if supercell is not None and tuple(supercell) != (1, 1, 1):
        if len(supercell) != 3 or min(supercell) < 1:
            raise UserError("a supercell is three whole numbers from 1, for instance 2 2 2.")
        for axis, (times, periodic) in enumerate(zip(supercell, atoms.pbc, strict=True)):
            if times > 1 and not periodic:
                raise UserError(
                    f"{where}: is not periodic along cell vector {axis + 1}, so it cannot be "
                    f"repeated {times} times; use 1 there."
                )
        atoms = atoms.repeat(tuple(supercell))
    return atoms, where
