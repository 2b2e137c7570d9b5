"""Shared by the o3 tests: e3nn as the oracle, in float64."""

from __future__ import annotations

import importlib
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from types import ModuleType


with warnings.catch_warnings(), suppress(ImportError):  # without e3nn the tests skip
    warnings.simplefilter("ignore")  # the oracle's own, at import
    importlib.import_module("e3nn.o3")


@pytest.fixture
def e3nn_o3(float64: None) -> ModuleType:
    """e3nn.o3 with the default dtype float64, without which its Wigner D is good to 1e-6 only."""
    return pytest.importorskip("e3nn.o3")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20)
