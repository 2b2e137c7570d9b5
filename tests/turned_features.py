"""How much a layer differs from itself when its features are turned first."""

from collections.abc import Callable

import torch
from torch import Tensor

from clebsch.o3 import Irreps, rand_matrix


def equivariance_error(
    layer: Callable[[Tensor], Tensor],
    irreps_in: Irreps,
    irreps_out: Irreps,
    x: Tensor,
    improper: bool = True,
) -> float:
    """max |f(x D_in) - f(x) D_out| over max(1, |f|); x (..., irreps_in.dim)."""
    R = rand_matrix(dtype=torch.float64) * (-1 if improper else 1)
    D_in, D_out = (irreps.D_from_matrix(R).to(x.dtype).T for irreps in (irreps_in, irreps_out))
    with torch.no_grad():
        expected = layer(x) @ D_out
        error = (layer(x @ D_in) - expected).abs().max()
    return (error / expected.abs().max().clamp(min=1)).item()
