"""A network for densities: symmetry, electron count, what it does not depend on, its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from scipy.spatial.transform import Rotation

from clebsch.density import ElectronDensity
from clebsch.errors import UserError
from clebsch.models import (
    DensityConfig,
    load_density_model,
    load_model,
    predict_density,
    save_model,
)
from clebsch.models.density import directions, on_site_overlap
from clebsch.o3 import Irrep
from clebsch.structures import AtomGraph, collate
from made_densities import BASIS, configuration, model, waters


def rotated(density: ElectronDensity, R: torch.Tensor) -> torch.Tensor:
    """Coefficients of the density turned by R, with Wigner's matrices."""
    offsets = density.basis.offsets(density.numbers).tolist()
    parts = []
    for z, first in zip(density.numbers.tolist(), offsets, strict=False):
        for block in density.basis.blocks(z):
            place = slice(first + block.inside.start, first + block.inside.stop)
            c = density.coefficients[place].reshape(2 * block.l + 1, -1)
            D = Irrep(block.l, (-1) ** block.l).D_from_matrix(R)
            parts.append((D @ c).flatten())
    return torch.cat(parts)


@pytest.mark.parametrize("correlation", [0, 2, 3])
@pytest.mark.parametrize("improper", [False, True])
def test_coefficients_turn_with_the_molecule(improper: bool, correlation: int) -> None:
    network, atoms = model(correlation=correlation), waters(3)
    R = Rotation.random(rng=np.random.default_rng(1)).as_matrix() * (-1 if improper else 1)
    turned = atoms.copy()
    turned.positions = atoms.positions @ R.T + [3.0, -20.0, 5.0]
    before, after = predict_density(network, atoms), predict_density(network, turned)
    expected = rotated(before, torch.from_numpy(R))
    torch.testing.assert_close(after.coefficients, expected, rtol=0, atol=1e-11)
    assert before.coefficients.abs().max() > 0.1


def test_order_of_atoms_and_company_in_a_batch_do_not_matter() -> None:
    network, first, second = model(), waters(2, seed=1), waters(3, seed=2)
    alone = [predict_density(network, a).coefficients for a in (first, second)]
    graphs = [AtomGraph.from_atoms(a, network.cutoff, torch.float64) for a in (first, second)]
    with torch.no_grad():
        together = network(collate(graphs))["coefficients"]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)
    order = np.random.default_rng(0).permutation(len(second))
    shuffled = predict_density(network, second[order])
    offsets = BASIS.offsets(second.numbers).tolist()
    each = [alone[1][offsets[i] : offsets[i + 1]] for i in order]
    torch.testing.assert_close(shuffled.coefficients, torch.cat(each), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_electron_count_is_exact(dtype: torch.dtype) -> None:
    network = model().to(dtype)
    for n in (1, 2, 5):
        atoms = waters(n, seed=n)
        density = predict_density(network, atoms)
        assert density.coefficients.dtype == torch.float64
        assert abs(float(density.electrons()) - 10 * n) < 1e-11 * n
        graph = AtomGraph.from_atoms(atoms, network.cutoff, dtype)
        assert float(network(graph)["surplus"].detach().abs().max()) > 1e-4


def test_what_is_added_for_the_count_is_least_in_the_overlap_metric() -> None:
    """No other change of one atom's s functions by as many electrons is smaller."""
    network = model()
    q, share = network._of(8, "electrons"), network._of(8, "share")
    S = torch.from_numpy(on_site_overlap(BASIS.blocks(8)[0]))
    own = share / (share @ q)
    other = own + torch.tensor([0.3, -0.2, 0.1]).double() @ (
        torch.eye(3).double() - torch.outer(q, q) / (q @ q)
    )
    assert float(other @ q) == pytest.approx(1.0)
    assert float(own @ S @ own) < float(other @ S @ other)


def test_directions_are_orthonormal() -> None:
    for z in BASIS.elements:
        for block in BASIS.blocks(z):
            D = directions(block)
            np.testing.assert_allclose(
                D.T @ on_site_overlap(block) @ D, np.eye(D.shape[0]), atol=1e-12
            )


def test_a_crystal_is_predicted_and_its_supercell_alike() -> None:
    network = model()
    assert network.basis == BASIS
    ice = waters(1)
    ice.set_cell([3.4, 3.6, 3.8])
    ice.pbc = True
    one, two = predict_density(network, ice), predict_density(network, ice.repeat((2, 1, 1)))
    n = len(one.coefficients)
    for half in (two.coefficients[:n], two.coefficients[n:]):
        torch.testing.assert_close(half, one.coefficients, rtol=0, atol=1e-12)
    assert one.cell is not None
    isolated = waters(1)
    assert not torch.allclose(predict_density(network, isolated).coefficients, one.coefficients)


def test_atoms_far_apart_do_not_see_each_other() -> None:
    network = model()
    near, far = waters(1), waters(1)
    far.positions += [0.0, 0.0, 50.0]
    both = predict_density(network, near + far).coefficients
    one = predict_density(network, near).coefficients
    torch.testing.assert_close(both, torch.cat([one, one]), rtol=0, atol=1e-12)


def test_without_directions_only_s_functions_move() -> None:
    network = model(lmax=0)
    density = predict_density(network, waters(2))
    for z, (_, places) in BASIS.index(density.numbers).items():
        c = density.coefficients[places]
        s = BASIS.blocks(z)[0].inside.stop
        assert c[:, s:].abs().max() == 0
        assert c[:, :s].std(0).max() > 0


def test_gradients_reach_every_weight() -> None:
    network = model().train()
    graph = AtomGraph.from_atoms(waters(2), network.cutoff, torch.float64)
    network(graph)["coefficients"].square().sum().backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_one_atom() -> None:
    network = model()
    lone = predict_density(network, Atoms("O"))
    assert float(lone.electrons()) == pytest.approx(8.0, abs=1e-12)


def test_a_model_file_holds_it_whole(tmp_path: Path) -> None:
    network, atoms = model(), waters(2)
    network.header = {"level": {"xc": "pbe0"}}
    save_model(network, tmp_path / "m.clebsch")
    back = load_density_model(tmp_path / "m.clebsch")
    assert back.config == network.config
    assert back.header["level"] == {"xc": "pbe0"}
    a, b = (predict_density(m, atoms).coefficients for m in (network, back))
    assert torch.equal(a, b)
    with pytest.raises(UserError, match="not a potential"):
        load_model(tmp_path / "m.clebsch")


def test_wrong_structures_and_configurations() -> None:
    with pytest.raises(UserError, match="knows H, O but not Cu"):
        predict_density(model(), bulk("Cu"))
    with pytest.raises(ValueError, match="periodic along 1"):
        predict_density(model(), Atoms("O", cell=[3, 3, 3], pbc=[True, False, False]))
    good = configuration().model_dump()
    for change, message in (
        ({"species": ["H", "O", "C"]}, "lack C"),
        ({"species": ["H", "Xx"]}, "no chemical symbols"),
        ({"species": ["H", "H"]}, "repeat"),
        ({"start": good["start"] | {"H": [1.0]}}, "start of H"),
        ({"scales": good["scales"] | {"O": [[1.0], [1.0, 1.0], [1.0]]}}, "scales of O"),
    ):
        with pytest.raises(ValueError, match=message):
            DensityConfig(**good | change)
