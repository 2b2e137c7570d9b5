"""Moments of a density in closed form: electrons, first and second moments."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from ase.units import Bohr
from torch import Tensor

from clebsch.density.basis import AuxiliaryBasis, function_electrons
from clebsch.o3 import spherical_harmonics

if TYPE_CHECKING:
    from clebsch.density.electron_density import ElectronDensity


def electrons_per_function(basis: AuxiliaryBasis, numbers: Tensor, like: Tensor) -> Tensor:
    """Integral of every function, (K,): the electron count is its product with the coefficients.

    Args:
        like: gives dtype and device.
    """
    result = torch.zeros(int(basis.offsets(numbers.cpu())[-1]), dtype=like.dtype)
    for z, (_, places) in basis.index(numbers.cpu()).items():
        block = basis.blocks(z)[0]
        result[places[:, block.inside]] = torch.as_tensor(function_electrons(block)).to(like.dtype)
    return result.to(like.device)


def atomic_electrons(density: ElectronDensity) -> Tensor:
    """Electrons of the functions that stand on each atom, (N,)."""
    per = electrons_per_function(density.basis, density.numbers, density.coefficients)
    starts = density.basis.offsets(density.numbers.cpu())
    owner = torch.repeat_interleave(torch.arange(len(starts) - 1), starts.diff())
    zero = density.coefficients.new_zeros(len(starts) - 1)
    return zero.index_add(0, owner.to(per.device), per * density.coefficients)


def local_moments(density: ElectronDensity) -> tuple[Tensor, Tensor]:
    """First and second moments of each atom's functions about the atom.

    Returns:
        (N, 3) electrons Å and (N, 3, 3) electrons Å^2.
    """
    c = density.coefficients
    n = len(density.numbers)
    first, second = c.new_zeros(n, 3), c.new_zeros(n, 3, 3)
    quadratic = _quadratic_forms().to(c)
    for z, (atoms, places) in density.basis.index(density.numbers.cpu()).items():
        atoms, places = atoms.to(c.device), places.to(c.device)
        for l, exponents, norms, inside in density.basis.blocks(z):
            if l > 2:
                continue  # orthogonal to every polynomial of degree 2
            mine = c[places[:, inside]].unflatten(-1, (2 * l + 1, len(exponents)))
            gauss = norms * (math.pi / exponents) ** 1.5  # integral of exp(-a r^2), times N
            # means of x_i x_j and of x_i x_j x_k x_l under exp(-a r^2)
            if l == 0:
                each = gauss / math.sqrt(4 * math.pi) / (2 * exponents)
                trace = mine[:, 0] @ torch.as_tensor(each).to(c)
                term = trace[:, None, None] * torch.eye(3).to(c)
                second = second.index_add(0, atoms, term * Bohr**2)
            elif l == 1:
                each = gauss * math.sqrt(3 / (4 * math.pi)) / (2 * exponents)
                first = first.index_add(0, atoms, mine @ torch.as_tensor(each).to(c) * Bohr)
            else:
                each = gauss / (2 * exponents**2)
                amount = mine @ torch.as_tensor(each).to(c)
                term = torch.einsum("am,mij->aij", amount, quadratic)
                second = second.index_add(0, atoms, term * Bohr**2)
    return first, second


def _quadratic_forms() -> Tensor:
    """T with r^2 Y_2m = sum T_mij r_i r_j, (5, 3, 3), traceless and symmetric."""
    e = torch.eye(3, dtype=torch.float64)

    def solid(x: Tensor) -> Tensor:
        return spherical_harmonics([2], x, normalize=False, normalization="integral")

    pair = solid(e[:, None] + e[None, :]) - solid(e)[:, None] - solid(e)[None, :]
    return (pair / 2).movedim(-1, 0)


def first_moment(density: ElectronDensity) -> Tensor:
    """integral of r rho, (3,), electrons Å."""
    local, _ = local_moments(density)
    return (atomic_electrons(density)[:, None] * density.positions + local).sum(0)


def second_moment(density: ElectronDensity, origin: Tensor) -> Tensor:
    """integral of (r - origin)(r - origin)^T rho, (3, 3), electrons Å^2."""
    local, spread = local_moments(density)
    R = density.positions - origin
    q = atomic_electrons(density)
    cross = torch.einsum("ai,aj->ij", R, local)
    return torch.einsum("a,ai,aj->ij", q, R, R) + cross + cross.T + spread.sum(0)
