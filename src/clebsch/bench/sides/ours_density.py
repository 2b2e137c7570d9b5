"""clebsch's network for electron densities, and its density on the points of a cube file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from ase import Atoms

import clebsch
from clebsch.bench.water import water_cluster
from clebsch.density.cube import Box
from clebsch.models import DensityConfig, DensityModel, predict_density
from clebsch.structures import AtomGraph

#: def2-universal-jfit, decontracted, bohr^-2: without PySCF our side is measured all the same.
EXPONENTS = {
    "H": [
        [15.6752927, 3.6063578, 1.2080016, 0.4726794, 0.20181],
        [2.0281365, 0.535873],
        [2.2165124],
    ],
    "O": [
        [
            *(2876.8216605, 1004.7443032, 369.7579954, 142.9442404, 57.8366425, 24.3864983),
            *(10.6622662, 4.8070437, 2.221077, 1.0447795, 0.4968425, 0.2371384),
        ],
        [64.2613382, 16.3006076, 4.3550542, 1.2019554, 0.3354196],
        [9.2146611, 2.8435251, 0.9955759, 0.3649441],
        [2.6420115, 0.7345613],
        [1.3931],
    ],
}


def versions() -> dict[str, Any]:
    return {
        "name": f"clebsch {clebsch.__version__}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


@cache
def untrained() -> DensityModel:
    """The network that ``clebsch train density`` starts from; its cost is that of a trained one."""
    torch.manual_seed(1)
    config = DensityConfig(
        species=["H", "O"],
        basis="def2-universal-jfit",
        exponents=EXPONENTS,
        start={name: [0.1] * len(rows[0]) for name, rows in EXPONENTS.items()},
        scales={name: [[0.01] * len(row) for row in rows] for name, rows in EXPONENTS.items()},
    )
    return DensityModel(config).eval()


def prepare(case: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """``predict`` the density of a cluster of water, or evaluate it for a ``cube`` file.

    Case: what, molecules, spacing of the cube's points in Å, margin about the atoms in Å.
    """
    model = untrained()
    atoms = Atoms(*water_cluster(case["molecules"]))
    if case["what"] == "predict":

        def task() -> object:
            return predict_density(model, atoms)
    else:
        density = predict_density(model, atoms)
        box = Box.around(atoms.positions, case["spacing"], case["margin"])

        def task() -> object:
            return np.concatenate(list(box.density_slabs(density)))

    def facts() -> dict[str, Any]:
        return {
            "parameters": sum(p.numel() for p in model.parameters()),
            "network": model.config.model_dump(exclude={"exponents", "start", "scales"}),
            "atoms": len(atoms),
            "edges": AtomGraph.from_atoms(atoms, model.cutoff).n_edges,
            "electrons": float(predict_density(model, atoms).electrons()),
        }

    return {case["what"]: task, "facts": facts}
