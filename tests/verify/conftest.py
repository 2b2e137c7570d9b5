"""A small potential for the checks, and faults to plant."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clebsch.models import Potential, PotentialConfig, save_model


def small_potential(channels: int = 4, **options: object) -> Potential:
    """Two layers, l <= 2, random weights, of two species."""
    torch.manual_seed(7)
    settings: dict[str, object] = {
        "species": ["Si", "C"], "cutoff": 3.5, "channels": channels, "lmax": 2, "layers": 2,
        "radial_width": 16, "mean_neighbours": 8.0, "scales": [0.1, 0.06],
        "shifts": [-105.123456789, -37.5],
    }  # fmt: skip
    model = Potential(PotentialConfig(**{**settings, **options}))
    model.header = {"domain": {"min_distance": {"C-C": 1.5, "C-Si": 1.7, "Si-Si": 2.2}}}
    return model.eval()


@pytest.fixture
def model() -> Potential:
    return small_potential()


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "sic.clebsch"
    save_model(small_potential(), path)
    return path
