"""clebsch's potential: as trained, and frozen."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from ase import Atoms
from ase.build import bulk
from torch import Tensor

import clebsch
from clebsch.models import Potential, PotentialConfig, set_unit_variance
from clebsch.structures import AtomGraph


def versions() -> dict[str, Any]:
    return {
        "name": f"clebsch {clebsch.__version__}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def silicon(repeat: int) -> Atoms:
    """Diamond silicon with displaced atoms."""
    atoms = bulk("Si", cubic=True).repeat(repeat)
    atoms.rattle(0.05, seed=1)
    return atoms


def prepare(case: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Diamond silicon of ``repeat``^3 cubic cells with displaced atoms.

    Case: repeat, layers, lmax, channels, radial_depth, radial_width, n_basis, cutoff, neighbours.
    """
    torch.manual_seed(1)
    graph = AtomGraph.from_atoms(silicon(case["repeat"]), case["cutoff"], torch.float32)
    config = PotentialConfig(
        species=["Si"],
        cutoff=case["cutoff"],
        mean_neighbours=case["neighbours"],
        **{
            key: case[key]
            for key in ("layers", "lmax", "channels", "n_basis", "radial_depth", "radial_width")
        },
    )
    model = Potential(config).eval()
    # Energies of the usual size, which the frozen model's tolerance is made for.
    set_unit_variance(model, AtomGraph.from_atoms(silicon(2), case["cutoff"], torch.float32))
    about: dict[str, Any] = {}

    @cache
    def frozen() -> Any:
        start = time.perf_counter()
        made = model.freeze(structures=[silicon(1), silicon(2)])
        about["frozen"] = {"freeze_s": time.perf_counter() - start, **made.facts}
        return made

    def energy_and_forces() -> dict[str, Tensor]:
        return model(graph)

    def with_frozen() -> Any:
        return frozen()(graph)

    @cache
    def training() -> tuple[Potential, torch.optim.Optimizer]:
        learner = Potential(config).train()
        return learner, torch.optim.Adam(learner.parameters(), lr=1e-3)

    def training_step() -> None:
        learner, optimiser = training()
        result = learner(graph)
        loss = result["forces"].square().mean() + result["energy"].square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def facts() -> dict[str, Any]:
        return {
            "parameters": sum(p.numel() for p in model.parameters()),
            "atoms": graph.n_atoms,
            "edges": graph.n_edges,
            **about,
        }

    return {
        "energy+forces": energy_and_forces,
        "frozen": with_frozen,
        "training_step": training_step,
        "facts": facts,
    }
