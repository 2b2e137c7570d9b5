"""A small model with random weights, on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clebsch.lammps import available
from clebsch.models import Potential, PotentialConfig, save_model

_REASON = available()


@pytest.fixture(scope="session")
def lammps() -> None:
    """Skips where LAMMPS can not run."""
    if _REASON is not None:
        assert "could not build" not in _REASON, _REASON  # ours to mend, no reason to skip
        pytest.skip(f"LAMMPS cannot run here: {_REASON}")


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float64 model of silicon and oxygen: three layers, l <= 2, ZBL, a pair cutoff."""
    torch.manual_seed(5)
    config = PotentialConfig(
        species=["O", "Si"],
        cutoff=4.5,
        pair_cutoffs={"O-O": 4.0},
        layers=3,
        lmax=2,
        channels=8,
        mean_neighbours=20.0,
        zbl=True,
        scales=[0.9, 1.1],
        shifts=[-3.0, -5.0],
    )
    path = tmp_path_factory.mktemp("model") / "sio.clebsch"
    domain = {"min_distance": {"Si-Si": 2.0, "O-Si": 1.4, "O-O": 2.0}, "max_force": 10.0}
    save_model(Potential(config).double(), path, {"domain": domain})
    return path
