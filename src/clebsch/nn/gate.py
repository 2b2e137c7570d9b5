"""Gated nonlinearity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clebsch.nn.activations import Activation, ScaledActivation
from clebsch.o3 import Irreps
from clebsch.ops.gating import Gating, gate


class Gate(nn.Module):
    """Scalars pass an activation; other irreps are multiplied by activated scalars.

    Weiler et al., 3D Steerable CNNs (2018), section 4.3. The layer chooses its own input: put a
    ``Linear`` to ``irreps_in`` before it. Gates are even scalars, one per gated channel.

    Args:
        irreps_out: irreps of the result.
        even: activation of even scalars and of gates.
        odd: activation of odd scalars; must be an even or odd function.

    Attributes:
        irreps_in: scalars, gates, gated.

    Shape: (..., irreps_in.dim) -> (..., irreps_out.dim).

    Example:
        >>> Gate("8x0e + 4x1o").irreps_in
        8x0e+4x0e+4x1o
    """

    def __init__(
        self,
        irreps_out: Irreps | str,
        even: Activation = nn.functional.silu,
        odd: Activation = torch.tanh,
    ) -> None:
        super().__init__()
        self.irreps_out = Irreps(irreps_out)
        self.even, self.odd = ScaledActivation(even), ScaledActivation(odd)
        scalars = [(mul, ir) for mul, ir in self.irreps_out if ir.l == 0]
        gated = [(mul, ir) for mul, ir in self.irreps_out if ir.l > 0]
        if [*scalars, *gated] != [(mul, ir) for mul, ir in self.irreps_out]:
            raise ValueError(f"{self.irreps_out}: put the scalars first")
        activations = {1: (even, self.even.scale), -1: (odd, self.odd.scale)}
        self.gating = Gating(Irreps(scalars), Irreps(gated), activations)
        self.n_gates = sum(mul for mul, _ in gated)
        self.irreps_in = self.gating.irreps_in

    def forward(self, x: Tensor) -> Tensor:
        return gate(self.gating, x)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}"
