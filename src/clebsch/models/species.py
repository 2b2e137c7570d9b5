"""The elements that a model knows, as indices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase.data import chemical_symbols
from torch import Tensor

from clebsch.errors import UserError


def species_table(numbers: Sequence[int]) -> Tensor:
    """Species index (119,) by atomic number, -1 for what the model does not know."""
    index = torch.full((119,), -1, dtype=torch.int64, device="cpu")
    index[list(numbers)] = torch.arange(len(numbers), device="cpu")
    return index


def species_of(numbers: Tensor, table: Tensor, known: Sequence[str]) -> Tensor:
    """Species index (N,) of atomic numbers (N,); ``known`` names the species.

    Raises:
        UserError: an element that the model does not know.
    """
    species = table[numbers]
    if bool((species < 0).any()):
        unknown = sorted({chemical_symbols[z] for z in numbers[species < 0].tolist()})
        raise UserError(
            f"the model knows {', '.join(known)} but not {', '.join(unknown)}: "
            "train it on data with these elements or take another model."
        )
    return species
