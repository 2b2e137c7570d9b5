"""Speed and memory beside the peer that a user would take instead: ``clebsch bench NAME``.

``run(name, settings, folder)`` measures, writes ``NAME.json`` and ``NAME.png``, and returns the
content. Nothing here imports torch; the two sides live in processes of their own.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from clebsch.errors import UserError
from clebsch.machine import cache_folder

if TYPE_CHECKING:
    from clebsch.bench.settings import Content, Settings

NAMES = ("operator", "model", "build", "framework", "density")

__all__ = ["NAMES", "check_name", "run"]


def check_name(name: str) -> None:
    """Raises UserError for a benchmark that there is not."""
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(NAMES)}."
        raise UserError(f"{name}: no such benchmark; {hint}")


def run(name: str, settings: Settings, folder: Path) -> Content:
    """Run a benchmark and write its result and figure.

    Args:
        name: one of ``NAMES``.
        settings: how.
        folder: of ``NAME.json`` and ``NAME.png``, each written whole or not at all.

    Raises:
        UserError: no such benchmark, or a place that cannot be written.
    """
    check_name(name)
    from clebsch.bench import build, density, framework, model, operator
    from clebsch.bench.report import draw
    from clebsch.bench.result import write

    if name == "operator":
        content = operator.run(settings)
    elif name == "model":
        content = model.run(settings, compiled_folder=cache_folder() / "bench")
    elif name == "framework":
        content = framework.run(settings)
    elif name == "density":
        content = density.run(settings)
    else:
        content = build.run(settings)
    write(folder / f"{name}.json", content)
    draw(name, content, folder / f"{name}.png")
    return content
