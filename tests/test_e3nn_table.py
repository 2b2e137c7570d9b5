"""docs/e3nn.md: every public name of e3nn has a row, and every row holds what it promises."""

from __future__ import annotations

import ast
import importlib
import re
import types
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "e3nn.md"

#: Modules that say what is public, and those whose own definitions are.
DECLARED = ("e3nn.o3", "e3nn.o3.experimental", "e3nn.nn", "e3nn.math", "e3nn.io")
OWN = (
    "e3nn.math.perm",
    "e3nn.util.test",
    "e3nn.nn.models.v2106.points_convolution",
    "e3nn.nn.models.v2106.gate_points_message_passing",
    "e3nn.nn.models.v2106.gate_points_networks",
    "e3nn.nn.models.v2104.voxel_convolution",
)
CLASSES = (
    "e3nn.o3.Irrep",
    "e3nn.o3.Irreps",
    "e3nn.o3.TensorProduct",
    "e3nn.io.CartesianTensor",
    "e3nn.io.SphericalTensor",
)
#: Members of every tuple, and of modules.
INHERITED = {"count", "index", "forward"}


def rows() -> list[tuple[str, list[str]]]:
    """(heading, cells) of every row of the tables."""
    found, heading, inside = [], "", False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("### "):
            heading = line.removeprefix("### ").strip()
        elif line.startswith("| e3nn |"):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("| ---"):
            cells = [c.strip() for c in line.strip().removeprefix("|").removesuffix("|").split("|")]
            found.append((heading, cells))
    return found


ROWS = rows()


def public_names(module: str) -> set[str]:
    """What a user of e3nn sees in this module or class."""
    if module in CLASSES:
        owner, _, name = module.rpartition(".")
        owned = vars(getattr(importlib.import_module(owner), name))
        return {n for n in owned if not n.startswith("_")} - INHERITED - _annotated(owned)
    found = importlib.import_module(module)
    if module in DECLARED:
        return {getattr(n, "__name__", n) for n in found.__all__}
    return {
        name
        for name, value in vars(found).items()
        if not name.startswith("_")
        and name != "test"
        and not name.startswith("test_")
        and not isinstance(value, types.ModuleType)
        and (getattr(value, "__module__", None) == module or name == "FLOAT_TOLERANCE")
    }


def _annotated(owned: Any) -> set[str]:
    """Fields that TorchScript needs: no methods and no properties."""
    return {n for n, v in owned.items() if not callable(v) and not hasattr(v, "__get__")}


@pytest.mark.parametrize("module", [*DECLARED, *OWN, *CLASSES])
@pytest.mark.filterwarnings("ignore")
def test_every_public_name_has_a_row(module: str) -> None:
    pytest.importorskip("e3nn")
    wanted = public_names(module)
    assert wanted
    have = {cells[0].strip("`") for heading, cells in ROWS if heading == module}
    assert not wanted - have, f"docs/e3nn.md has no row of {module} for {sorted(wanted - have)}"
    assert not have - wanted, f"e3nn has no {sorted(have - wanted)} in {module}"


def test_no_row_is_empty_or_twice() -> None:
    assert len(ROWS) > 150
    for heading, cells in ROWS:
        assert len(cells) == 4, f"{heading}: {cells}"
        assert all(cells), f"{heading}: an empty cell in {cells}"
        assert not {"?", "TODO", "-"} & set(cells), f"{heading}: {cells}"
    keys = [(heading, cells[0]) for heading, cells in ROWS]
    assert len(keys) == len(set(keys))


OURS = sorted({cells[1].strip("`") for _, cells in ROWS})


@pytest.mark.parametrize("name", OURS)
def test_our_name_is_there(name: str) -> None:
    if name.startswith("examples/"):
        path, _, member = name.partition("::")
        assert member in _definitions(ROOT / path)
        return
    assert name.split(".")[0] in ("clebsch", "torch")
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return
    raise AssertionError(name)


@pytest.mark.parametrize("test", sorted({cells[3].strip("`") for _, cells in ROWS}))
def test_the_test_is_there(test: str) -> None:
    path, _, name = test.partition("::")
    assert re.fullmatch(r"test_\w+", name), test
    assert name in _definitions(ROOT / path), f"{path} has no {name}"


@cache
def _definitions(path: Path) -> frozenset[str]:
    """Functions and classes of a file, found without running it."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))
