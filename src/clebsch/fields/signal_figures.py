"""Functions on the sphere as surfaces: as arrays, as a PNG, and to be turned in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clebsch.fields.spherical_signal import SphericalSignal

if TYPE_CHECKING:
    import plotly.graph_objects


def signal_surface(
    signal: SphericalSignal,
    center: Tensor | None = None,
    res: int = 100,
    radius: bool = True,
    relu: bool = False,
) -> tuple[Tensor, Tensor]:
    """A closed surface and the value at each of its points, e3nn's ``SphericalTensor.plot``.

    Args:
        signal: one signal, not a batch.
        center: (3,) where the surface stands.
        res: number of polar angles.
        radius: the distance from the centre is |f|; otherwise the surface is the unit sphere.
        relu: negative values count as 0.

    Returns:
        Points (n_beta, n_alpha + 1, 3) and values (n_beta, n_alpha + 1).

    Raises:
        ValueError: a batch of signals.

    >>> points, values = signal_surface(SphericalSignal(torch.ones(1)), res=10)
    >>> points.shape, values.shape
    (torch.Size([10, 10, 3]), torch.Size([10, 10]))
    """
    if signal.coefficients.dim() != 1:
        raise ValueError(
            f"one signal is drawn at a time, not coefficients {tuple(signal.coefficients.shape)}"
        )
    points, values = SphericalSignal(signal.coefficients.detach()).signal_on_grid(res)
    values = values.relu() if relu else values
    # the first and the last ring become the poles, the last angle is the first one again
    points, values = points.clone(), values.clone()
    pole = points.new_tensor([0.0, 1.0, 0.0])
    points[0], points[-1] = pole, -pole
    values[0], values[-1] = values[0].mean(), values[-1].mean()
    points = torch.cat([points, points[:, :1]], dim=1)
    values = torch.cat([values, values[:, :1]], dim=1)
    if radius:
        points = points * values.abs()[..., None]
    return (points if center is None else points + center.to(points)), values


def draw_signal(
    signal: SphericalSignal, path: Path | str, res: int = 100, radius: bool = True
) -> None:
    """A PNG (or what the name's ending says) of one signal; red is positive, blue negative.

    The axes are x, z and, upwards, y: the polar axis.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    from clebsch.figures import figure

    points, values = (t.cpu().double().numpy() for t in signal_surface(signal, None, res, radius))
    x, y, z = (points[..., i] for i in range(3))
    limit = max(abs(values).max(), 1e-300)
    colours = ScalarMappable(Normalize(-limit, limit), "RdBu_r")
    with figure(Path(path), 4.2, 3.6) as canvas:
        axes: Any = canvas.add_subplot(projection="3d")
        # z, x, y keeps the hand of the axes with y upwards
        axes.plot_surface(
            z, x, y, facecolors=colours.to_rgba(values), rstride=1, cstride=1, linewidth=0
        )
        reach = max(abs(points).max(), 1e-300)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
        axes.set(xlabel="z", ylabel="x", zlabel="y")
        axes.set_box_aspect((1, 1, 1))
        axes.locator_params(nbins=4)
        canvas.colorbar(colours, ax=axes, shrink=0.6, pad=0.16, label="f")


def plotly_signals(
    signals: SphericalSignal,
    centers: Tensor | None = None,
    res: int = 100,
    radius: bool = True,
    relu: bool = False,
) -> plotly.graph_objects.Figure:
    """A figure of one signal or of a batch, to be turned in a browser or a notebook.

    Args:
        centers: (number of signals, 3), where each stands; by default all at the origin.

    >>> figure = plotly_signals(SphericalSignal(torch.randn(2, 9)), 3 * torch.eye(3)[:2], res=20)
    >>> [trace.type for trace in figure.data]
    ['surface', 'surface']
    """
    import plotly.graph_objects as go

    coefficients = signals.coefficients.detach().reshape(-1, signals.coefficients.shape[-1])
    places = [None] * len(coefficients) if centers is None else centers.detach().reshape(-1, 3)
    if len(places) != len(coefficients):
        raise ValueError(f"{len(coefficients)} signals need as many centers, not {len(places)}")
    traces = []
    for row, center in zip(coefficients, places, strict=True):
        points, values = signal_surface(SphericalSignal(row), center, res, radius, relu)
        x, y, z = points.cpu().unbind(-1)
        traces.append(
            go.Surface(
                x=x.numpy(),
                y=y.numpy(),
                z=z.numpy(),
                surfacecolor=values.cpu().numpy(),
                colorscale="RdBu_r",
                cmid=0,
            )
        )
    return go.Figure(data=traces, layout={"scene": {"aspectmode": "data"}})
