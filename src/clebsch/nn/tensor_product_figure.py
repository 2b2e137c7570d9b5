"""Tensor products drawn: which blocks of x and y meet in which block of the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clebsch.ops import Specification

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from torch import Tensor

    from clebsch.o3 import Irreps

_X, _PATH, _Z = 0.0, 1.0, 2.0  # columns of the figure
_NAMED = 40  # paths whose modes can still be read


def draw(specification: Specification, path: Path | str, weights: Tensor | None = None) -> None:
    """Draw the paths of a tensor product into a file.

    Blocks of x stand on the left, those of the result on the right. Each path is a dot between
    them that carries its mode, and two lines. Their colour says the block of y (with more blocks
    than colours the dot names it too), dashes that there are no weights, and their width the root
    mean square of the path's weights where they are given.

    Args:
        specification: what is computed.
        path: file to write; its ending says the format (``.png``, ``.pdf``, ``.svg``).
        weights: (..., weight_numel), or none.

    Raises:
        ValueError: weights of a wrong shape.

    Example:
        >>> import tempfile
        >>> spec = Specification.convolution("8x0e + 8x1o", "0e + 1o", "0e + 1o")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw(spec, f"{folder}/convolution.png")
    """
    from clebsch.figures import figure  # whoever draws nothing needs no matplotlib

    spec = specification
    if weights is not None and weights.shape[-1:] != (spec.weight_numel,):
        raise ValueError(
            f"draw: weights are {tuple(weights.shape)}; they must be (..., {spec.weight_numel})"
        )
    of_paths = len(spec.paths) * (0.6 if len(spec.paths) <= _NAMED else 0.25)
    lines = max(len(spec.x), len(spec.z), of_paths, 4) + len(spec.y) / 5
    with figure(Path(path), 7.0, min(1.0 + 0.26 * lines, 60.0)) as canvas:
        _draw(canvas.add_subplot(), spec, weights)


def _draw(axes: Axes, spec: Specification, weights: Tensor | None) -> None:
    from clebsch.figures import COLOURS

    of_x, of_z = _heights(len(spec.x)), _heights(len(spec.z))
    # Paths in the order of their results, and there of x: few lines cross.
    order = sorted(
        range(len(spec.paths)), key=lambda n: (spec.paths[n].z, spec.paths[n].x, spec.paths[n].y)
    )
    of_path = dict(zip(order, _heights(len(order)), strict=True))
    widths = _widths(spec, weights)
    for n, path in enumerate(spec.paths):
        colour = COLOURS[path.y % len(COLOURS)]
        style = {"color": colour, "linewidth": widths[n]}
        style["linestyle"] = "-" if path.weighted else (0, (3, 1.5))
        for left, right, a, b in (
            (_X, _PATH, of_x[path.x], of_path[n]),
            (_PATH, _Z, of_path[n], of_z[path.z]),
        ):
            axes.plot(*_curve(left, right, a, b), zorder=1, **style)
        named = len(spec.paths) <= _NAMED
        name = (
            path.mode if len(spec.y) <= len(COLOURS) else f"{path.mode} {path.y}:{spec.y[path.y]}"
        )
        text = axes.text(
            _PATH, of_path[n], name if named else "", fontsize=6.5, color=colour,
            ha="center", va="center", zorder=3,
        )  # fmt: skip
        text.set_bbox({"facecolor": "white", "edgecolor": colour, "pad": 1.2, "linewidth": 0.6})
        if not named:
            text.set_visible(False)
            axes.plot(_PATH, of_path[n], ".", color=colour, markersize=3, zorder=3)
    for column, heights, irreps, side in (
        (_X, of_x, spec.x, "right"),
        (_Z, of_z, spec.z, "left"),
    ):
        shift = -0.04 if side == "right" else 0.04
        for height, block in zip(heights, irreps, strict=True):
            axes.plot(column, height, "o", color="#333333", markersize=4, zorder=3)
            axes.text(column + shift, height, f"{block}", ha=side, va="center")
    _legend(axes, spec.y)
    axes.set_xlim(-0.35, 2.35)
    axes.set_ylim(-0.06, 1.06)
    axes.set_title(f"{len(spec.paths)} paths, {spec.weight_numel} weights", pad=18)
    for column, name in ((_X, "x"), (_PATH, "path"), (_Z, "result")):
        axes.text(column, 1.05, name, ha="center", va="bottom", color="#666666", style="italic")
    axes.set_axis_off()


def _heights(count: int) -> NDArray[np.float64]:
    """From top to bottom, evenly."""
    return 1 - (np.arange(count) + 0.5) / max(count, 1)


def _widths(spec: Specification, weights: Tensor | None) -> list[float]:
    if weights is None:
        return [1.0] * len(spec.paths)
    sizes = [
        weights[..., place].detach().double().square().mean().sqrt().item()
        if place.stop > place.start and weights.numel()
        else 1.0
        for place in spec.weight_slices
    ]
    most = max(sizes, default=1.0)
    return [0.3 + 2.2 * size / most if most > 0 else 0.3 for size in sizes]


def _curve(
    left: float, right: float, a: float, b: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A line that leaves and arrives level."""
    t = np.linspace(0, 1, 40)
    return left + (right - left) * t, a + (b - a) * t * t * (3 - 2 * t)


def _legend(axes: Axes, y: Irreps) -> None:
    from matplotlib.lines import Line2D

    from clebsch.figures import COLOURS

    handles = [
        Line2D(
            [],
            [],
            color=COLOURS[n % len(COLOURS)],
            label=f"{n}:{block}" if len(y) > len(COLOURS) else f"{block}",
        )
        for n, block in enumerate(y)
    ]
    if handles:
        columns = min(len(handles), 5)
        axes.legend(
            handles=handles, title="y", loc="upper center", bbox_to_anchor=(0.5, -0.01),
            ncols=columns,
        )  # fmt: skip
