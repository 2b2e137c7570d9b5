"""The ways to a model's numbers that must agree: each with its tolerance, one small interface."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from torch import Tensor

from clebsch import compiler
from clebsch.errors import UserError
from clebsch.models import FrozenPotential, Potential
from clebsch.ops import Edges, backend
from clebsch.ops.threads import threads_for
from clebsch.simulate import Calculator
from clebsch.structures.graph import AtomGraph, collate
from clebsch.verify.cases import closest_pair, full_cell
from clebsch.verify.comparison import Array, Prediction, Tolerance

Model = Potential | FrozenPotential

#: eV/atom and eV/Å: engines that compute in float64 differ in the order of sums alone.
EXACT = Tolerance(1e-9, 1e-9)
#: Rounding of weights and every sum to float32; that of the positions comes on top.
SINGLE = Tolerance(2e-5, 2e-4)
#: What the splines were measured on is not what they are judged on here.
_FROZEN_MARGIN = 3.0
_BATCH_EDGES = 30_000
_PLAIN_EDGES = 20_000  # the plain back end keeps all messages in memory


class Engine(ABC):
    """A way from structures to numbers.

    Attributes:
        name: in the table.
        keyword: by which ``--only`` and ``--require`` know it.
        tolerance: against the reference, for a structure with small numbers.
        cost: time for an atom, in units of the reference's.
        single: whether positions are rounded to float32.
        at_once: whether a start costs more than the structures, so that all go into one call.
    """

    name: str
    keyword: str
    tolerance: Tolerance
    cost: float = 1.0
    single: bool = False
    at_once: bool = False

    def missing(self) -> str | None:
        """Why the engine cannot run here, in one sentence; None where it can."""
        return None

    def left_out(self, atoms: Atoms) -> str | None:
        """Why this engine does not take the structure; None where it does."""
        return None

    @abstractmethod
    def evaluate(self, structures: Sequence[Atoms]) -> list[Prediction]:
        """The numbers of all structures, in order."""


class Eager(Engine):
    """The model itself on fresh neighbour lists.

    Args:
        model: is not changed.
        dtype: of weights and positions.
        plain: compute with the reference back end, plain PyTorch, in the place of the kernels.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        keyword: str,
        dtype: torch.dtype = torch.float64,
        tolerance: Tolerance = EXACT,
        plain: bool = False,
    ) -> None:
        self.name, self.keyword, self.tolerance = name, keyword, tolerance
        self.model = copy.deepcopy(model).to(dtype=dtype).eval()
        self.dtype, self.plain = dtype, plain
        self.single = dtype == torch.float32
        self.cost = 4.0 if plain else 1.0

    def left_out(self, atoms: Atoms) -> str | None:
        if self.plain:
            edges = AtomGraph.from_atoms(atoms, self.model.cutoff).n_edges
            if edges > _PLAIN_EDGES:
                return f"{edges:,} edges; the plain back end is asked for {_PLAIN_EDGES:,} at most"
        return None

    def evaluate(self, structures: Sequence[Atoms]) -> list[Prediction]:
        found: list[Prediction] = []
        for batch in self._batches(structures):
            found += self._predict(batch)
        return found

    def energies(self, structures: Sequence[Atoms]) -> list[Array]:
        """Energies (N,) of the atoms of each structure in eV, and nothing else."""
        found: list[Array] = []
        for batch in self._batches(structures):
            with torch.no_grad(), self._compute(), threads_for(batch.n_edges):
                atomic = self.model(batch, forces=False)["atomic_energy"]
            found += _split(atomic.double().numpy(), batch)
        return found

    def _compute(self) -> AbstractContextManager[None]:
        return backend("reference") if self.plain else nullcontext()

    def _batches(self, structures: Sequence[Atoms]) -> Iterator[AtomGraph]:
        waiting: list[AtomGraph] = []
        edges = 0
        for atoms in structures:
            graph = AtomGraph.from_atoms(atoms, self.model.cutoff, self.dtype)
            if waiting and edges + graph.n_edges > _BATCH_EDGES:
                yield collate(waiting)
                waiting, edges = [], 0
            waiting.append(_boxed(graph))
            edges += graph.n_edges
        if waiting:
            yield collate(waiting)

    def _predict(self, batch: AtomGraph) -> list[Prediction]:
        with self._compute(), threads_for(batch.n_edges):
            output = self.model(batch, forces=True, stress=True)
        array = {name: value.detach().double().numpy() for name, value in output.items()}
        volume = np.abs(np.linalg.det(batch.cell.double().numpy()))
        return [
            Prediction(float(energy), atomic, forces, stress * v)
            for energy, atomic, forces, stress, v in zip(
                array["energy"],
                _split(array["atomic_energy"], batch),
                _split(array["forces"], batch),
                array["stress"],
                volume,
                strict=True,
            )
        ]


class Splined(Eager):
    """A frozen model beside its source, whichever of the two is the reference.

    Structures whose atoms are closer than any in training (``closest_pair``) are left out: radial
    networks are rough there, and their splines are made and measured for what was trained.

    Args:
        model: the one that is not the reference.
        frozen: the frozen one of the two.
    """

    def __init__(
        self,
        model: Model,
        frozen: FrozenPotential,
        name: str,
        keyword: str,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        energy = _FROZEN_MARGIN * float(frozen.facts["tolerance"])
        tolerance = Tolerance(energy, 10 * energy)
        if dtype == torch.float32:
            tolerance += SINGLE
        super().__init__(model, name, keyword, dtype, tolerance)

    def left_out(self, atoms: Atoms) -> str | None:
        if closest_pair(atoms, self.model) < 1.0:
            return "atoms are closer than in training; splines are not made for that"
        return None


class Compiled(Engine):
    """The energies under ``torch.compile``, their derivatives taken outside.

    The compiler differentiates the atomic energies by the edges' vectors, so that this way shares
    none of the hand-written slopes. Compiling takes minutes.
    """

    name, keyword, tolerance = "torch.compile, float64", "compile", EXACT

    def __init__(self, model: Model) -> None:
        self.model = copy.deepcopy(model).double().eval().requires_grad_(False)
        self.shifts = self.model.config.shifts or [0.0] * len(self.model.species)
        self._compiled: Callable[..., Tensor] | None = None

    def missing(self) -> str | None:
        if not compiler.usable():
            return "there is no C++ compiler for torch.compile."
        return None

    def left_out(self, atoms: Atoms) -> str | None:
        if AtomGraph.from_atoms(atoms, self.model.cutoff).n_edges == 0:
            return "no edges"  # a size of zero would be compiled for by itself
        return None

    def evaluate(self, structures: Sequence[Atoms]) -> list[Prediction]:
        return [self._evaluate(atoms) for atoms in structures]

    def _evaluate(self, atoms: Atoms) -> Prediction:
        graph = AtomGraph.from_atoms(atoms, self.model.cutoff, torch.float64)
        species = self.model.species_of(graph.numbers)
        vectors = graph.vectors().requires_grad_()
        inputs = (vectors, species, graph.src, graph.dst, graph.n_atoms)
        if self._compiled is None:
            self._energies(*inputs)  # what is built once, at the first call, is not to be traced
            self._compiled = torch.compile(self._energies, dynamic=True)
        energy = self._compiled(*inputs)
        (slopes,) = torch.autograd.grad(energy.sum(), vectors)
        forces = torch.zeros_like(graph.positions)
        forces = forces.index_add(0, graph.dst, slopes).index_add(0, graph.src, -slopes)
        virial = (vectors.detach().T @ slopes).numpy()
        atomic = energy.detach().numpy() + np.array(self.shifts)[species.numpy()]
        return Prediction(float(atomic.sum()), atomic, forces.numpy(), (virial + virial.T) / 2)

    def _energies(self, vectors: Tensor, species: Tensor, src: Tensor, dst: Tensor, n: int) -> Any:
        return self.model.atomic_energies(vectors, species, Edges(src, dst, n))


class ASE(Engine):
    """The ASE calculator, on a neighbour list that was built for other positions.

    Every structure is computed twice: first displaced by up to 0.05 Å, so that the second
    calculation uses the list of the first, as it does in dynamics.
    """

    name, keyword, tolerance, cost = "ASE calculator, float64", "ase", EXACT, 2.2

    def __init__(self, model: Model) -> None:
        self.model = copy.deepcopy(model).double().eval()

    def evaluate(self, structures: Sequence[Atoms]) -> list[Prediction]:
        draw = np.random.default_rng(0)
        calculator = Calculator(self.model)
        found = []
        for atoms in structures:
            moved = atoms.copy()
            moved.positions += draw.uniform(-0.05, 0.05, (len(atoms), 3))
            calculator.calculate(moved)
            calculator.calculate(atoms)
            results = calculator.results
            virial = None
            if "stress" in results:
                virial = voigt_6_to_full_3x3_stress(results["stress"]) * atoms.get_volume()
            found.append(
                Prediction(results["energy"], results["energies"], results["forces"], virial)
            )
        return found


class Lammps(Engine):
    """LAMMPS with ``pair_style clebsch``, a process per rank.

    Args:
        model_file: what LAMMPS reads.
        ranks: number of processes.
    """

    keyword, tolerance, cost, at_once = "lammps", EXACT, 3.0, True

    def __init__(self, model_file: Path, ranks: int) -> None:
        self.name = f"LAMMPS on {ranks} rank{'s' if ranks > 1 else ''}"
        self.model_file, self.ranks = model_file, ranks

    def missing(self) -> str | None:
        from clebsch.lammps import available
        from clebsch.lammps.launch import command

        reason: str | None = available()
        try:
            command("in.lammps", self.ranks)
        except UserError as error:  # there is no mpirun
            reason = reason or str(error)
        return reason

    def evaluate(self, structures: Sequence[Atoms]) -> list[Prediction]:
        from clebsch.lammps import single_point

        results = single_point(
            self.model_file, list(structures), ranks=self.ranks, dtype=torch.float64
        )
        return [
            Prediction(
                float(result["energy"]),
                np.asarray(result["atomic_energy"], dtype=np.float64),
                np.asarray(result["forces"], dtype=np.float64),
                np.asarray(result["virial"], dtype=np.float64),
                np.asarray(result["atomic_virial"], dtype=np.float64),
            )
            for result in results
        ]


def _boxed(graph: AtomGraph) -> AtomGraph:
    """With a cell of some volume, so that the model gives the virial of every structure."""
    full = full_cell(graph.cell[0].double().numpy(), graph.pbc[0].numpy())
    return replace(graph, cell=torch.from_numpy(full).to(graph.cell)[None])


def _split(values: Array, batch: AtomGraph) -> list[Array]:
    ends = np.cumsum(torch.bincount(batch.batch, minlength=batch.n_graphs).numpy())[:-1]
    return np.split(values, ends)
