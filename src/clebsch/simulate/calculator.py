"""A trained model as an ASE calculator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.data import atomic_numbers, chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress

from clebsch.errors import UserError
from clebsch.ops.threads import threads_for
from clebsch.simulate.neighbours import VerletList


class PotentialModel(Protocol):
    """What this layer asks of a model; ``clebsch.models.Potential`` has it."""

    header: dict[str, Any]

    @property
    def cutoff(self) -> float: ...

    @property
    def species(self) -> list[str]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """``(graph, forces=True, stress=False)`` -> energy, atomic_energy, forces, stress."""

    def to(self, *args: Any, **kwargs: Any) -> Any: ...

    def eval(self) -> Any: ...

    def parameters(self) -> Iterable[torch.Tensor]: ...

    def buffers(self) -> Iterable[torch.Tensor]: ...

    def state_dict(self) -> Mapping[str, torch.Tensor]: ...


def model_dtype(model: PotentialModel) -> torch.dtype:
    """The floating-point type of the model's weights."""
    known = getattr(model, "dtype", None)
    if isinstance(known, torch.dtype):
        return known
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.get_default_dtype()


def check_elements(
    model: PotentialModel, numbers: np.ndarray, where: str = "the structure"
) -> None:
    """Raise UserError, naming ``where``, if the model was not trained on one of ``numbers``."""
    known = {atomic_numbers[symbol] for symbol in model.species}
    unknown = [chemical_symbols[z] for z in np.unique(numbers).tolist() if z not in known]
    if unknown:
        raise UserError(
            f"{where}: the model does not know {', '.join(unknown)} (it was trained on "
            f"{', '.join(model.species)}); use another structure, or a model trained with "
            f"{'this element' if len(unknown) == 1 else 'these elements'}."
        )


class Calculator(ASECalculator):
    """ASE calculator of a potential: energy, free_energy, energies, forces and stress.

    Units are ASE's: eV, eV/Å, eV/Å^3 (tension positive, Voigt xx yy zz yz xz xy). The stress
    exists only where the cell is periodic in three directions.

    Args:
        model: a loaded potential.
        device: where it runs; None leaves it where it is.
        dtype: of positions and weights; None leaves the model's own.
        skin: Å, reach of the neighbour list beyond the cutoff. The list is reused until atoms
            have moved by half of it; results do not depend on it.

    Raises:
        UserError: an element that the model was not trained on.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    ]

    def __init__(
        self,
        model: PotentialModel,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        skin: float = 0.5,
    ):
        super().__init__()
        if device is not None or dtype is not None:
            model = model.to(device=device, dtype=dtype)
        self.model = model
        self.model.eval()
        self.dtype = model_dtype(model)
        parameters = next(iter((*model.parameters(), *model.buffers())), None)
        self.device = torch.device("cpu") if parameters is None else parameters.device
        self.neighbours = VerletList(model.cutoff, skin, self.dtype)
        self.edge_src: np.ndarray = np.zeros(0, int)
        self.edge_dst: np.ndarray = np.zeros(0, int)
        self.edge_lengths: np.ndarray = np.zeros(0)
        self._checked: np.ndarray | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Iterable[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute every property at once; forces and stress share one backward pass."""
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        bulk = bool(atoms.pbc.all()) and atoms.cell.rank == 3
        if "stress" in (properties or ()) and not bulk:
            raise PropertyNotImplementedError(
                "the stress needs a cell that is periodic in three directions"
            )
        if self._checked is None or not np.array_equal(atoms.numbers, self._checked):
            check_elements(self.model, atoms.numbers)
            self._checked = atoms.numbers.copy()
        graph, self.edge_lengths = self.neighbours.graph(atoms)
        self.edge_src, self.edge_dst = graph.src.numpy(), graph.dst.numpy()
        with threads_for(graph.n_edges):
            output = self.model(graph.to(self.device), forces=True, stress=bulk)
        array = {name: value.detach().cpu().double().numpy() for name, value in output.items()}
        energy = float(array["energy"][0])
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": array["atomic_energy"],
            "forces": array["forces"],
        }
        if bulk:
            self.results["stress"] = full_3x3_to_voigt_6_stress(array["stress"][0])
