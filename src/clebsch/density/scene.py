"""What a picture of a density shows: a structure with surfaces, however it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from ase.data import chemical_symbols
from ase.formula import Formula
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from clebsch.density.ball_and_stick import bonds
from clebsch.density.electron_density import ElectronDensity
from clebsch.density.isosurface import Surface, enclosing_level, field_of
from clebsch.errors import UserError
from clebsch.figures import COLOURS

#: electrons/Å^3, where the shapes of molecules show.
DENSITY_LEVEL = 0.3
#: 0.002 electrons/bohr^3, the usual surface of a molecule (R. F. W. Bader et al., J. Am. Chem. Soc.
#: 109, 7968 (1987)).
SURFACE_LEVEL = 0.0135

MORE, LESS = COLOURS[0], COLOURS[1]


@dataclass(frozen=True)
class Layer:
    """A surface in a picture.

    Attributes:
        surface: with ``values``, in V, where it is coloured by a potential.
        label: what it is, with its level.
        colour: where it has one.
        opacity: 0 to 1.
    """

    surface: Surface
    label: str
    colour: str
    opacity: float


@dataclass(frozen=True)
class Scene:
    """A structure and surfaces.

    Attributes:
        numbers, positions: (N,) and (N, 3) Å, of the atoms that are drawn.
        cell: (3, 3), Å, or None.
        layers: the surfaces.
        title: of the picture.
        limit: V, the end of the potential's colours, or None.
    """

    numbers: npt.NDArray[np.int64]
    positions: npt.NDArray[np.float64]
    cell: npt.NDArray[np.float64] | None
    layers: Sequence[Layer]
    title: str
    limit: float | None = None


def density_scene(
    density: ElectronDensity, level: float | None = None, spacing: float | None = None
) -> Scene:
    """The surface on which a density has one value.

    Args:
        level: electrons/Å^3; default 0.3.
        spacing: of the points in between, Å.

    Raises:
        UserError: no surface at this level.
    """
    level = _positive(DENSITY_LEVEL if level is None else level)
    surface = field_of(density, None, spacing, level).surface(level)
    layer = Layer(surface, f"{level:g} electrons/Å³", COLOURS[0], 0.35)
    return _scene(density, [layer], f"Electron density of {_formula(density)}")


def difference_scene(
    density: ElectronDensity,
    reference: ElectronDensity,
    level: float | None = None,
    spacing: float | None = None,
    title: str = "Density difference",
) -> Scene:
    """Where a density is larger than a reference, and where it is smaller, by one value.

    Args:
        level: electrons/Å^3; by default half of the integral of the absolute difference lies
            beyond, so that errors of any size can be seen.
        spacing: of the points in between, Å.
        title: what the difference is; the formula is added.

    Raises:
        UserError: no surface at this level, or no difference at all.
    """
    field = field_of(density, reference, spacing, 0.0 if level is None else _positive(level))
    level = enclosing_level(field.values) if level is None else level
    if level == 0:
        raise UserError("the two densities are the same everywhere; there is nothing to draw.")
    layers = []
    for sign, colour, word in ((1.0, MORE, "+"), (-1.0, LESS, "−")):
        reached = (sign * field.values).max() > level
        if reached:
            surface = field.surface(sign * level)
            layers.append(Layer(surface, f"{word}{level:g} electrons/Å³", colour, 0.55))
    if not layers:
        raise UserError(
            f"there is no surface at ±{level:g} electrons/Å^3: the difference is at most "
            f"{abs(field.values).max():.2g}; choose a smaller level."
        )
    return _scene(density, layers, f"{title} of {_formula(density)}")


def potential_scene(
    density: ElectronDensity,
    level: float | None = None,
    spacing: float | None = None,
    limit: float | None = None,
) -> Scene:
    """The electrostatic potential on a surface of the density.

    Args:
        level: of the density, electrons/Å^3; default 0.0135, 0.002 electrons/bohr^3.
        spacing: of the points in between, Å.
        limit: V, where the colours end; default the largest value but for 1 % of the surface.

    Raises:
        UserError: no surface at this level.
    """
    level = _positive(SURFACE_LEVEL if level is None else level)
    field = field_of(density, None, spacing, level)
    surface = field.surface(level)
    points = torch.from_numpy(surface.vertices)
    order = torch.from_numpy(_by_neighbourhood(surface.vertices))
    values = np.empty(len(points))
    with torch.no_grad():
        values[order] = density.potential(points[order]).cpu().numpy()
    if limit is None:
        limit = float(f"{np.quantile(np.abs(values), 0.99):.2g}")
    layer = Layer(replace(surface, values=values), f"at {level:g} electrons/Å³", "", 0.6)
    scene = _scene(density, [layer], f"Electrostatic potential of {_formula(density)}")
    return replace(scene, limit=max(limit, 1e-6))


def _by_neighbourhood(points: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """An order in which points near each other in space are near each other."""
    places = np.floor((points - points.min(0)) / 2.5).astype(np.int64)
    return np.lexsort(places.T)


def _positive(level: float) -> float:
    if not level > 0:
        raise UserError(f"the level of a surface must be positive, not {level:g} electrons/Å^3.")
    return level


def _formula(density: ElectronDensity) -> str:
    """``"8 H₂O"``: of equal molecules their number and formula, else the whole formula."""
    numbers = density.numbers.cpu().numpy()
    whole = _hill(numbers)
    if density.cell is not None or len(numbers) == 0:
        return whole
    pairs = bonds(numbers, density.positions.detach().double().cpu().numpy())
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(numbers), len(numbers)))
    count, owner = connected_components(graph, directed=False)
    names = {_hill(numbers[owner == i]) for i in range(count)}
    return f"{count} {names.pop()}" if count > 1 and len(names) == 1 else whole


def _hill(numbers: npt.NDArray[np.int64]) -> str:
    formula = Formula("".join(chemical_symbols[z] for z in numbers)).format("hill")
    return formula.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _scene(density: ElectronDensity, layers: list[Layer], title: str) -> Scene:
    numbers = density.numbers.cpu().numpy()
    positions = density.positions.detach().double().cpu().numpy()
    if density.cell is None:
        return Scene(numbers, positions, None, layers, title)
    cell = density.cell.detach().double().cpu().numpy()
    fractional = positions @ np.linalg.inv(cell)
    fractional -= np.floor(fractional + 1e-6)
    every_z, every = [], []
    for z, f in zip(numbers, fractional, strict=True):
        # an atom on a face is drawn on the opposite one too
        ends = [(0, 1) if abs(x) < 1e-3 else (0,) for x in f]
        for shift in np.array(np.meshgrid(*ends)).reshape(3, -1).T:
            every_z.append(z)
            every.append((f + shift) @ cell)
    return Scene(np.array(every_z), np.array(every).reshape(-1, 3), cell, layers, title)
