"""A model's energies and slopes for the atoms of one domain."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clebsch.errors import UserError
from clebsch.models import FrozenPotential, Potential, load_model
from clebsch.models.domain import shortest_distances
from clebsch.ops import Edges
from clebsch.ops.exchange import Exchange

_PRECISION = {"model": None, "single": torch.float32, "double": torch.float64}


class Engine:
    """The model as a rank sees it: its own atoms, ghosts, and edges into its own atoms.

    Args:
        model: the potential; it is used as it is.
        elements: chemical symbols that the species indices of ``compute`` stand for.
        where: what to call the model in errors.

    Raises:
        UserError: an element that the model does not know.
    """

    def __init__(
        self, model: Potential | FrozenPotential, elements: list[str], where: str = "the model"
    ) -> None:
        unknown = [symbol for symbol in elements if symbol not in model.species]
        if unknown:
            raise UserError(
                f"{where} knows {', '.join(model.species)} but not {', '.join(unknown)}: give each "
                "atom type one of its elements, or NULL where another pair style treats the type."
            )
        self.model = model.eval().requires_grad_(False)
        self.elements = elements
        self.dtype = model.dtype
        self.device = model._shifts.device
        index = [model.species.index(symbol) for symbol in elements]
        self._species = torch.tensor(index, dtype=torch.int64)

    @classmethod
    def from_request(cls, request: str) -> Engine:
        """The engine that a plug-in asks for in lines of ``key=value``.

        Keys: file, element (several), device, precision (model, single, double), threads.

        Raises:
            UserError: no such file, device, or element.
        """
        pairs = [line.split("=", 1) for line in request.splitlines()]
        given = dict(pairs)
        torch.set_num_threads(int(given.get("threads", 1)))
        device = given.get("device", "cpu")
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(f"device '{device}' cannot be used ({reason}).") from error
        path = Path(given["file"])
        dtype = _PRECISION[given.get("precision", "model")]
        model = load_model(path, device=device)
        if dtype is not None:
            model = model.to(dtype)
        return cls(model, [value for key, value in pairs if key == "element"], str(path))

    @property
    def widest(self) -> int:
        """Numbers in the widest row that ``compute`` exchanges."""
        layers: Iterable[Any] = self.model.layers
        return max(int(layer.gate.irreps_out.dim) for layer in layers)

    @property
    def itemsize(self) -> int:
        """Bytes of one of them."""
        return self.dtype.itemsize

    def limits(self) -> bytes:
        """Cutoffs, then shortest distances of the domain, by two elements; float64, A."""
        pairs = np.ix_(self._species.numpy(), self._species.numpy())
        cutoffs = self.model._cutoffs.double().cpu().numpy()[pairs]
        shortest = shortest_distances(self.model.header, self.elements)
        return cutoffs.astype(np.float64).tobytes() + shortest.astype(np.float64).tobytes()

    def compute(
        self,
        n_local: int,
        species: np.ndarray[Any, Any],
        dst: np.ndarray[Any, Any],
        src: np.ndarray[Any, Any],
        vectors: np.ndarray[Any, Any],
        exchange: Exchange,
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Energies of the local atoms, and the slopes of all domains' energy along the edges.

        Args:
            n_local: atoms of this domain; they come first.
            species: (n_all,) index into ``elements``; -1 for atoms that no edge touches.
            dst: (E,) receiving atom, below n_local, ascending.
            src: (E,) sending atom.
            vectors: (E, 3) from dst to src, A.
            exchange: features to and derivatives from the ghosts.

        Returns:
            Energies (n_local,) eV, and dE/d(vector) (E, 3), eV/A; both float64.
        """
        index = self._species[torch.from_numpy(species).clamp(min=0)].to(self.device)
        edges = Edges(self._tensor(src), self._tensor(dst), n_local)
        vector = torch.from_numpy(vectors).to(device=self.device, dtype=self.dtype)
        energy, slopes = self.model.energies_and_slopes(vector, index, edges, exchange)
        energy = energy.detach().double() + self.model._shifts[index[:n_local]]
        return energy.cpu().numpy(), _double(slopes)

    def _tensor(self, array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def _double(tensor: Tensor) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = tensor.detach().double().cpu().numpy()
    return found
