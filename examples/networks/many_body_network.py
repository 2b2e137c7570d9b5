"""A many-body network in one file: MACE's architecture, from public parts of clebsch only.

The neighbours of an atom are summed into features A (two-body), whose symmetric powers of degree
1, 2, 3 are features B of two, three and four bodies (Batatia et al., MACE: Higher Order
Equivariant Message Passing Neural Networks, 2022, eqs. 8-13). One such layer with degree 3 knows
angles and dihedrals; with degree 1 it is an embedded-atom model of pair distances.

The run below shows just that: networks of one layer, equal but for the degree, learn energies and
forces of ethanol (400 of the 540 geometries that come with clebsch, 100 others to test, drawn at
random) in equally many steps.

    python examples/networks/many_body_network.py --out many_body
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor, nn

from clebsch.figures import figure
from clebsch.nn import MLP, BesselBasis, Convolution, Linear, SymmetricContraction
from clebsch.o3 import Irreps, spherical_harmonics
from clebsch.ops import Edges
from clebsch.ops.threads import threads_for
from clebsch.structures import (
    AtomGraph,
    Dataset,
    GraphDataset,
    Statistics,
    collate,
    dataset_statistics,
    read_dataset,
    split_dataset,
)


class ManyBodyLayer(nn.Module):
    """Neighbours summed to A, symmetric powers B of A, and the atom's own features.

    Args:
        irreps_in: irreps of the features.
        irreps_out: irreps of the result, of ``channels`` channels.
        channels: of A and B.
        lmax: highest degree of harmonics and of A.
        correlation: highest power of A, the body order less one.
        n_species: number of species; each has its own weights for the powers.
        mean_neighbours: typical number of neighbours.

    Shape: (N, irreps_in.dim), species (N,) -> (N, irreps_out.dim).
    """

    def __init__(
        self,
        irreps_in: Irreps,
        irreps_out: Irreps,
        *,
        channels: int,
        lmax: int,
        correlation: int,
        n_species: int,
        mean_neighbours: float,
    ) -> None:
        super().__init__()
        self.irreps_out = irreps_out
        harmonics = Irreps.spherical_harmonics(lmax)
        summed = Irreps([(channels, ir) for _, ir in harmonics])
        self.convolution = Convolution(
            irreps_in, harmonics, summed, radial=[8, 32, 32], mean_neighbours=mean_neighbours
        )
        self.powers = SymmetricContraction(
            summed, irreps_out, correlation=correlation, n_species=n_species
        )
        self.update = Linear(irreps_out, irreps_out)
        self.own = Linear(irreps_in, irreps_out, n_species=n_species)

    def forward(
        self, x: Tensor, species: Tensor, harmonics: Tensor, basis: Tensor, edges: Edges
    ) -> Tensor:
        a = self.convolution(x, harmonics, basis, edges)
        b = self.powers(a, species)
        return self.update(b) + self.own(x, species)


class ManyBodyNetwork(nn.Module):
    """Energies of structures as sums over atoms and layers; forces are their exact derivatives.

    Args:
        statistics: species, their energies alone, typical force and number of neighbours.
        layers: number of layers; with more than one, atoms beyond the cutoff are seen.
        correlation: highest power of the neighbours' sum in each layer.
        channels: of the features.
        lmax: highest degree of the harmonics.
    """

    def __init__(
        self,
        statistics: Statistics,
        *,
        layers: int = 1,
        correlation: int = 3,
        channels: int = 32,
        lmax: int = 3,
    ) -> None:
        super().__init__()
        n_species = len(statistics.species)
        self.cutoff = statistics.cutoff
        self.irreps_edge = Irreps.spherical_harmonics(lmax)
        index = torch.zeros(120, dtype=torch.int64)
        index[[atomic_numbers[s] for s in statistics.species]] = torch.arange(n_species)
        self.register_buffer("index", index, persistent=False)
        alone = [statistics.e0s[s] for s in statistics.species]
        self.register_buffer("alone", torch.tensor(alone, dtype=torch.float64))
        self.mean, self.scale = statistics.energy_mean, statistics.force_rms
        self.embedding = nn.Parameter(torch.randn(n_species, channels))
        self.basis = BesselBasis(8)
        scalars = Irreps(f"{channels}x0e")
        hidden = Irreps(f"{channels}x0e + {channels}x1o")
        self.layers, self.readouts = nn.ModuleList(), nn.ModuleList()
        irreps = scalars
        for number in range(layers):
            last = number == layers - 1
            layer = ManyBodyLayer(
                irreps,
                scalars if last else hidden,
                channels=channels,
                lmax=lmax,
                correlation=correlation,
                n_species=n_species,
                mean_neighbours=statistics.mean_neighbours,
            )
            irreps = layer.irreps_out
            self.layers.append(layer)
            self.readouts.append(MLP([channels, 16, 1]) if last else Linear(irreps, "1x0e"))

    def forward(self, graph: AtomGraph) -> tuple[Tensor, Tensor]:
        """Energies (G,) in eV, float64, and forces (N, 3) in eV/Å of a batch."""
        vectors = graph.vectors().detach().requires_grad_()
        species, edges = self.index[graph.numbers], Edges(graph.src, graph.dst, graph.n_atoms)
        harmonics = spherical_harmonics(self.irreps_edge, vectors)
        basis = self.basis(torch.linalg.vector_norm(vectors, dim=-1) / self.cutoff)
        x = self.embedding[species]
        atomic = 0.0
        for layer, readout in zip(self.layers, self.readouts, strict=True):
            x = layer(x, species, harmonics, basis, edges)
            atomic = atomic + readout(x).squeeze(-1)
        total = (atomic * self.scale).sum()
        (slope,) = torch.autograd.grad(total, vectors, create_graph=self.training)
        # A vector points from dst to src: lengthening it moves the one forth, the other back.
        forces = torch.zeros_like(graph.positions)
        forces = forces.index_add(0, graph.dst, slope).index_add(0, graph.src, -slope)
        each = atomic.double() * self.scale + self.mean + self.alone[species]
        return each.new_zeros(graph.n_graphs).index_add(0, graph.batch, each), forces


def errors(model: ManyBodyNetwork, graphs: Sequence[AtomGraph]) -> dict[str, float]:
    """Mean absolute errors on structures: energy in meV/atom, forces in meV/Å."""
    batch = collate(list(graphs))
    model.eval()
    energy, forces = model(batch)
    model.train()
    atoms = torch.bincount(batch.batch)
    return {
        "energy": 1000 * ((energy.detach() - batch.energy) / atoms).abs().mean().item(),
        "forces": 1000 * (forces.detach() - batch.forces).abs().mean().item(),
    }


def train(
    model: ManyBodyNetwork,
    graphs: Sequence[AtomGraph],
    test: Sequence[AtomGraph],
    steps: int,
    batch_size: int = 8,
) -> list[tuple[int, float]]:
    """Minimise squared errors; returns (step, force error on ``test``) on the way, meV/Å."""
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-2, total_steps=steps)
    history = []
    for step in range(1, steps + 1):
        chosen = torch.randint(len(graphs), (batch_size,)).tolist()
        batch = collate([graphs[i] for i in chosen])
        energy, forces = model(batch)
        atoms = torch.bincount(batch.batch)
        wrong = (energy - batch.energy) / atoms
        loss = (forces - batch.forces).square().mean() + 10 * wrong.square().mean()
        optimiser.zero_grad()
        (loss / model.scale**2).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        if step % max(1, steps // 10) == 0:
            history.append((step, errors(model, test)["forces"]))
    return history


def load(
    name: str = "embedded:ethanol", cutoff: float = 4.0, n_train: int = 400, n_test: int = 100
) -> tuple[Statistics, list[AtomGraph], list[AtomGraph]]:
    """Statistics of the training frames, graphs to train on, graphs to test on."""
    dataset: Dataset = read_dataset(name)
    split = split_dataset(dataset, n_train, 0, n_test, seed=0)
    train_graphs = GraphDataset(dataset, split.train, cutoff)
    test_graphs = GraphDataset(dataset, split.test, cutoff)
    statistics = dataset_statistics(dataset, split.train, cutoff)
    return statistics, [*train_graphs], [*test_graphs]


def run(
    out: Path, correlations: Sequence[int] = (1, 2, 3), steps: int = 500
) -> dict[int, dict[str, float]]:
    """Train a network for each degree, print and draw its errors; returns them by degree."""
    statistics, train_graphs, test_graphs = load()
    zero = torch.cat([graph.forces for graph in test_graphs]).abs().mean().item()
    print(f"baseline, no forces at all: {1000 * zero:.0f} meV/Å")
    results, histories = {}, {}
    for correlation in correlations:
        torch.manual_seed(0)
        model = ManyBodyNetwork(statistics, correlation=correlation)
        start = time.perf_counter()
        with threads_for(edges=8 * statistics.mean_edges):  # small steps want one thread
            histories[correlation] = train(model, train_graphs, test_graphs, steps)
        seconds = time.perf_counter() - start
        results[correlation] = {**errors(model, test_graphs), "seconds": seconds}
        weights = sum(p.numel() for p in model.parameters())
        print(
            f"correlation {correlation} ({correlation + 1} bodies): "
            f"forces {results[correlation]['forces']:.0f} meV/Å, "
            f"energy {results[correlation]['energy']:.1f} meV/atom, "
            f"{weights} weights, {seconds:.0f} s",
            flush=True,
        )
    out.mkdir(parents=True, exist_ok=True)
    draw(out / "many_body_network.png", histories, 1000 * zero)
    print(f"wrote {out / 'many_body_network.png'}")
    return results


def draw(path: Path, histories: dict[int, list[tuple[int, float]]], baseline: float) -> None:
    """Force error on the test structures against training steps, a line for each degree."""
    with figure(path, 5.0, 3.4) as canvas:
        axes = canvas.add_subplot()
        for correlation, history in histories.items():
            steps, values = np.array(history).T
            axes.plot(steps, values, "o-", ms=3, label=f"degree {correlation}")
        axes.axhline(baseline, color="0.4", ls="--", lw=1, label="no forces")
        axes.set(
            xlabel="training steps",
            ylabel="mean absolute error of forces / meV/Å",
            yscale="log",
            title="Ethanol: one layer, powers up to a degree",
        )
        low, high = axes.get_ylim()
        ticks = [t for t in (50, 70, 100, 200, 300, 500, 700, 1000, 2000) if low < t < high]
        axes.set_yticks(ticks, [str(t) for t in ticks])
        axes.set_yticks([], minor=True)
        axes.legend()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("many_body"), help="folder of the figure")
    parser.add_argument("--steps", type=int, default=500, help="training steps of each network")
    options = parser.parse_args()
    run(options.out, steps=options.steps)
