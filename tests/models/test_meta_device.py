"""Models built without memory: on the meta device, then ``to_empty`` and a state dict."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from ase.build import molecule
from torch import Tensor, nn

from clebsch.fields import NeighbourDensity
from clebsch.models import DensityModel, DosConfig, PhononDosModel, Potential, PotentialConfig
from clebsch.structures import AtomGraph
from made_densities import configuration

SMALL = {"cutoff": 4.0, "layers": 2, "lmax": 1, "channels": 4}

WATER = configuration()


def result(found: object) -> list[Tensor]:
    """The tensors of a result, whatever it is."""
    if isinstance(found, Tensor):
        return [found]
    values = found.values() if isinstance(found, dict) else vars(found).values()
    return [value for value in values if isinstance(value, Tensor)]


MODELS: dict[str, Callable[[], nn.Module]] = {
    "potential": lambda: Potential(PotentialConfig(species=["H", "O"], zbl=True, **SMALL)),
    "phonon DoS": lambda: PhononDosModel(DosConfig(species=["H", "O"], step=100.0, **SMALL)),
    "density": lambda: DensityModel(WATER),
    "neighbour density": lambda: NeighbourDensity(["H", "O"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_built_without_memory(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    graph = AtomGraph.from_atoms(molecule("H2O", cell=[5.0, 5.0, 5.0], pbc=True), 4.0)
    with torch.device("meta"):
        empty = MODELS[name]()
    assert all(tensor.is_meta for tensor in [*empty.parameters(), *empty.buffers()])
    for other in (empty, MODELS[name]().to("meta")):
        filled = other.to_empty(device="cpu")
        filled.load_state_dict(model.state_dict())
        expected, got = result(model(graph)), result(filled(graph))
        assert expected
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
