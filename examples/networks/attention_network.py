"""An equivariant attention network learns the forces of ethanol from quantum chemistry.

Atoms ask their neighbours and listen to those that answer (Fuchs et al., SE(3)-Transformers,
2020). Energies and forces (PBE0) of 540 geometries of one molecule come with the library; whole
stretches of the molecule's walk are held out. Beside the network stands the same one of distances
alone (lmax = 0), and the guess that forces are zero. Run it:

    python examples/networks/attention_network.py [FOLDER]
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from clebsch.figures import COLOURS, figure
from clebsch.nn import Attention, Gate, GaussianBasis, LayerNorm, Linear, PolynomialCutoff
from clebsch.o3 import Irreps, spherical_harmonics
from clebsch.ops import Edges
from clebsch.structures import AtomGraph, GraphDataset, collate, read_dataset, split_dataset

NUMBERS = torch.tensor([1, 6, 8])
CUTOFF = 4.0  # Å


class AttentionNetwork(nn.Module):
    """Layers of attention with gates, features normalised before each.

    The energy is a sum over atoms, forces are its slope.

    Args:
        lmax: highest degree of features and harmonics; 0 is a network of distances.
        mean: energy per atom of the training set, eV.
        scale: root mean square of the forces, eV/Å.
    """

    def __init__(self, lmax: int, mean: float, scale: float, channels: int = 16) -> None:
        super().__init__()
        self.mean, self.scale = mean, scale
        self.harmonics = Irreps.spherical_harmonics(lmax)
        self.basis, self.cutoff = GaussianBasis(8), PolynomialCutoff()
        self.embedding = nn.Parameter(torch.randn(len(NUMBERS), channels))
        hidden = Irreps([(channels, (l, (-1) ** l)) for l in range(lmax + 1)])
        layers, irreps = [], Irreps([(channels, (0, 1))])
        for out in (hidden, irreps):
            gate = Gate(out)
            attention = Attention(
                irreps, self.harmonics, gate.irreps_in,
                radial=[8, 32], heads=4, mean_neighbours=8.0,
            )  # fmt: skip
            own = Linear(irreps, gate.irreps_in, n_species=len(NUMBERS))
            layers.append(nn.ModuleList([LayerNorm(irreps), attention, own, gate]))
            irreps = out
        self.layers = nn.ModuleList(layers)
        self.readout = nn.Sequential(Linear(irreps, "16x0e"), nn.SiLU(), Linear("16x0e", "1x0e"))

    def energy(self, vectors: Tensor, graph: AtomGraph) -> Tensor:
        """Energies (G,) in eV above the mean, differentiable in the edges' vectors (E, 3) in Å."""
        species = torch.searchsorted(NUMBERS, graph.numbers)
        u = torch.linalg.vector_norm(vectors, dim=-1) / CUTOFF
        y = spherical_harmonics(self.harmonics, vectors)
        basis, cutoff = self.basis(u), self.cutoff(u)
        edges = Edges(graph.src, graph.dst, graph.n_atoms)
        x = self.embedding[species]
        for norm, attention, own, gate in self.layers:
            x = gate(attention(norm(x), y, basis, cutoff, edges) + own(x, species))
        atoms = self.readout(x)[:, 0] * self.scale
        return atoms.new_zeros(graph.n_graphs).index_add(0, graph.batch, atoms)

    def forward(self, graph: AtomGraph) -> tuple[Tensor, Tensor]:
        """Energies (G,) in eV above the mean and forces (N, 3) in eV/Å."""
        vectors = graph.vectors().requires_grad_()
        energy = self.energy(vectors, graph)
        (slope,) = torch.autograd.grad(energy.sum(), vectors, create_graph=self.training)
        forces = torch.zeros_like(graph.positions)
        return energy, forces.index_add(0, graph.dst, slope).index_add(0, graph.src, -slope)

    def targets(self, graph: AtomGraph) -> tuple[Tensor, Tensor]:
        """Labels in the same units; energies above the mean of the training set."""
        atoms = torch.bincount(graph.batch, minlength=graph.n_graphs)
        return (graph.energy - self.mean * atoms).to(graph.forces.dtype), graph.forces


@dataclass
class Result:
    """What a training gave on frames that it never saw.

    Attributes:
        forces, guess: root mean square errors of the network and of zero, eV/Å.
        energies, spread: root mean square error and spread of the energies, meV/atom.
        predicted, reference: force components, eV/Å.
        seconds: of training.
    """

    forces: float
    guess: float
    energies: float
    spread: float
    predicted: Tensor
    reference: Tensor
    seconds: float


def train(
    lmax: int = 1, steps: int = 600, batch: int = 5, rate: float = 0.006, seed: int = 0
) -> Result:
    """Train on 400 geometries, test on 100 of other stretches of the walk."""
    torch.manual_seed(seed)
    data = read_dataset("embedded:ethanol")
    split = split_dataset(data, train=400, valid=40, test=100, seed=seed, by="trajectory")
    given, unseen = (GraphDataset(data, part, CUTOFF) for part in (split.train, split.test))
    graphs = [given[i] for i in range(len(given))]
    forces = torch.cat([g.forces for g in graphs])
    mean = float(torch.cat([g.energy for g in graphs]).mean()) / graphs[0].n_atoms
    model = AttentionNetwork(lmax, mean, float(forces.square().mean().sqrt()))
    # Bonds are short and neighbours alike: new weights alone give forces that are far too large.
    some = collate(graphs[::20])
    model.scale *= model.scale / float(model(some)[1].detach().square().mean().sqrt())
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    start = time.perf_counter()
    for step in range(steps):
        graph = collate([graphs[i] for i in torch.randint(len(graphs), (batch,)).tolist()])
        (energy, force), (true_energy, true_force) = model(graph), model.targets(graph)
        loss = (force - true_force).square().mean()
        loss = loss + 0.1 * (energy - true_energy).square().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 20 == 19:
            print(f"\rlmax {lmax}: step {step + 1}/{steps}, loss {loss:.3f}", end="", flush=True)
    print()
    seconds = time.perf_counter() - start
    graph = collate([unseen[i] for i in range(len(unseen))])
    model.eval()
    (energy, force), (true_energy, true_force) = model(graph), model.targets(graph)

    def rms(x: Tensor) -> float:
        return float(x.detach().square().mean().sqrt())

    per_atom = 1000 / graphs[0].n_atoms
    return Result(
        rms(force - true_force), rms(true_force), rms(energy - true_energy) * per_atom,
        float(true_energy.std()) * per_atom, force.detach(), true_force, seconds,
    )  # fmt: skip


def main(folder: Path) -> tuple[Result, Result]:
    """Train the network and its baseline of distances; ``attention_network.png`` in folder."""
    results = train(lmax=1), train(lmax=0)
    names = "equivariant attention", "distances only"
    for name, result in zip(names, results, strict=True):
        print(
            f"{name}: forces {result.forces:.3f} eV/Å off (zero: {result.guess:.3f}), energies "
            f"{result.energies:.1f} meV/atom (spread {result.spread:.1f}), {result.seconds:.0f} s"
        )
    with figure(folder / "attention_network.png", 7.0, 3.4) as canvas:
        panels = canvas.subplots(1, 2, sharex=True, sharey=True)
        for axes, name, result, colour in zip(panels, names, results, COLOURS, strict=False):
            reach = float(result.reference.abs().max())
            axes.plot([-reach, reach], [-reach, reach], color="0.6", linewidth=0.8)
            reference, predicted = result.reference.flatten(), result.predicted.flatten()
            axes.plot(reference, predicted, ".", markersize=2, color=colour)
            axes.set(xlabel="force of PBE0 (eV/Å)", title=f"{name}: {result.forces:.2f} eV/Å")
        panels[0].set_ylabel("force of the network (eV/Å)")
    return results


if __name__ == "__main__":
    torch.set_num_threads(1)  # tensors are small
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
