"""Cube files, integration grids and metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.io.cube import read_cube_data
from ase.units import Bohr, Hartree

from clebsch.density import (
    Box,
    ElectronDensity,
    density_error_percent,
    hartree_energy,
    integration_grid,
    metric_matrix,
    read_cube,
    squared_norms,
    write_cube,
)
from clebsch.density.metric import check_metric
from clebsch.errors import UserError


def test_cube_there_and_back(density, tmp_path) -> None:
    box = Box.around(density.positions, spacing=0.4, margin=1.5)
    seen: list[tuple[int, int]] = []
    write_cube(tmp_path / "rho.cube", density, box, on_slab=lambda a, b: seen.append((a, b)))
    atoms, again, values = read_cube(tmp_path / "rho.cube")
    assert seen[-1][0] == seen[-1][1] == values.size
    assert atoms.numbers.tolist() == [8, 1, 1]
    np.testing.assert_allclose(atoms.positions, density.positions, atol=1e-11)
    np.testing.assert_allclose(again.origin, box.origin, atol=1e-11)
    np.testing.assert_allclose(again.steps, box.steps, atol=1e-11)
    expected = density.at(box.points().reshape(-1, 3)).reshape(box.shape).numpy()
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-12)
    by_ase, ase_atoms = read_cube_data(str(tmp_path / "rho.cube"))
    np.testing.assert_allclose(by_ase / Bohr**3, expected, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(ase_atoms.positions, density.positions, atol=1e-6)


def test_cube_of_the_potential_and_of_differences(density, tmp_path) -> None:
    spacing = 0.117  # a point lies on the oxygen nucleus
    box = Box(np.array([0.0, 0.0, 0.0]), spacing * np.eye(3), (3, 14, 4))
    write_cube(tmp_path / "v.cube", density, box, "potential")
    _, _, values = read_cube(tmp_path / "v.cube", "potential")
    assert np.isfinite(values).all()
    expected = density.potential(box.points().reshape(-1, 3)).reshape(box.shape).numpy()
    others = np.isfinite(expected)
    assert (~others).sum() == 1
    np.testing.assert_allclose(values[others], expected[others], rtol=1e-6, atol=1e-6)
    half = ElectronDensity(
        density.basis, density.numbers, density.positions, density.coefficients / 2
    )
    write_cube(tmp_path / "d.cube", density, box, difference_from=half)
    _, _, values = read_cube(tmp_path / "d.cube")
    expected = half.at(box.points().reshape(-1, 3)).reshape(box.shape).numpy()
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-12)
    with pytest.raises(UserError, match='"density" or "potential"'):
        write_cube(tmp_path / "x.cube", density, box, "field")  # type: ignore[arg-type]
    assert not (tmp_path / "x.cube").exists()


def test_broken_cubes_are_refused(density, tmp_path) -> None:
    path = tmp_path / "a.cube"
    write_cube(path, density, Box.around(density.positions, 1.0, 1.0))
    text = path.read_text()
    path.write_text(text[: len(text) // 2].rsplit(" ", 1)[0])
    with pytest.raises(UserError, match=r"holds \d+ of the \d+ values"):
        read_cube(path)
    path.write_text("no cube\nat all\n")
    with pytest.raises(UserError, match="is no cube file"):
        read_cube(path)
    with pytest.raises(UserError, match="no such file"):
        read_cube(tmp_path / "b.cube")
    with pytest.raises(UserError, match="must be positive"):
        Box.around(density.positions, spacing=0.0)
    with pytest.raises(UserError, match="must be positive"):
        Box.around(density.positions, margin=float("inf"))
    for spacing in (1e-4, 5e-324):
        with pytest.raises(UserError, match=r"points in this box.* take a larger spacing"):
            Box.around(density.positions, spacing=spacing)


def test_grid_integrates_and_measures_errors(density) -> None:
    grid = integration_grid(density.numbers, density.positions)
    smooth = torch.exp(-((grid.points - 0.3) ** 2).sum(-1))
    assert float(grid.weights @ smooth) == pytest.approx(np.pi**1.5, rel=1e-5)
    scaled = ElectronDensity(
        density.basis, density.numbers, density.positions, 1.02 * density.coefficients
    )
    total = grid.weights @ density.at(grid.points).abs() / density.electrons()
    assert density_error_percent(scaled, density) == pytest.approx(float(2 * total), rel=1e-9)
    assert density_error_percent(density, density) == 0


def test_weights_of_many_atoms_share_space() -> None:
    positions = 2.5 * torch.cartesian_prod(*[torch.arange(3.0, dtype=torch.float64)] * 3)
    numbers = torch.full((27,), 8)
    grid = integration_grid(numbers, positions, radial=30, degree=15)
    centre = positions.mean(0)
    value = grid.weights @ torch.exp(-0.5 * ((grid.points - centre) ** 2).sum(-1))
    assert float(value) == pytest.approx((2 * np.pi) ** 1.5, rel=2e-3)


@pytest.mark.parametrize("metric", ["overlap", "coulomb"])
def test_metrics_are_the_integrals(density, metric) -> None:
    pytest.importorskip("pyscf")
    matrix = metric_matrix(density.basis, density.numbers, density.positions, metric)
    torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=1e-12)
    grid = integration_grid(density.numbers, density.positions, radial=100, degree=35)
    rho = density.at(grid.points)
    got = density.coefficients @ matrix @ density.coefficients
    if metric == "overlap":
        expected = grid.weights @ rho**2 * Bohr**3
        torch.testing.assert_close(torch.diagonal(matrix), torch.ones(len(matrix)).double())
    else:
        potential = density.electron_potential(grid.points) / -Hartree
        expected = grid.weights @ (rho * potential)
        energy = hartree_energy(density)
        torch.testing.assert_close(energy, Hartree / 2 * got, rtol=1e-12, atol=0)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=0)


def test_losses_of_a_batch_of_different_sizes() -> None:
    sizes = [3, 0, 5]
    matrices = [torch.randn(n, n, dtype=torch.float64) for n in sizes]
    matrices = [m @ m.T for m in matrices]
    offsets = torch.tensor([0, 3, 3, 8])
    c = torch.randn(8, dtype=torch.float64, requires_grad=True)
    value = squared_norms(c, offsets, matrices)
    expected = torch.block_diag(*matrices)
    torch.testing.assert_close(value.sum(), c @ expected @ c)
    assert float(value[1].detach()) == 0
    assert torch.autograd.gradcheck(lambda c: squared_norms(c, offsets, matrices), c)
    with pytest.raises(ValueError, match="need 4 offsets"):
        squared_norms(c, offsets[:3], matrices)
    with pytest.raises(ValueError, match="needs a matrix of that size"):
        squared_norms(c, torch.tensor([0, 2, 3, 8]), matrices)
    with pytest.raises(UserError, match="metric must be"):
        check_metric("euclid")


def test_cube_of_a_crystal_holds_its_cell(density, tmp_path) -> None:
    cell = torch.tensor([[3.0, 0.0, 0.0], [0.5, 3.2, 0.0], [0.0, 0.3, 3.4]], dtype=torch.float64)
    crystal = ElectronDensity(
        density.basis, density.numbers, density.positions, density.coefficients, cell
    )
    box = write_cube(tmp_path / "c.cube", crystal, Box.of(crystal, 0.5))
    assert box.shape == (6, 7, 7)
    _, again, values = read_cube(tmp_path / "c.cube")
    np.testing.assert_allclose(again.steps * np.array([[6], [7], [7]]), cell, atol=1e-10)
    expected = crystal.at(box.points().reshape(-1, 3)).reshape(box.shape).numpy()
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-12)
    with pytest.raises(UserError, match="must be positive"):
        Box.of_cell(cell, 0.0)
    with pytest.raises(UserError, match="take a larger spacing"):
        Box.of_cell(cell, 1e-4)
