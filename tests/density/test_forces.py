"""Electrostatic forces against finite differences, symmetry and simple cases."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from ase.units import Bohr, Hartree

from clebsch.density import AuxiliaryBasis, ElectronDensity
from clebsch.density.forces import hellmann_feynman_forces
from clebsch.density.moments import electrons_per_function
from clebsch.o3 import rand_matrix


def energy(density: ElectronDensity, nuclei: torch.Tensor) -> torch.Tensor:
    """Of nuclei in the field of the density, which stays, and in each other's, eV."""
    z = density.numbers.double()
    apart = torch.linalg.vector_norm(nuclei[:, None] - nuclei, dim=-1)
    pairs = torch.triu_indices(len(z), len(z), 1)
    between = (z[pairs[0]] * z[pairs[1]] / apart[pairs[0], pairs[1]]).sum()
    return z @ density.electron_potential(nuclei) + Hartree * Bohr * between


def test_forces_are_the_slope_with_the_electrons_held(density) -> None:
    forces = hellmann_feynman_forces(density)
    h = 1e-4
    for atom in range(3):
        for axis in range(3):
            step = torch.zeros(3, 3, dtype=torch.float64)
            step[atom, axis] = h
            slope = (
                energy(density, density.positions + step)
                - energy(density, density.positions - step)
            ) / (2 * h)
            torch.testing.assert_close(forces[atom, axis], -slope, rtol=1e-6, atol=1e-6)


def test_forces_turn_with_the_molecule(density) -> None:
    R = rand_matrix(dtype=torch.float64)
    o = density.basis.offsets(density.numbers).tolist()
    c = torch.cat(
        [
            density.basis.irreps(z).rotate(density.coefficients[o[i] : o[i + 1]], R)
            for i, z in enumerate(density.numbers.tolist())
        ]
    )
    turned = dataclasses.replace(density, positions=density.positions @ R.T + 2.0, coefficients=c)
    expected = hellmann_feynman_forces(density) @ R.T
    torch.testing.assert_close(hellmann_feynman_forces(turned), expected, rtol=1e-10, atol=1e-9)


def spheres(positions: torch.Tensor, filled: float = 1.0) -> ElectronDensity:
    """Helium atoms with ``filled`` of their electrons, each a Gaussian."""
    basis = AuxiliaryBasis("one s", {2: ((1.3,),)})
    numbers = torch.full((len(positions),), 2)
    per = electrons_per_function(basis, numbers, positions)
    return ElectronDensity(basis, numbers, positions, filled * 2 / per)


def test_simple_cases() -> None:
    alone = spheres(torch.tensor([[0.3, 0.1, 0.2]], dtype=torch.float64))
    torch.testing.assert_close(
        hellmann_feynman_forces(alone), torch.zeros(1, 3).double(), rtol=0, atol=1e-12
    )
    apart = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 8.0]], dtype=torch.float64)
    neutral = hellmann_feynman_forces(spheres(apart))
    assert neutral.abs().max() < 1e-10
    charged = hellmann_feynman_forces(spheres(apart, filled=0.5))
    # a nucleus of charge 2 and the other atom, of charge 2 - 1
    expected = 2 * 1 * Hartree * Bohr / 8.0**2
    torch.testing.assert_close(charged[1, 2], torch.tensor(expected).double())
    torch.testing.assert_close(charged[0], -charged[1])


def test_gradients_and_precision(density) -> None:
    c = density.coefficients.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda c: hellmann_feynman_forces(dataclasses.replace(density, coefficients=c)), c
    )
    with torch.no_grad():
        forces = hellmann_feynman_forces(dataclasses.replace(density, coefficients=c))
    assert not forces.requires_grad
    single = hellmann_feynman_forces(density.to(torch.float32))
    assert single.dtype == torch.float32
    assert (single.double() - forces).abs().max() < 1e-4 * forces.abs().max()


def test_crystals_are_refused(density) -> None:
    crystal = dataclasses.replace(density, cell=5 * torch.eye(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="are for molecules"):
        hellmann_feynman_forces(crystal)
