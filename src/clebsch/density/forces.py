"""Electrostatic forces on nuclei (Hellmann and Feynman).

H. Hellmann, Einführung in die Quantenchemie (1937); R. P. Feynman, Phys. Rev. 56, 340 (1939).
"""

from __future__ import annotations

import torch
from ase.units import Bohr, Hartree
from torch import Tensor

from clebsch.density.electron_density import ElectronDensity

_PAIRS = 1 << 21  # of nuclei at a time


def hellmann_feynman_forces(density: ElectronDensity) -> Tensor:
    """Force on each nucleus from the electrons, held where they are, and the other nuclei.

    **Not the gradient of the energy.** It would be for the exact density, or in a complete basis;
    functions that sit on atoms lack the Pulay terms, and a small error of the density close to a
    nucleus is a large field there. Of 20 water clusters (PBE0/def2-TZVP, true forces of 0.9 eV/Å
    on H and 1.4 eV/Å on O, rms) they are wrong by 0.65 eV/Å on H, where they correlate with the
    true ones (0.76), and by 18 eV/Å on O, where they do not; with the Kohn-Sham density itself, of
    one molecule, by 11 eV/Å on O. They tell how electrons pull on nuclei; never move atoms with
    them.

    Args:
        density: of a molecule.

    Returns:
        (N, 3), eV/Å; differentiable in the coefficients.

    Raises:
        ValueError: the density is periodic.
    """
    if density.cell is not None:
        raise ValueError("electrostatic forces are for molecules, and this density is periodic")
    charges = density.numbers.to(density.positions)
    wanted = torch.is_grad_enabled() and density.coefficients.requires_grad
    with torch.enable_grad():
        # the electrons stay: only the point at which their potential is taken moves
        at = density.positions.detach().clone().requires_grad_()
        energy = charges @ density.electron_potential(at)
        (slope,) = torch.autograd.grad(energy, at, create_graph=wanted)
    return _repulsion(charges, density.positions.detach()) - slope


def _repulsion(charges: Tensor, positions: Tensor) -> Tensor:
    """Forces of point charges on each other, (N, 3), eV/Å."""
    forces = []
    size = max(1, _PAIRS // max(1, len(charges)))
    for rows, q in zip(positions.split(size), charges.split(size), strict=True):
        apart = rows[:, None] - positions
        inverse = (apart * apart).sum(-1).rsqrt()
        inverse = inverse.masked_fill(torch.isinf(inverse), 0.0)  # itself
        forces.append(
            Hartree * Bohr * torch.einsum("i,j,ij,ijx->ix", q, charges, inverse**3, apart)
        )
    return torch.cat(forces) if forces else positions
