"""Expansion of environments and the power spectra of it, against direct formulas."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from scipy.special import eval_legendre

from clebsch.errors import UserError
from clebsch.fields import NeighbourDensity, PowerSpectrum
from clebsch.nn.cutoffs import PolynomialCutoff
from clebsch.nn.radial import BesselBasis, GaussianBasis
from clebsch.o3 import rand_matrix, spherical_harmonics, wigner_3j
from clebsch.structures import AtomGraph, collate

CUTOFF = 3.0


@pytest.fixture
def atoms(rng: np.random.Generator) -> Atoms:
    """Nine atoms of two elements, no two closer than 0.6 Å, some further than the cutoff."""
    points = [np.zeros(3)]
    while len(points) < 9:
        new = rng.uniform(-2.2, 2.2, 3)
        if min(np.linalg.norm(new - p) for p in points) > 0.6:
            points.append(new)
    return Atoms("OHHOHHOHH", positions=points)


def graph(atoms: Atoms, cutoff: float = CUTOFF) -> AtomGraph:
    return AtomGraph.from_atoms(atoms, cutoff, torch.float64)


def descriptor(lmax: int = 3, n: int = 3, centre: bool = True) -> NeighbourDensity:
    return NeighbourDensity(["H", "O"], CUTOFF, lmax, BesselBasis(n), centre)


def both(atoms: Atoms, lmax: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    density = descriptor()
    c = density(graph(atoms))
    return c, PowerSpectrum(density.irreps_out, lmax)(c)


@pytest.mark.parametrize("centre", [False, True])
def test_is_the_sum_over_neighbours(atoms: Atoms, centre: bool) -> None:
    density = descriptor(lmax=2, centre=centre)
    got = density(graph(atoms, CUTOFF + 1.0))  # edges beyond the cutoff do not count
    positions = torch.from_numpy(atoms.positions)
    for i, l in itertools.product(range(len(atoms)), range(3)):
        expected = torch.zeros(2 * l + 1, 2, 3, dtype=torch.float64)
        for j in range(len(atoms)):
            if i == j and (l > 0 or not centre):
                continue
            vector = positions[j] - positions[i]
            R = density.radial(vector.norm()[None] / CUTOFF)[0]
            Y = spherical_harmonics(l, vector, normalization="integral")
            expected[:, "HO".index(atoms.symbols[j])] += Y[:, None] * R
        place = density.irreps_out.slices()[l]
        torch.testing.assert_close(got[i, place], expected.flatten(), rtol=0, atol=1e-12)


def test_turns_as_its_irreps_say(atoms: Atoms) -> None:
    c, p = both(atoms)
    assert float(p.abs().max()) > 0.1
    density = descriptor()
    irreps = PowerSpectrum(density.irreps_out, 3).irreps_out
    for sign in (1, -1):
        R = sign * rand_matrix(dtype=torch.float64)
        turned = Atoms(atoms.symbols, positions=atoms.positions @ R.numpy().T + [3.0, -1.0, 2.0])
        c_turned, p_turned = both(turned)
        expected = c @ density.irreps_out.D_from_matrix(R).T
        torch.testing.assert_close(c_turned, expected, rtol=0, atol=1e-12 * float(c.abs().max()))
        for (_, ir), place in zip(irreps, irreps.slices(), strict=True):
            mine = p[:, place].unflatten(1, (ir.dim, -1))
            expected = torch.einsum("mn,anf->amf", ir.D_from_matrix(R), mine).flatten(1)
            atol = 1e-12 * float(p.abs().max())
            torch.testing.assert_close(p_turned[:, place], expected, rtol=0, atol=atol)


def test_invariants_do_not_turn(atoms: Atoms) -> None:
    R = -rand_matrix(dtype=torch.float64)
    _, p = both(atoms, lmax=0)
    _, turned = both(Atoms(atoms.symbols, positions=atoms.positions @ R.numpy().T), lmax=0)
    torch.testing.assert_close(turned, p, rtol=0, atol=1e-12 * float(p.abs().max()))


def test_order_of_the_atoms_does_not_matter(atoms: Atoms, rng: np.random.Generator) -> None:
    order = rng.permutation(len(atoms))
    c, p = both(atoms)
    c_permuted, p_permuted = both(atoms[order])
    torch.testing.assert_close(c_permuted, c[order], rtol=0, atol=1e-12)
    torch.testing.assert_close(p_permuted, p[order], rtol=0, atol=1e-11)


def test_invariants_are_sums_over_pairs_of_neighbours(atoms: Atoms) -> None:
    """The addition theorem: sum_m Y_lm(a) Y_lm(b) = (2l+1)/(4 pi) P_l(cos), by SciPy's P_l."""
    n, lmax = 3, 4
    density = descriptor(lmax, n, centre=False)
    spectrum = PowerSpectrum(density.irreps_out)
    got = spectrum(density(graph(atoms))).numpy()
    for i in range(len(atoms)):
        vectors = np.delete(atoms.positions - atoms.positions[i], i, axis=0)
        species = np.delete(np.array(["HO".index(s) for s in atoms.symbols]), i)
        r = np.linalg.norm(vectors, axis=1)
        cosines = np.clip((vectors / r[:, None]) @ (vectors / r[:, None]).T, -1, 1)
        R = density.radial(torch.from_numpy(r / CUTOFF)).numpy()
        by_species = [np.where(species[:, None] == a, R, 0.0) for a in range(2)]
        rows = np.concatenate(by_species, axis=1)  # (neighbours, channels)
        expected = []
        for l in range(lmax + 1):
            angle = (2 * l + 1) / (4 * math.pi) * eval_legendre(l, cosines)
            full = rows.T @ angle @ rows / math.sqrt(2 * l + 1)
            upper = full[np.triu_indices(2 * n, 1)] * math.sqrt(2)
            expected += [upper, np.diag(full)]
        np.testing.assert_allclose(got[i], np.concatenate(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("l", [0, 1, 2, 3])
def test_kernels_are_those_of_the_full_spectra(atoms: Atoms, l: int) -> None:
    """All ordered pairs, by the 3j symbols one by one, give the same scalar products."""
    density = descriptor(lmax=3, n=2)
    c = density(graph(atoms))
    blocks = [
        c[:, place].unflatten(1, (ir.dim, -1))
        for (_, ir), place in zip(density.irreps_out, density.irreps_out.slices(), strict=True)
    ]
    full = []
    for l1, l2 in itertools.product(range(4), range(4)):
        if abs(l1 - l2) <= l <= l1 + l2 and (l1 + l2 + l) % 2 == 0:
            C = math.sqrt(2 * l + 1) * wigner_3j(l1, l2, l, dtype=torch.float64)
            pairs = torch.einsum("ijk,aiq,ajp->akqp", C, blocks[l1], blocks[l2])
            full.append(pairs.flatten(2))
    expected = torch.einsum("amf,bnf->ambn", *[torch.cat(full, dim=2)] * 2)
    spectrum = PowerSpectrum(density.irreps_out, lmax=l, lmin=l)
    p = spectrum(c)
    parts = [
        p[:, place].unflatten(1, (2 * l + 1, mul))
        for (mul, _), place in zip(spectrum.irreps_out, spectrum.irreps_out.slices(), strict=True)
    ]
    got = torch.einsum("amf,bnf->ambn", *[torch.cat(parts, dim=2)] * 2)
    atol = 1e-12 * float(expected.abs().max())
    torch.testing.assert_close(got, expected, rtol=0, atol=atol)
    assert float(expected.abs().max()) > 1e-3


def test_a_neighbour_leaves_smoothly() -> None:
    def spectrum(distance: float) -> tuple[torch.Tensor, torch.Tensor]:
        pair = Atoms("OHH", positions=[[0, 0, 0], [0.3, 0.2, 1.0], [0, distance, 0]])
        g = graph(pair, CUTOFF + 1.0)
        g.positions.requires_grad_()
        density = descriptor()
        p = PowerSpectrum(density.irreps_out, 2)(density(g))[0]
        (slope,) = torch.autograd.grad(p.square().sum(), g.positions)
        return p.detach(), slope[2]

    before, slope_before = spectrum(CUTOFF - 1e-4)
    after, slope_after = spectrum(CUTOFF + 1e-4)
    assert float((before - after).abs().max()) < 1e-9
    assert float(slope_before.abs().max()) < 1e-5
    assert float(slope_after.abs().max()) == 0.0
    inside, slope = spectrum(CUTOFF - 1.0)
    assert float((inside - after).abs().max()) > 0.1
    assert float(slope.abs().max()) > 0.1


def test_derivatives(atoms: Atoms) -> None:
    g = graph(atoms[:4])
    density = NeighbourDensity(["O", "H"], CUTOFF, 2, GaussianBasis(2, PolynomialCutoff(4)))
    spectrum = PowerSpectrum(density.irreps_out, 1)

    def features(positions: torch.Tensor) -> torch.Tensor:
        g.positions = positions
        return spectrum(density(g)).sum(0)

    assert torch.autograd.gradcheck(features, g.positions.clone().requires_grad_())


def test_a_crystal_is_its_supercell() -> None:
    salt = bulk("NaCl", "rocksalt", a=5.64)
    density = NeighbourDensity(["Na", "Cl"], 4.5, 4)
    spectrum = PowerSpectrum(density.irreps_out, 4)
    p = spectrum(density(graph(salt, 4.5)))
    large = spectrum(density(graph(salt * (2, 3, 1), 4.5)))
    torch.testing.assert_close(large, p.repeat(6, 1), rtol=0, atol=1e-10)
    irreps = spectrum.irreps_out
    for (_, ir), place in zip(irreps, irreps.slices(), strict=True):
        if 0 < ir.l < 4:  # nothing of these degrees is left unchanged by the site's group m-3m
            assert float(p[:, place].abs().max()) < 1e-10


def test_alone_and_empty() -> None:
    density = descriptor()
    alone = density(graph(Atoms("O")))
    s = density.irreps_out.slices()[0]
    at_zero = density.radial(torch.zeros(1, dtype=torch.float64))[0] / math.sqrt(4 * math.pi)
    torch.testing.assert_close(alone[0, s], torch.cat([torch.zeros(3).double(), at_zero]))
    assert float(alone[0, s.stop :].abs().max()) == 0.0
    empty = density(graph(Atoms()))
    assert empty.shape == (0, density.irreps_out.dim)
    spectrum = PowerSpectrum(density.irreps_out, 2)
    assert spectrum(empty).shape == (0, spectrum.irreps_out.dim)


def test_a_batch_is_its_structures(atoms: Atoms) -> None:
    density = descriptor()
    parts = [graph(atoms), graph(atoms[:3]), graph(Atoms("H"))]
    expected = torch.cat([density(g) for g in parts])
    torch.testing.assert_close(density(collate(parts)), expected, rtol=0, atol=1e-12)


def test_single_precision(atoms: Atoms) -> None:
    density = descriptor()
    single = density(graph(atoms).to(dtype=torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), density(graph(atoms)), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([],), "different chemical symbols"),
        ((["H", "H"],), "different chemical symbols"),
        ((["Hx"],), "different chemical symbols"),
        ((["H"], -1.0), "a positive cutoff"),
        ((["H"], 3.0, -1), "lmax >= 0"),
    ],
)
def test_refused(arguments: tuple, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        NeighbourDensity(*arguments)


def test_what_does_not_fit_is_refused(atoms: Atoms) -> None:
    with pytest.raises(UserError, match="has channels for H, O, not for C"):
        descriptor()(graph(Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.1]])))
    with pytest.raises(ValueError, match="from lmin >= 0 to lmax, not from 2 to 1"):
        PowerSpectrum("2x0e", lmax=1, lmin=2)
    with pytest.raises(ValueError, match="2x0e"):
        PowerSpectrum("2x0e")(torch.zeros(4, 3))
