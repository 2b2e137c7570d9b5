"""The example networks learn what they say, and their baselines cannot."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "examples" / "networks"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*fast CPU kernels.*")]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its data classes look themselves up
    spec.loader.exec_module(module)
    return module


def test_tetris_is_solved_in_any_orientation() -> None:
    tetris = example("tensor_field_network")
    result = tetris.train(lmax=2, steps=60, turns=20)
    wrong = (1 - result.confusion.diagonal()).abs().max()
    assert wrong < 1e-5  # of 160 turned pieces, the mirror images among them
    assert result.losses[0] > 1.0
    assert result.losses[-1] < 0.05


def test_distances_cannot_tell_mirror_images_apart() -> None:
    tetris = example("tensor_field_network")
    result = tetris.train(lmax=0, steps=300, turns=2)
    # what it answers for one it answers for the other
    torch.testing.assert_close(result.confusion[0], result.confusion[1])
    assert abs(result.accuracy - 7 / 8) < 1e-5  # all else it learns


def test_attention_learns_forces() -> None:
    result = example("attention_network").train(lmax=1, steps=250)
    assert result.forces < 0.35 * result.guess  # 0.25 of 1.21 eV/Å
    assert result.energies < 0.5 * result.spread


def test_attention_gives_forces_that_turn_with_the_molecule() -> None:
    attention = example("attention_network")
    structures = attention.read_dataset("embedded:ethanol")
    network = attention.AttentionNetwork(1, 0.0, 1.0).double().eval()
    atoms = structures[3]
    found = []
    for angle in (0.0, 70.0):
        atoms.rotate(angle, (1, 2, 3))
        graph = attention.AtomGraph.from_atoms(atoms, attention.CUTOFF, torch.float64)
        energy, forces = network(graph)
        found.append((energy.item(), forces.norm(dim=1), graph))
    (e, f, graph), (e_turned, f_turned, _) = found
    assert abs(e - e_turned) < 1e-10
    torch.testing.assert_close(f, f_turned)
    graph.positions[2, 1] += 1e-5
    up = network.energy(graph.vectors(), graph)
    graph.positions[2, 1] -= 2e-5
    down = network.energy(graph.vectors(), graph)
    graph.positions[2, 1] += 1e-5
    _, forces = network(graph)
    torch.testing.assert_close(forces[2, 1], (down - up)[0].detach() / 2e-5, rtol=1e-6, atol=1e-6)


def test_voxels_learn_from_one_box_what_turns() -> None:
    voxels = example("voxel_network")
    steerable = voxels.train(voxels.SteerableNetwork, steps=100)
    ordinary = voxels.train(voxels.OrdinaryNetwork, steps=200, rate=0.01)
    assert steerable.error < 0.15
    assert steerable.broken < 1e-5  # float32
    assert abs(steerable.turned - steerable.error) < 1e-5
    assert ordinary.error > 1.3 * steerable.error
    assert ordinary.broken > 0.1


def test_voxel_forces_are_those_of_the_charges() -> None:
    """The task itself: forces of a periodic box add up to nothing, and turn with the charges."""
    voxels = example("voxel_network")
    rho, force = voxels.boxes(2, seed=3)
    total = force.sum((2, 3, 4)).abs().max() / force.abs().sum((2, 3, 4)).max()
    assert total < 1e-4
    turned = voxels.turn(voxels.turn(rho, False), False)
    twice = torch.roll(rho.flip(2, 3), (1, 1), (2, 3))  # by 180 degrees: x to -x, y to -y
    assert torch.equal(turned, twice)
    assert force.shape == (2, 3, *rho.shape[2:])


@pytest.mark.parametrize("name", ["tensor_field_network", "attention_network", "voxel_network"])
def test_figures(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``main`` writes, after a few steps."""
    module = example(name)
    train = module.train
    monkeypatch.setattr(module, "train", lambda *_, **__: train(*_, **{**__, "steps": 2}))
    if name == "voxel_network":
        monkeypatch.setattr(module, "train", lambda kind, *_, **__: train(kind, 2))
    module.main(tmp_path)
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
