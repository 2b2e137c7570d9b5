"""A tensor field network tells the eight pieces of 3D Tetris apart, mirror images too.

Thomas et al., Tensor field networks (2018), section 5.1. Trained on each piece in one
orientation, it is tested on random ones. Two pieces are mirror images: a network of distances
cannot tell them apart, nor can one of even and odd parity without an odd scalar to say which is
which. Run it:

    python examples/networks/tensor_field_network.py [FOLDER]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from torch import Tensor, nn

from clebsch.figures import COLOURS, figure
from clebsch.nn import BesselBasis, Convolution, Gate, Linear
from clebsch.o3 import Irreps, rand_matrix, spherical_harmonics
from clebsch.ops import Edges
from clebsch.structures import AtomGraph, collate

PIECES = {
    "chiral": [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 1, 0)],
    "mirror": [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, -1, 0)],
    "square": [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)],
    "line": [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)],
    "corner": [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)],
    "L": [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)],
    "T": [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 1)],
    "zigzag": [(0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 1, 0)],
}
CUTOFF = 2.5  # far enough that distances tell all pieces apart but mirror images


class TensorFieldNetwork(nn.Module):
    """Two convolutions with gates, then numbers of the whole piece.

    Args:
        lmax: highest degree of features and harmonics; 0 is a network of distances.

    Shape: a batch of G pieces -> (G, 8) logits.
    """

    def __init__(self, lmax: int = 2, channels: int = 8) -> None:
        super().__init__()
        self.harmonics = Irreps.spherical_harmonics(lmax)
        self.basis = BesselBasis(4)
        blocks = [(channels, (l, p)) for l in range(lmax + 1) for p in (1, -1)]
        hidden = Irreps(blocks if lmax else [(channels, (0, 1))])
        # One odd scalar tells a piece from its mirror image: it turns its sign.
        out = Irreps("7x0e + 1x0o" if lmax else "7x0e")
        layers, irreps = [], Irreps("1x0e")
        for _ in range(2):
            filled = {ir for _, a in irreps for _, b in self.harmonics for ir in a * b}
            gate = Gate(Irreps([(mul, ir) for mul, ir in hidden if ir in filled]))
            layers.append(
                nn.ModuleList(
                    [
                        Convolution(
                            irreps, self.harmonics, gate.irreps_in,
                            radial=[4, 16], mean_neighbours=3,
                        ),
                        Linear(irreps, gate.irreps_in),
                        gate,
                    ]
                )
            )  # fmt: skip
            irreps = gate.irreps_out
        self.layers = nn.ModuleList(layers)
        self.readout = Convolution(irreps, self.harmonics, out, radial=[4, 16], mean_neighbours=3)

    def forward(self, pieces: AtomGraph) -> Tensor:
        vectors = pieces.vectors()
        y = spherical_harmonics(self.harmonics, vectors)
        basis = self.basis(torch.linalg.vector_norm(vectors, dim=-1) / CUTOFF)
        edges = Edges(pieces.src, pieces.dst, pieces.n_atoms)
        x = vectors.new_ones(pieces.n_atoms, 1)
        for convolution, own, gate in self.layers:
            x = gate(convolution(x, y, basis, edges) + own(x))
        x = self.readout(x, y, basis, edges)
        total = x.new_zeros(pieces.n_graphs, x.shape[1]).index_add(0, pieces.batch, x) / 2
        pair, rest = total[:, :1], total[:, 1:7]
        sign = total[:, 7:] if total.shape[1] == 8 else torch.zeros_like(pair)
        return torch.cat([pair + sign, pair - sign, rest], dim=1)


def pieces(rotations: Tensor) -> AtomGraph:
    """The eight pieces, each turned by one of the rotations (8, 3, 3)."""
    return collate(
        [
            AtomGraph.from_atoms(Atoms("H4", np.array(blocks) @ turn.numpy().T), CUTOFF)
            for blocks, turn in zip(PIECES.values(), rotations.double(), strict=True)
        ]
    )


@dataclass
class Result:
    """What a training gave.

    Attributes:
        losses: after each step.
        accuracy: share of correct answers on turned pieces.
        confusion: (8, 8), rows are pieces, columns answers, from 0 to 1.
    """

    losses: list[float]
    accuracy: float
    confusion: Tensor


def train(lmax: int = 2, steps: int = 100, turns: int = 20, seed: int = 0) -> Result:
    """Train on the eight pieces as listed, test on ``turns`` random orientations of each."""
    torch.manual_seed(seed)
    model, truth, losses = TensorFieldNetwork(lmax), torch.arange(8), []
    given = pieces(torch.eye(3).expand(8, 3, 3))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(steps):
        loss = nn.functional.cross_entropy(model(given), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if step % 20 == 19:
            print(f"\rlmax {lmax}: step {step + 1}, loss {losses[-1]:.4f}", end="", flush=True)
    print()
    confusion = torch.zeros(8, 8)
    with torch.no_grad():
        for _ in range(turns):
            confusion[truth, model(pieces(rand_matrix(8))).argmax(1)] += 1 / turns
    return Result(losses, confusion.diagonal().mean().item(), confusion)


def main(folder: Path) -> tuple[Result, Result]:
    """Train the network and its baseline of distances; ``tensor_field_network.png`` in folder."""
    results = train(lmax=2), train(lmax=0, steps=300)
    names = "tensor field network", "distances only"
    for name, result in zip(names, results, strict=True):
        print(f"{name}: {100 * result.accuracy:.1f} % of randomly turned pieces are recognised")
    with figure(folder / "tensor_field_network.png", 9.5, 3.4) as canvas:
        left, *right = canvas.subplots(1, 3, width_ratios=[1.1, 1, 1])
        for name, result, colour in zip(names, results, COLOURS, strict=False):
            left.semilogy(range(1, len(result.losses) + 1), result.losses, label=name, color=colour)
        left.axhline(np.log(2) / 4, color="0.6", linestyle=":", label="a guess for the mirror pair")
        left.set(
            xlabel="step", ylabel="cross entropy", title="training, one orientation", ylim=1e-5
        )
        left.legend()
        for axes, name, result in zip(right, names, results, strict=True):
            axes.imshow(result.confusion.numpy(), cmap="Blues", vmin=0, vmax=1)
            axes.grid(False)
            axes.set_xticks(range(8), PIECES, rotation=90)
            axes.set_yticks(range(8), PIECES)
            axes.set(xlabel="answer", title=f"{name}: {100 * result.accuracy:.0f} %")
    return results


if __name__ == "__main__":
    torch.set_num_threads(1)  # tensors are small
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
