"""The linear model of densities: its solver, its symmetry, and what it learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.units import Debye

from clebsch.density import (
    AuxiliaryBasis,
    DensityDataset,
    DensityRecord,
    ElectronDensity,
    density_error_percent,
    read_density,
)
from clebsch.density.basis import function_electrons
from clebsch.density.data import SampledDensity
from clebsch.density.metric import METRICS, Metric
from clebsch.errors import UserError
from clebsch.fields import NeighbourDensity
from clebsch.models.density_baselines import density_baselines, errors_by_atoms, model_errors
from clebsch.models.density_least_squares import LinearBlock, least_squares
from clebsch.models.density_ridge import (
    DensityRidge,
    default_descriptor,
    mean_coefficients,
    with_electrons,
)
from clebsch.nn.radial import BesselBasis
from clebsch.o3 import rand_matrix

BASIS = AuxiliaryBasis(
    "small",
    {1: ((15.0, 1.2, 0.3), (0.9,)), 8: ((900.0, 30.0, 3.0, 0.4), (1.2, 0.3), (0.8,))},
)


def descriptor(lmax: int = 2, n: int = 2) -> NeighbourDensity:
    return NeighbourDensity(["H", "O"], 3.0, lmax, BesselBasis(n))


def water(rng: np.random.Generator, molecules: int = 1) -> Atoms:
    """Water molecules with random bonds, in a row, each turned at random."""
    found = Atoms()
    for k in range(molecules):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.positions += rng.normal(0, 0.06, (3, 3)) + np.array([2.7 * k, 0, 0])
        found += one
    return found


def record(atoms: Atoms, coefficients: torch.Tensor, split: str = "") -> DensityRecord:
    nothing = dict.fromkeys(("energy", "fit_error_percent", "free_electrons"), 0.0)
    return DensityRecord(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions,
        coefficients=coefficients.numpy(),
        forces=np.zeros_like(atoms.positions),
        dipole=np.zeros(3),
        scf_seconds=0.0,
        seconds=0.0,
        split=split,
        **nothing,
    )


def dataset(densities: list[ElectronDensity]) -> DensityDataset:
    records = [
        record(Atoms(d.numbers.numpy(), positions=d.positions.numpy()), d.coefficients)
        for d in densities
    ]
    return DensityDataset("made in a test", BASIS, {}, records)


@pytest.fixture
def truth() -> DensityRidge:
    """A model with random weights that move no electrons, so that it is linear."""
    generator = torch.Generator().manual_seed(3)
    means, weights = {}, {}
    start = DensityRidge(BASIS, descriptor(), {}, {})
    nothing = torch.zeros(0, descriptor().irreps_out.dim, dtype=torch.float64)
    for z in BASIS.elements:
        means[z] = torch.zeros(BASIS.dim(z), dtype=torch.float64)
        electrons = torch.from_numpy(function_electrons(BASIS.blocks(z)[0]))
        means[z][: len(electrons)] = z / electrons.sum()
        for block in BASIS.blocks(z):
            F = start._features(nothing, block.l).shape[-1]
            shape = (F, len(block.exponents))
            w = 0.05 * torch.randn(shape, generator=generator, dtype=torch.float64)
            if block.l == 0:
                w -= torch.outer(w @ electrons, electrons) / electrons.square().sum()
            weights[z, block.l] = w
    return DensityRidge(BASIS, descriptor(), means, weights)


def test_least_squares_solves_the_normal_equations() -> None:
    """Two blocks that the metrics couple, against a dense solution."""
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    places = [torch.tensor([[0, 1], [5, 3], [6, 8]]), torch.tensor([[2], [4], [7]])]
    features = [random(3, 4), random(3, 2)]
    on_site = [random(n, n) for n in (2, 1)]
    on_site = [a @ a.mT + torch.eye(len(a)) for a in on_site]
    blocks = [LinearBlock.of(f, p, m) for f, p, m in zip(features, places, on_site, strict=True)]
    metrics = [a @ a.mT + torch.eye(len(a)) for a in (random(4, 4), random(5, 5))]
    target, M = random(9), torch.block_diag(*metrics)
    design = torch.zeros(9, 10, dtype=torch.float64)
    for k in range(3):
        for f in range(4):
            for n in range(2):
                design[places[0][k, n], 2 * f + n] = features[0][k, f]
        design[places[1][k, 0], 8:] = features[1][k]
    strengths = [1e-1, 1e-4]
    found = list(least_squares(blocks, target, metrics, strengths))
    for strength, (first, second) in zip(strengths, found, strict=True):
        penalties = [strength * float(torch.linalg.eigvalsh(f.mT @ f)[-1]) for f in features]
        R = torch.block_diag(
            penalties[0] * torch.kron(torch.eye(4).double(), on_site[0]),
            penalties[1] * torch.kron(torch.eye(2).double(), on_site[1]),
        )
        dense = torch.linalg.solve(design.mT @ M @ design + R, design.mT @ M @ target)
        got = torch.cat([first.flatten(), second.flatten()])
        torch.testing.assert_close(got, dense, rtol=0, atol=3e-4 * float(dense.abs().max()))
    with pytest.raises(ValueError, match="metrics of 4 functions, but 9 coefficients"):
        next(least_squares(blocks, target, metrics[:1], [1.0]))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("between_atoms", [False, True])
def test_learns_what_is_linear(
    truth: DensityRidge, rng: np.random.Generator, metric: Metric, between_atoms: bool
) -> None:
    if between_atoms:
        pytest.importorskip("pyscf")
    data = dataset([truth.predict(water(rng, 2)) for _ in range(30)])
    seen = []
    # the true means are another constant than those of the sample, which invariants make up for
    model = DensityRidge.fit(
        data,
        np.arange(20),
        [20, 21, 22],
        descriptor(),
        metric=metric,
        between_atoms=between_atoms,
        strengths=[1e-3, 1e-11, 1e-12],
        on_trial=seen.append,
    )
    assert tuple(seen) == model.trials
    assert model.strength == min(seen, key=lambda t: t.error).strength < 1e-3
    assert [t.strength for t in seen] == [1e-3, 1e-11, 1e-12]
    start = DensityRidge(BASIS, descriptor(), model.means, {}, metric)
    for i in range(23, 30):
        expected = torch.from_numpy(data[i].coefficients)
        wrong = model.predict(data[i].atoms()).coefficients - expected
        before = start.predict(data[i].atoms()).coefficients - expected
        assert float(wrong.norm()) < 1e-2 * float(before.norm())


def test_turns_with_the_molecule(truth: DensityRidge, rng: np.random.Generator) -> None:
    atoms = water(rng, 3)
    for sign in (1, -1):
        R = sign * rand_matrix(dtype=torch.float64)
        turned = Atoms(atoms.symbols, positions=atoms.positions @ R.numpy().T + [1.0, 2.0, 3.0])
        D = torch.block_diag(*(BASIS.irreps(z).D_from_matrix(R) for z in atoms.numbers))
        expected = D @ truth.predict(atoms).coefficients
        got = truth.predict(turned).coefficients
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-11 * float(got.abs().max()))
        assert float(got.abs().max()) > 0.5


def test_order_of_the_atoms_does_not_matter(truth: DensityRidge, rng: np.random.Generator) -> None:
    atoms = water(rng, 2)
    order = rng.permutation(len(atoms))
    parts = truth.predict(atoms).coefficients.split([BASIS.dim(z) for z in atoms.numbers])
    got = truth.predict(atoms[order]).coefficients
    torch.testing.assert_close(got, torch.cat([parts[i] for i in order]), rtol=0, atol=1e-11)


def test_a_crystal_is_its_supercell(truth: DensityRidge) -> None:
    cell = molecule("H2O", vacuum=1.4, pbc=True)
    one, four = truth.predict(cell), truth.predict(cell * (2, 1, 2))
    assert one.cell is not None
    torch.testing.assert_close(four.coefficients, one.coefficients.repeat(4), rtol=0, atol=1e-11)
    alone = truth.predict(molecule("H2O", vacuum=1.4)).coefficients
    assert float((one.coefficients - alone).abs().max()) > 1e-3


def test_has_exactly_its_electrons(truth: DensityRidge, rng: np.random.Generator) -> None:
    atoms = water(rng, 4)
    assert float(truth.predict(atoms).electrons()) == pytest.approx(40, abs=1e-11)
    assert float(truth.predict(atoms, charge=1).electrons()) == pytest.approx(39, abs=1e-11)
    empty = truth.predict(Atoms())
    assert len(empty.coefficients) == 0


@pytest.mark.parametrize("metric", METRICS)
def test_electrons_are_restored_by_the_smallest_change(metric: Metric) -> None:
    """Lagrange: M times the change is parallel to the functions' electrons."""
    from clebsch.density.moments import electrons_per_function
    from clebsch.density.on_site import on_site_matrix

    numbers = torch.tensor([8, 1])
    c = torch.randn(int(BASIS.offsets(numbers)[-1]), dtype=torch.float64)
    change = with_electrons(BASIS, numbers, c, 9.0, metric) - c
    q = electrons_per_function(BASIS, numbers, c)
    assert float(q @ (c + change)) == pytest.approx(9.0, abs=1e-12)
    image = on_site_matrix(BASIS, numbers, metric) @ change
    torch.testing.assert_close(image / image.norm(), q / q.norm() * torch.sign(image @ q))


def test_invariants_leave_the_rest_at_zero(truth: DensityRidge, rng: np.random.Generator) -> None:
    data = dataset([truth.predict(water(rng)) for _ in range(6)])
    model = DensityRidge.fit(data, range(5), [5], descriptor(), lmax=0, between_atoms=False)
    assert set(model.weights) == {(1, 0), (8, 0)}
    for z, (_, places) in BASIS.index(data[5].numbers).items():
        s = len(BASIS.exponents[z][0])
        c = model.predict(data[5].atoms()).coefficients
        assert float(c[places[:, s:]].abs().max()) == 0.0
        assert float(c[places[:, :s]].abs().max()) > 0.1


def test_a_descriptor_without_features_of_a_degree(
    truth: DensityRidge, rng: np.random.Generator
) -> None:
    data = dataset([truth.predict(water(rng)) for _ in range(6)])
    model = DensityRidge.fit(data, range(5), [5], descriptor(lmax=0), between_atoms=False)
    assert model.weights[8, 2].shape == (0, 1)
    assert math.isfinite(float(model.predict(data[5].atoms()).coefficients.sum()))


def test_free_atoms_and_means(truth: DensityRidge, rng: np.random.Generator) -> None:
    densities = [truth.predict(water(rng)) for _ in range(4)]
    data = replace(
        dataset(densities),
        free_atoms={z: mean_coefficients(dataset(densities), [0])[z] for z in (1, 8)},
    )
    means = mean_coefficients(data, [0, 1])
    s = torch.stack([d.coefficients[:4] for d in densities[:2]]).mean(0)
    torch.testing.assert_close(means[8][:4], s)
    assert float(means[8][4:].abs().max()) == 0.0
    points = rng.normal(size=(7, 3))
    sampled = SampledDensity(points, np.full(7, 0.1), np.zeros(7))
    data = replace(data, records=[*data.records[:3], replace(data[3], grid=sampled)])
    models = density_baselines(data, [0, 1], [2], {"one": descriptor()}, between_atoms=False)
    assert list(models) == ["free atoms", "mean s coefficients", "invariants", "one"]
    finished = []
    rows = model_errors(data, [2, 3], models, on_molecule=finished.append)
    assert finished == [2, 3]
    assert [(r.name, r.molecule) for r in rows] == [(n, i) for i in (2, 3) for n in models]
    for row in rows:
        density = models[row.name](data[row.molecule].atoms())
        expected = density_error_percent(density, data.density(row.molecule))
        assert row.errors.against_fit == pytest.approx(expected, rel=0.01)
        dipole = np.linalg.norm(density.dipole().numpy())
        assert (row.atoms, row.errors.dipole) == (3, pytest.approx(dipole / Debye))
        if row.molecule == 3:
            values = density.at(torch.from_numpy(points)).abs().sum()
            assert row.errors.against_grid == pytest.approx(float(values))
        else:
            assert row.errors.against_grid is None
    means_of = errors_by_atoms(rows)
    assert means_of["one"][3] == pytest.approx(
        np.mean([rows[k].errors.against_fit for k in (3, 7)])
    )
    without = density_baselines(
        replace(data, free_atoms={}), [0, 1], [2], {"one": descriptor()}, between_atoms=False
    )
    assert "free atoms" not in without


def test_what_does_not_fit_is_refused(truth: DensityRidge, rng: np.random.Generator) -> None:
    data = dataset([truth.predict(water(rng)) for _ in range(2)])
    with pytest.raises(ValueError, match="no molecule to train on"):
        DensityRidge.fit(data, [], [1], descriptor())
    with pytest.raises(ValueError, match="no molecule to validate on"):
        DensityRidge.fit(data, [0], [], descriptor())
    with pytest.raises(ValueError, match="at least one strength"):
        DensityRidge.fit(data, [0], [1], descriptor(), strengths=[])
    hydrogen = record(molecule("H2"), torch.ones(2 * BASIS.dim(1), dtype=torch.float64))
    mixed = replace(data, records=[hydrogen, data[0]])
    with pytest.raises(UserError, match=r"validation molecule 1: .* not trained on O, only on H"):
        DensityRidge.fit(mixed, [0], [1], descriptor())
    with pytest.raises(UserError, match="C has no functions in the auxiliary basis small"):
        truth.predict(molecule("CO"))
    with pytest.raises(ValueError, match="periodic"):
        truth.predict(molecule("H2O", vacuum=3.0, pbc=[True, False, False]))


def test_water_clusters(clebsch_data: Callable[[str], Path]) -> None:
    """Published reference densities: far better than means, and it carries over to hexamers."""
    pytest.importorskip("pyscf")
    data = read_density(clebsch_data("water_density/water_density.npz"))
    train = [i for i in data.split("train") if len(data[i].numbers) <= 6]
    small = NeighbourDensity(["H", "O"], 4.0, 3, BesselBasis(4))
    model = DensityRidge.fit(data, train, data.split("val")[:4], small, strengths=[1e-5])
    large = int(data.split("transfer")[0])
    start = DensityRidge(data.basis, small, model.means, {})
    rows = model_errors(
        data, [large], {"means": start.predict, "model": model.predict}, radial=25, degree=11
    )
    means, learnt = (row.errors.against_fit for row in rows)
    assert 7.0 < means < 9.0
    assert learnt < means / 8
    assert default_descriptor(data.basis).species == ("H", "O")
