"""A steerable voxel network learns the force density of charges on a periodic grid.

Charges rho on a grid push each other: with the screened potential (k^2 + kappa^2) phi = rho and
the field E = -grad phi, the force per volume is f = rho E, a vector field that is quadratic in
the charge and known exactly by Fourier transforms. A network of convolutions that commute with
rotations learns it from one box of six charges; beside it stands an ordinary network of
convolutions with sixty times as many weights. Test boxes are turned by 90 degrees too. Run it:

    python examples/networks/voxel_network.py [FOLDER]
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from clebsch.figures import COLOURS, figure
from clebsch.nn import FullyConnectedTensorProduct, VoxelConvolution
from clebsch.o3 import Irreps

VOXELS, STEP, SCREENING = 12, 0.5, 1.5  # a box of 6 x 6 x 6, decay length 1 / 1.5
TURN = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # x to y, y to -x
VECTOR = Irreps("1x1o")


def boxes(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Densities (n, 1, X, X, X) of six Gaussian charges each, and forces (n, 3, X, X, X)."""
    generator = torch.Generator().manual_seed(seed)
    line = torch.arange(VOXELS) * STEP
    grid = torch.stack(torch.meshgrid(line, line, line, indexing="ij"))
    centres = torch.rand(n, 6, 3, generator=generator) * VOXELS * STEP
    charges = torch.randint(2, (n, 6), generator=generator) * 2.0 - 1.0
    apart = grid[None, None] - centres[..., None, None, None]
    apart = (apart + VOXELS * STEP / 2) % (VOXELS * STEP) - VOXELS * STEP / 2
    rho = torch.einsum("nc,ncxyz->nxyz", charges, torch.exp(-apart.square().sum(2) / 0.98))
    k = 2 * torch.pi * torch.fft.fftfreq(VOXELS, STEP)
    k = torch.stack(torch.meshgrid(k, k, k, indexing="ij"))
    k[k.abs() > 0.99 * torch.pi / STEP] = 0.0  # the highest frequency has no sign
    potential = torch.fft.fftn(rho, dim=(1, 2, 3)) / (k.square().sum(0) + SCREENING**2)
    field = torch.fft.ifftn(-1j * k * potential[:, None], dim=(2, 3, 4)).real
    rho, force = rho[:, None], rho[:, None] * field
    return rho / 0.6, force / 0.04  # of order one


def turn(x: Tensor, vectors: bool) -> Tensor:
    """The fields x (n, dim, X, X, X) turned by ``TURN`` about the corner of the box."""
    x = x.transpose(2, 3)  # (x, y) comes from (y, -x)
    x = torch.cat([x[:, :, :1], x[:, :, 1:].flip(2)], dim=2)
    return torch.einsum("ij,njxyz->nixyz", VECTOR.D_from_matrix(TURN).to(x), x) if vectors else x


class SteerableNetwork(nn.Module):
    """A steerable convolution, and the tensor product of its fields and the charge to a vector.

    Shape: (n, 1, X, X, X) -> (n, 3, X, X, X).
    """

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        hidden = Irreps([(channels, (0, 1)), (channels, (1, -1))])
        self.spread = VoxelConvolution(
            "1x0e", Irreps.spherical_harmonics(1), hidden,
            diameter=4.5, n_basis=6, steps=(STEP,) * 3, periodic=True,
        )  # fmt: skip
        self.product = FullyConnectedTensorProduct(hidden + Irreps("1x0e"), hidden, "1x1o")

    def forward(self, rho: Tensor) -> Tensor:
        fields = self.spread(rho).movedim(1, -1).flatten(0, 3)
        fields_and_charge = torch.cat([fields, rho.reshape(-1, 1)], dim=1)
        out = self.product(fields_and_charge, fields)
        return out.unflatten(0, (rho.shape[0], *rho.shape[2:])).movedim(-1, 1)


class OrdinaryNetwork(nn.Module):
    """The same with kernels that know no rotation, and many more weights.

    Shape: (n, 1, X, X, X) -> (n, 3, X, X, X).
    """

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        periodic = {"padding": "same", "padding_mode": "circular"}
        self.layers = nn.Sequential(
            nn.Conv3d(1, channels, 5, **periodic), nn.SiLU(),
            nn.Conv3d(channels, channels, 5, **periodic), nn.SiLU(),
            nn.Conv3d(channels, 3, 1),
        )  # fmt: skip
        self.product = nn.Conv3d(channels, 3, 1)

    def forward(self, rho: Tensor) -> Tensor:
        hidden = self.layers[:4](rho)
        return self.layers[4](hidden) + rho * self.product(hidden)


@dataclass
class Result:
    """What a training gave, in shares of the force's own root mean square.

    Attributes:
        error: on boxes never seen.
        turned: on the same boxes turned by 90 degrees.
        broken: difference of the turned result and the result for turned charges.
        weights: number of them.
        seconds: of training.
        slice: forces (2, X, X) of the network in one plane of the first test box, and true ones.
    """

    error: float
    turned: float
    broken: float
    weights: int
    seconds: float
    slice: tuple[Tensor, Tensor]


def train(
    kind: type[nn.Module], steps: int = 150, boxes_given: int = 1, rate: float = 0.1, seed: int = 0
) -> Result:
    """Train on one box or a few, test on eight others and on these turned."""
    torch.manual_seed(seed)
    model, name = kind(), kind.__name__
    given, unseen = boxes(boxes_given, seed), boxes(8, seed + 1000)
    optimiser = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    start = time.perf_counter()
    for step in range(steps):
        some = torch.arange(2 * step, 2 * step + min(2, boxes_given)) % boxes_given
        loss = (model(given[0][some]) - given[1][some]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 10 == 9:
            print(f"\r{name}: step {step + 1}/{steps}, loss {loss:.4f}", end="", flush=True)
    print()
    seconds = time.perf_counter() - start
    rho, force = unseen
    with torch.no_grad():
        out, out_turned = model(rho), model(turn(rho, vectors=False))
    after, scale = turn(out, vectors=True), float(force.norm())
    plane = int(force[0].square().sum((0, 1, 2)).argmax())
    return Result(
        float((out - force).norm()) / scale,
        float((out_turned - turn(force, vectors=True)).norm()) / scale,
        float((out_turned - after).norm()) / scale,
        sum(p.numel() for p in model.parameters()),
        seconds,
        (out[0, :2, :, :, plane], force[0, :2, :, :, plane]),
    )


def main(folder: Path, steps: int = 150) -> tuple[Result, Result]:
    """Train both networks; ``voxel_network.png`` in folder."""
    results = (
        train(SteerableNetwork, steps),
        train(OrdinaryNetwork, 2 * steps, rate=0.01),
    )
    names = "steerable", "ordinary"
    for name, result in zip(names, results, strict=True):
        print(
            f"{name}: error {100 * result.error:.1f} % of the force, {100 * result.turned:.1f} % "
            f"on turned boxes; turning before and after differ by {100 * result.broken:.1g} %; "
            f"{result.weights} weights, {result.seconds:.0f} s"
        )
    with figure(folder / "voxel_network.png", 9.5, 3.2) as canvas:
        bars, *planes = canvas.subplots(1, 3, width_ratios=[0.9, 1, 1])
        place = torch.arange(2.0)
        for shift, label, colour in ((-0.2, "error", COLOURS[0]), (0.2, "turned", COLOURS[1])):
            values = [100 * getattr(result, label) for result in results]
            label = "boxes never seen" if label == "error" else "the same, turned by 90°"
            bars.bar(place + shift, values, 0.38, label=label, color=colour)
        bars.set_xticks(place, names)
        bars.set(ylabel="error (% of the force)", title="force density")
        bars.set_ylim(top=140 * max(result.turned for result in results))
        bars.legend(loc="upper left")
        line = torch.arange(VOXELS) * STEP
        for axes, name, result in zip(planes, names, results, strict=True):
            for forces, colour, width in zip(
                reversed(result.slice), ("0.6", COLOURS[0]), (0.016, 0.007), strict=True
            ):
                fx, fy = forces
                axes.quiver(
                    line, line, fx.T, fy.T, color=colour, width=width,
                    scale=8 * float(result.slice[1].norm(dim=0).max()),
                )  # fmt: skip
            axes.set(xlabel="x", ylabel="y", title=f"{name} (blue) on the truth (grey)")
            axes.set_aspect("equal")
            axes.grid(False)
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
