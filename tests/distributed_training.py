"""What the processes of tests/train/test_distributed.py do; importable where they are started."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clebsch.models import Potential, PotentialConfig
from clebsch.nn import Attention, BesselBasis, Gate, LayerNorm, Linear, SymmetricContraction
from clebsch.o3 import spherical_harmonics
from clebsch.ops import Edges
from clebsch.structures import AtomGraph, collate, read_dataset

CUTOFF = 4.5


class Layers(nn.Module):
    """Layers of a user's own network, an atom's vector at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(1, 8))
        self.basis = BesselBasis(4)
        self.gate = Gate("4x0e + 4x1o")
        self.attention = Attention(
            "8x0e", "0e + 1o", self.gate.irreps_in, radial=[4, 8], heads=2, mean_neighbours=10
        )
        self.norm = LayerNorm("4x0e + 4x1o")
        self.contraction = SymmetricContraction("4x0e + 4x1o", "4x1o", correlation=2)
        self.readout = Linear("4x1o", "1x1o")

    def forward(self, graph: AtomGraph, forces: bool = True) -> dict[str, Tensor]:
        vectors = graph.vectors()
        r = torch.linalg.vector_norm(vectors, dim=-1) / CUTOFF
        x, y = self.embedding.expand(graph.n_atoms, -1), spherical_harmonics("0e + 1o", vectors)
        edges = Edges(graph.src, graph.dst, graph.n_atoms)
        x = self.attention(x, y, self.basis(r), self.basis.cutoff(r), edges)
        return {"forces": self.readout(self.contraction(self.norm(self.gate(x))))}


def model(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "layers":
        return Layers().double()
    config = PotentialConfig(
        species=["Si"], cutoff=CUTOFF, layers=2, channels=4, mean_neighbours=12.0
    )
    return Potential(config).double()


def gradients(
    network: nn.Module, parameters: list[Tensor], graphs: list[AtomGraph]
) -> list[Tensor]:
    """Of a loss of forces; for a potential these are derivatives already."""
    graph = collate(graphs)
    loss = (network(graph, forces=True)["forces"] - graph.forces).square().mean()
    for parameter in parameters:
        parameter.grad = None
    loss.backward(inputs=parameters)  # as the training loop does
    return [p.grad for p in parameters if p.grad is not None]


def graphs() -> list[AtomGraph]:
    frames = read_dataset("embedded:silicon")
    return [AtomGraph.from_atoms(frames[i], CUTOFF, torch.float64) for i in range(4)]


def process(rank: int, name: str, folder: Path) -> None:
    """One of two processes: its half of the graphs, two steps, and the gradients of the second."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder / 'store'}", rank=rank, world_size=2)
    network = model(name)
    wrapped, parameters = DistributedDataParallel(network), list(network.parameters())
    for _ in range(2):
        found = gradients(wrapped, parameters, graphs()[rank::2])
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()
