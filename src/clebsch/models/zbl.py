"""Ziegler-Biersack-Littmark core repulsion."""

from __future__ import annotations

import torch
from ase.data import covalent_radii
from torch import Tensor

from clebsch.nn import PolynomialCutoff
from clebsch.nn.constants import ExactConstants

_COULOMB = 14.399645  # e^2 / (4 pi eps0), eV A
_SCREENING = 0.46850  # A
_TERMS = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))


class ZBL(ExactConstants):
    """Screened Coulomb repulsion of the nuclei, smoothly zero at the sum of covalent radii.

    Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Matter (1985).

    Args:
        numbers: atomic number of each species.

    Shape: distances r (E,) in A and species of both ends (E,), to the
    edge's half of the pair energy (E,) in eV: a full list counts every pair twice.
    """

    _z: Tensor
    _radii: Tensor

    def __init__(self, numbers: list[int]) -> None:
        super().__init__()
        self.envelope = PolynomialCutoff(6)
        z = torch.tensor(numbers, dtype=torch.float64, device="cpu")
        radii = z.new_tensor([covalent_radii[n] for n in numbers])
        self.register_constant("_z", z)
        self.register_constant("_radii", radii)

    def forward(self, r: Tensor, a: Tensor, b: Tensor) -> Tensor:
        z = self._z.to(r.dtype)
        radii = self._radii.to(r.dtype)
        za, zb = z[a], z[b]
        x = r * (za**0.23 + zb**0.23) / _SCREENING
        screen = sum(c * torch.exp(-d * x) for c, d in _TERMS)
        return 0.5 * _COULOMB * za * zb / r * screen * self.envelope(r / (radii[a] + radii[b]))
