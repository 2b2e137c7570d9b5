"""README and manual promise only what runs: commands parse, examples work, every name is there."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

import clebsch.cli as cli
from clebsch.train.config import load_config

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """(place, text) of every fenced block in this language."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{page.relative_to(ROOT)}:{line}", match[1]))
    return found


def commands() -> list[str]:
    lines = [line for _, text in blocks("sh") for line in text.splitlines()]
    words = [
        shlex.join(shlex.split(line.removeprefix(".venv/bin/"), comments=True)) for line in lines
    ]
    return sorted({line for line in words if line.startswith("clebsch ")})


@pytest.mark.parametrize("line", commands())
def test_command_is_accepted(line: str) -> None:
    command = typer.main.get_command(cli.app)
    context = command.make_context("clebsch", ["--help"], resilient_parsing=True)
    arguments = shlex.split(line)[1:]
    while isinstance(command, TyperGroup):
        name, command, arguments = command.resolve_command(context, arguments)
        context = command.make_context(name, arguments, parent=context)
        arguments = [*getattr(context, "_protected_args", []), *context.args]


@pytest.mark.parametrize(("place", "text"), blocks("yaml"))
def test_configuration_is_valid(place: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    load_config(path)


@pytest.mark.parametrize(("place", "text"), blocks("python"))
def test_example_runs(place: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    tree = ast.parse(text)  # each is at least Python
    if ".clebsch" in text:
        for node in ast.walk(tree):  # needs a trained model: the names must be there
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), place
        assert "clebsch.load" not in text or callable(importlib.import_module("clebsch").load)
        return
    if "import" not in text:
        pytest.skip("goes on from the example before it")
    exec(compile(text, place, "exec"), {})


def reference_pages() -> list[str]:
    return sorted(path.stem for path in (ROOT / "docs" / "reference").glob("*.md"))


@pytest.mark.parametrize("layer", reference_pages())
def test_reference_names_every_public_function(layer: str) -> None:
    """A function named as its module is taken for the module, so its page must name it."""
    module = importlib.import_module(f"clebsch.{layer}")
    page = (ROOT / "docs" / "reference" / f"{layer}.md").read_text()
    package = Path(module.__file__ or "").parent
    hidden = [name for name in module.__all__ if (package / f"{name}.py").exists()]
    missing = [n for n in hidden if f"::: clebsch.{layer}.{n}" not in page]
    assert not missing, f"docs/reference/{layer}.md needs '::: clebsch.{layer}.NAME' for {missing}"
