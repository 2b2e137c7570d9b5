"""SevenNet's convolutions computed by our operator: the same numbers in less time."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from clebsch.o3 import Irreps
from clebsch.o3.layout import from_e3nn, to_e3nn
from clebsch.ops import Edges, Specification, convolve


class FusedConvolution(nn.Module):
    """An ``IrrepsConvolution`` of sevenn without messages in memory.

    Args:
        theirs: the module that it stands for; its radial network and scale are kept.

    Shape: as theirs, a dictionary of the graph whose node features are replaced.
    """

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        kwargs = theirs.convolution_kwargs
        x, y, z = (str(kwargs[key]) for key in ("irreps_in1", "irreps_in2", "irreps_out"))
        self.specification = Specification.from_instructions(
            Irreps(x), Irreps(y), Irreps(z), kwargs["instructions"], shared_weights=False
        )
        self.weight_nn, self.denominator = theirs.weight_nn, theirs.denominator
        self.keys = (
            theirs.key_x,
            theirs.key_filter,
            theirs.key_weight_input,
            theirs.key_edge_idx,
        )

    def forward(self, data: Any) -> Any:
        key_x, key_y, key_basis, key_edges = self.keys
        spec = self.specification
        x: Tensor = data[key_x]
        dst, src = data[key_edges]
        z = convolve(
            spec,
            from_e3nn(x, spec.x),
            data[key_y],
            self.weight_nn(data[key_basis]),
            Edges(src, dst, len(x)),
        )
        data[key_x] = to_e3nn(z, spec.z) / self.denominator
        return data


def fuse(model: Any) -> int:
    """Replace every convolution of a loaded SevenNet; returns how many there were."""
    from sevenn.nn.convolution import IrrepsConvolution

    found = 0
    for name, module in list(model._modules.items()):
        if isinstance(module, IrrepsConvolution):
            model._modules[name] = FusedConvolution(module)
            found += 1
    return found
