"""The many-body example network: exact symmetries, and more bodies learn more of ethanol."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from ase import Atoms

from clebsch.o3 import rand_matrix
from clebsch.structures import AtomGraph, Statistics

FILE = Path(__file__).parents[1] / "examples" / "networks" / "many_body_network.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("many_body_network", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ethanol(example: ModuleType) -> tuple[Statistics, list[AtomGraph], list[AtomGraph]]:
    return example.load(n_train=200, n_test=50)


def molecule(turn: torch.Tensor | None = None, order: list[int] | None = None) -> AtomGraph:
    """Water beside a methanol fragment, turned, with its atoms in another order."""
    positions = torch.tensor(
        [[0, 0, 0], [0.9, 0.1, 0.2], [-0.3, 0.9, 0.1], [2.1, 0.3, 1.1], [1.8, -1.0, 1.4]],
        dtype=torch.float64,
    )
    numbers = torch.tensor([8, 1, 1, 6, 8])
    if turn is not None:
        positions = positions @ turn.T
    if order is not None:
        positions, numbers = positions[order], numbers[order]
    atoms = Atoms(numbers.tolist(), positions.numpy())
    return AtomGraph.from_atoms(atoms, 4.0, torch.float64)


@pytest.mark.parametrize("layers", [1, 2])
def test_symmetries_are_exact(example, ethanol, layers):
    """Of a network built in float32 and moved to float64: rotation, inversion, permutation."""
    model = example.ManyBodyNetwork(ethanol[0], layers=layers, channels=4, lmax=2).double().eval()
    energy, forces = model(molecule())
    assert forces.abs().max() > 0.01
    scale = 1e-12 * forces.abs().max().item()
    for turn in (rand_matrix(dtype=torch.float64), -torch.eye(3, dtype=torch.float64)):
        turned_energy, turned = model(molecule(turn))
        torch.testing.assert_close(turned_energy, energy, atol=scale, rtol=1e-14)
        torch.testing.assert_close(turned, forces @ turn.T, atol=10 * scale, rtol=0)
    order = [3, 1, 4, 0, 2]
    permuted_energy, permuted = model(molecule(order=order))
    torch.testing.assert_close(permuted_energy, energy, atol=scale, rtol=1e-14)
    torch.testing.assert_close(permuted, forces[order], atol=10 * scale, rtol=0)


def test_forces_are_the_derivatives_of_the_energy(example, ethanol):
    model = example.ManyBodyNetwork(ethanol[0], layers=2, channels=4, lmax=2).double().eval()
    graph = molecule()
    _, forces = model(graph)
    for atom, axis in ((0, 0), (3, 2)):
        energies = []
        for step in (1e-4, -1e-4):
            positions = graph.positions.clone()
            positions[atom, axis] += step
            energies.append(model(replace(graph, positions=positions))[0].item())
        slope = (energies[0] - energies[1]) / 2e-4
        assert forces[atom, axis].item() == pytest.approx(-slope, rel=1e-5, abs=1e-5)


def test_four_bodies_learn_more_than_two(example, ethanol):
    """Equal training, one layer: degree 3 is better than degree 1, both far below no forces."""
    statistics, train_graphs, test_graphs = ethanol
    zero = 1000 * torch.cat([graph.forces for graph in test_graphs]).abs().mean().item()
    found = {}
    for correlation in (1, 3):
        torch.manual_seed(0)
        model = example.ManyBodyNetwork(statistics, correlation=correlation)
        history = example.train(model, train_graphs, test_graphs, steps=150)
        found[correlation] = example.errors(model, test_graphs)
        assert history[-1][0] == 150
    assert found[1]["forces"] < 0.5 * zero
    assert found[3]["forces"] < 0.9 * found[1]["forces"]


def test_runs_from_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, FILE, "--out", tmp_path / "run", "--steps", "3"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("baseline, no forces at all: ")
    assert [line.split(":")[0] for line in lines[1:4]] == [
        f"correlation {n} ({n + 1} bodies)" for n in (1, 2, 3)
    ]
    assert (tmp_path / "run" / "many_body_network.png").stat().st_size > 10000
