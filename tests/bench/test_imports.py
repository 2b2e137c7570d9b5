"""What the start of a program must not wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest


def modules_after(statement: str) -> set[str]:
    """Names of all modules that a fresh interpreter holds after the statement."""
    printed = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return set(printed.split())


def test_the_package_alone_imports_no_torch() -> None:
    assert not {"torch", "numpy"} & modules_after("import clebsch, clebsch.bench")


@pytest.mark.parametrize("heavy", ["torch._dynamo", "sympy", "scipy", "ase.io", "lightning"])
def test_models_import_nothing_heavy_besides_torch(heavy: str) -> None:
    assert heavy not in modules_after("from clebsch.models import Potential")
