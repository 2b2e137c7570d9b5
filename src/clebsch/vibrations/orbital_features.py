"""What a network knows of an atom, drawn as orbitals; they obey the symmetry of the atom's site.

A feature of degree l is a function on the sphere around its atom. The network is equivariant, so
an operation of the crystal that leaves the atom in place leaves the function as it is: whatever
the weights, trained or not, a feature may only have what the site's point group leaves invariant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from torch import Tensor

from clebsch.errors import UserError
from clebsch.fields import SphericalSignal
from clebsch.fields.signal_figures import signal_surface
from clebsch.models.dos import DosNetwork, PhononDosModel
from clebsch.o3 import Irrep, Irreps
from clebsch.ops import Edges
from clebsch.structures.graph import AtomGraph
from clebsch.structures.space_group import site_symmetries

if TYPE_CHECKING:
    import plotly.graph_objects


@dataclass(frozen=True)
class OrbitalFeatures:
    """Features of one layer on the atoms of one crystal.

    Attributes:
        atoms: the crystal.
        layer: 0 is the input, l the l-th layer.
        irreps: of the features; degree l has parity (-1)^l, as a function on the sphere does.
        values: (N, irreps.dim), ``ir_mul``.
    """

    atoms: Atoms
    layer: int
    irreps: Irreps
    values: Tensor

    @property
    def degrees(self) -> list[int]:
        """Degrees that the layer has."""
        return [ir.l for _, ir in self.irreps]

    @property
    def channels(self) -> int:
        """Functions on each atom."""
        return min(mul for mul, _ in self.irreps)

    def of_degree(self, l: int) -> Tensor:
        """(N, 2l + 1, channels) of the degree ``l``; no channels where the layer lacks it."""
        for (mul, ir), part in zip(self.irreps, self.irreps.slices(), strict=True):
            if ir.l == l:
                return self.values[:, part].unflatten(-1, (ir.dim, mul))
        return self.values.new_zeros(len(self.values), 2 * l + 1, 0)

    def signals(self, channel: int, least_degree: int = 1) -> SphericalSignal:
        """One function on the sphere for every atom, of the degrees from ``least_degree`` on.

        Raises:
            UserError: a channel that is not there.
        """
        if not 0 <= channel < self.channels:
            raise UserError(
                f"layer {self.layer} has channels 0 to {self.channels - 1}, not {channel}"
            )
        blocks = []
        for l in range(max(self.degrees) + 1):
            block = self.of_degree(l)
            there = l >= least_degree and block.shape[-1] > 0
            blocks.append(block[..., channel] if there else block.new_zeros(len(block), 2 * l + 1))
        return SphericalSignal(torch.cat(blocks, dim=-1))

    def liveliest_channel(self) -> int:
        """The channel with the largest part above degree 0, relative to its scalars."""
        high = sum(
            (self.of_degree(l)[..., : self.channels] ** 2).sum((0, 1)) for l in self.degrees if l
        )
        if not isinstance(high, Tensor):
            return 0
        low = (self.of_degree(0)[..., : self.channels] ** 2).sum((0, 1))
        return int((high / (low + low.mean() + 1e-30)).argmax())


@dataclass(frozen=True)
class SiteRow:
    """One orbit of atoms: what its symmetry allows and what the features are.

    Attributes:
        atom: the first atom of the orbit.
        element, wyckoff, symbol: of the site; ``order`` operations.
        allowed: (lmax + 1,) times that the trivial irrep is in degree l: as many independent
            functions on the sphere are invariant.
        violation: largest change of any feature under any operation of the site, relative to the
            largest feature of the layer.
        rms: root mean square of the features of each degree of the layer.
        rank: dimension of the space that the channels of each degree span; at most ``allowed``.
        equivalents: largest difference of the lengths of features between the atoms of the
            orbit, relative.
    """

    atom: int
    element: str
    wyckoff: str
    symbol: str
    order: int
    allowed: tuple[int, ...]
    violation: float
    rms: dict[int, float]
    rank: dict[int, int]
    equivalents: float

    @property
    def forced(self) -> list[int]:
        """Degrees of the layer that symmetry forces to zero."""
        return [l for l in self.rms if self.allowed[l] == 0]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "forced_to_zero": self.forced}


def orbital_features(
    model: PhononDosModel, atoms: Atoms, layer: int = 1, member: int = 0
) -> OrbitalFeatures:
    """Features of a layer.

    The geometry is taken in double precision, the network in its own.

    Args:
        model: a network for the phonon density of states.
        atoms: a crystal.
        layer: 0 is the input; the last has scalars only.
        member: network of an ensemble.

    Raises:
        UserError: a layer or network that the model has not, or an element it does not know.
    """
    if not 0 <= layer <= model.config.layers:
        raise UserError(f"the model has the layers 0 to {model.config.layers}, not {layer}")
    if not 0 <= member < len(model.members):
        count = len(model.members)
        known = "one network, 0" if count == 1 else f"the networks 0 to {count - 1}"
        raise UserError(f"the model has {known}, not {member}")
    net = model.members[member]
    assert isinstance(net, DosNetwork)
    graph = AtomGraph.from_atoms(atoms, model.cutoff, torch.float64)
    composition = model.composition(graph.numbers)
    described = composition @ model._descriptors.to(composition)
    edges = Edges(graph.src, graph.dst, graph.n_atoms)
    with torch.no_grad():
        found = net.features(composition, described, graph.vectors().to(model.dtype), edges)
    layer_irreps = [Irreps([(model.config.channels, Irrep(0, 1))])]
    layer_irreps += [one.irreps_out for one in net.layers]  # type: ignore[misc]
    return OrbitalFeatures(atoms, layer, layer_irreps[layer], found[layer])


def allowed_functions(rotations: np.ndarray, lmax: int) -> tuple[int, ...]:
    """How many functions of each degree 0..lmax a point group leaves invariant.

    The multiplicity of the trivial irrep: the mean of the characters of D^l, of parity (-1)^l.

    Args:
        rotations: (n, 3, 3), the whole group.

    >>> inversion = np.stack([np.eye(3), -np.eye(3)])
    >>> allowed_functions(inversion, 4)
    (1, 0, 5, 0, 9)
    """
    R = torch.from_numpy(np.ascontiguousarray(rotations)).double()
    counts = []
    for l in range(lmax + 1):
        D = Irreps([(1, Irrep(l, (-1) ** l))]).D_from_matrix(R)
        counts.append(round(float(D.diagonal(dim1=-2, dim2=-1).sum(-1).mean())))
    return tuple(counts)


def site_table(features: OrbitalFeatures, lmax: int = 4) -> list[SiteRow]:
    """Every orbit of the crystal: allowed by its symmetry, and found in the features.

    Args:
        features: of a crystal whose cell and positions have their symmetry exactly, as
            `clebsch.vibrations.symmetrised_cell.symmetrised` gives it; otherwise ``violation`` is
            that of the structure.
        lmax: degrees for which ``allowed`` is given, at least those of the layer.

    Raises:
        UserError: spglib finds no space group.
    """
    rows = []
    scale = float(features.values.abs().max().clamp(min=1e-30))
    for site in site_symmetries(features.atoms):
        R = torch.from_numpy(site.rotations)  # in double: what is measured are the features
        same = torch.tensor(site.equivalent)
        violation, spread = 0.0, 0.0
        rms, rank = {}, {}
        for l in features.degrees:
            D = Irreps([(1, Irrep(l, (-1) ** l))]).D_from_matrix(R)
            block = features.of_degree(l).cpu()
            x = block[site.atom].double()
            violation = max(violation, float((D @ x - x).abs().max()) / scale)
            rms[l] = float(x.square().mean().sqrt())
            singular = torch.linalg.svdvals(x)
            rank[l] = int((singular > 1e-5 * scale).sum())
            lengths = torch.linalg.vector_norm(block[same], dim=1)
            spread = max(spread, float((lengths - lengths[:1]).abs().max()) / scale)
        rows.append(
            SiteRow(
                site.atom,
                site.element,
                site.wyckoff,
                site.symbol,
                len(site.rotations),
                allowed_functions(site.rotations, max(lmax, *features.degrees)),
                violation,
                rms,
                rank,
                spread,
            )
        )
    return rows


def draw_orbitals(
    features: OrbitalFeatures, path: Path, channel: int | None = None, title: str = ""
) -> None:
    """A PNG of the parts above degree 0 on the atoms of the cell; red positive, blue negative.

    One scale for all atoms: what symmetry forbids is not there, and a dot stands for its atom.
    """
    import matplotlib

    from clebsch.figures import figure

    surfaces, places = _surfaces(features, channel, 61)
    with figure(path, 5.4, 5.0) as canvas:
        axes: Any = canvas.add_subplot(projection="3d", computed_zorder=False)
        colours = matplotlib.colormaps["RdBu_r"]
        for line in _cell_lines(features.atoms):
            axes.plot(*line.T, color="#888888", lw=0.7, zorder=0)
        far = max(1e-9, max((float(abs(v).max()) for _, v in surfaces), default=1.0))
        view = np.array([0.78, -0.55, 0.30])  # from behind to the front
        order = np.argsort([float(place @ view) for place, _ in places])
        for rank, i in enumerate(order):
            place, number = places[i]
            points, values = surfaces[i]
            axes.scatter(
                *place[:, None], s=120 * covalent_radii[number], color=jmol_colors[number],
                edgecolors="#444444", lw=0.5, zorder=2 * rank + 1, depthshade=False,
            )  # fmt: skip
            if abs(values).max() > 1e-3 * far:
                axes.plot_surface(
                    *points.transpose(2, 0, 1), lw=0, rstride=1, cstride=1,
                    facecolors=colours(0.5 + 0.5 * values / far), zorder=2 * rank + 2,
                )  # fmt: skip
        axes.set_axis_off()
        everything = _cell_lines(features.atoms).reshape(-1, 3)
        low, high = everything.min(0) - 0.8, everything.max(0) + 0.8
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        axes.set_box_aspect(high - low, zoom=1.25)
        axes.view_init(elev=18, azim=-35)
        axes.set_title(title or str(features.atoms.symbols))


def plotly_orbitals(
    features: OrbitalFeatures, channel: int | None = None
) -> plotly.graph_objects.Figure:
    """The same to be turned in a browser: ``figure.write_html(path)``."""
    import plotly.graph_objects as go

    surfaces, places = _surfaces(features, channel, 31)
    far = max(1e-9, max((float(abs(v).max()) for _, v in surfaces), default=1.0))
    traces: list[Any] = []
    for line in _cell_lines(features.atoms):
        traces.append(go.Scatter3d(**_xyz(line), mode="lines", line={"color": "#888888"}))
    at = np.array([place for place, _ in places])
    numbers = np.array([number for _, number in places])
    colours = (255 * jmol_colors[numbers]).astype(int).tolist()
    marker = {
        "size": (12 * covalent_radii[numbers]).tolist(),
        "color": [f"rgb({r},{g},{b})" for r, g, b in colours],
    }
    traces.append(go.Scatter3d(**_xyz(at), mode="markers", marker=marker))
    colour = {"colorscale": "RdBu_r", "cmin": -far, "cmax": far, "showscale": False}
    for points, values in surfaces:
        if abs(values).max() > 1e-3 * far:
            traces.append(go.Surface(**_xyz(points), surfacecolor=values, **colour))
    hidden = {axis: {"visible": False} for axis in ("xaxis", "yaxis", "zaxis")}
    return go.Figure(
        data=traces,
        layout={"scene": {"aspectmode": "data", **hidden}, "showlegend": False},
    )


def _xyz(points: np.ndarray) -> dict[str, np.ndarray]:
    return {axis: points[..., k] for k, axis in enumerate("xyz")}


Place = tuple[np.ndarray, int]


def _surfaces(
    features: OrbitalFeatures, channel: int | None, res: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[Place]]:
    """Surface and values of every atom that is drawn, images on the cell's faces included."""
    channel = features.liveliest_channel() if channel is None else channel
    signals = SphericalSignal(features.signals(channel).coefficients.double().cpu())
    drawn = [
        signal_surface(SphericalSignal(row), None, res) for row in signals.coefficients.unbind(0)
    ]
    atoms = features.atoms
    # the largest lobe reaches 0.45 of the shortest distance
    distances = atoms.get_all_distances(mic=True) if len(atoms) > 1 else np.zeros((1, 1))
    least = min(
        distances[distances > 1e-6].min(initial=np.inf), np.linalg.norm(atoms.cell, axis=1).min()
    )
    largest = max(float(values.abs().max()) for _, values in drawn)
    factor = 0.45 * least / max(largest, 1e-30)
    visible = largest > 1e-6 * float(features.values.abs().max())
    surfaces, places = [], []
    for i, scaled in enumerate(atoms.get_scaled_positions()):
        points, values = (t.numpy() for t in drawn[i])
        for shift in _images(scaled):
            place = (scaled % 1 + shift) @ atoms.cell.array
            surfaces.append((points * factor + place, values if visible else 0 * values))
            places.append((place, int(atoms.numbers[i])))
    return surfaces, places


def _images(scaled: np.ndarray) -> list[np.ndarray]:
    """Shifts that show an atom on a face of the cell on the opposite one too."""
    choices: list[Sequence[float]] = []
    for x in scaled:
        near = min(x % 1, 1 - x % 1) < 1e-3
        choices.append(((0.0, 1.0) if x % 1 < 0.5 else (-1.0, 0.0)) if near else (0.0,))
    return [np.array([a, b, c]) for a in choices[0] for b in choices[1] for c in choices[2]]


def _cell_lines(atoms: Atoms) -> np.ndarray:
    """(12, 2, 3) edges of the cell."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    pairs = [(a, b) for a in range(8) for b in range(a) if abs(corners[a] - corners[b]).sum() == 1]
    return np.array([[corners[a], corners[b]] for a, b in pairs]) @ atoms.cell.array
