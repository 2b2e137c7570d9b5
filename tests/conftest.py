"""Fixtures for every test: fixed seeds, few threads, the place of the published data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

# Small tensors lose time in thread hand-over; OMP_NUM_THREADS still has the last word.
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The global generators start from the same state in every test."""
    torch.manual_seed(20261123)
    np.random.seed(20261123)  # noqa: NPY002 - some libraries draw from the global one


@pytest.fixture
def rng() -> np.random.Generator:
    """A NumPy generator with a fixed seed."""
    return np.random.default_rng(20261123)


@pytest.fixture
def float64() -> Iterator[None]:
    """float64 as torch's default floating type, for one test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def clebsch_data() -> Callable[[str], Path]:
    """``clebsch_data("potentials/x.xyz.xz")`` is that file under ``$CLEBSCH_DATA``, or a skip."""

    def find(name: str) -> Path:
        root = os.environ.get("CLEBSCH_DATA")
        if not root:
            pytest.skip(f"{name}: CLEBSCH_DATA does not say where the published data are")
        path = Path(root) / name
        if not path.exists():
            pytest.skip(f"{path} does not exist")
        return path

    return find
