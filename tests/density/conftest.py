"""A water-like molecule with random coefficients, in bases with and without PySCF."""

from __future__ import annotations

import pytest
import torch

from clebsch.density import AuxiliaryBasis, ElectronDensity

BASIS = AuxiliaryBasis(
    "small",
    {
        1: ((15.0, 1.2, 0.3), (2.0, 0.5), (1.1,)),
        8: ((900.0, 30.0, 3.0, 0.4), (16.0, 1.2, 0.3), (2.8, 0.4), (0.8,), (1.4,)),
    },
)
POSITIONS = [[0.0, 0.0, 0.117], [0.05, 0.757, -0.471], [0.1, -0.757, -0.471]]


@pytest.fixture
def density() -> ElectronDensity:
    numbers = torch.tensor([8, 1, 1])
    total = int(BASIS.offsets(numbers)[-1])
    generator = torch.Generator().manual_seed(5)
    return ElectronDensity(
        BASIS,
        numbers,
        torch.tensor(POSITIONS, dtype=torch.float64),
        torch.randn(total, generator=generator, dtype=torch.float64),
    )


@pytest.fixture
def points() -> torch.Tensor:
    """(500, 3), Å, near and far."""
    generator = torch.Generator().manual_seed(6)
    p = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    return p * torch.linspace(0.1, 12, 500, dtype=torch.float64)[:, None]
