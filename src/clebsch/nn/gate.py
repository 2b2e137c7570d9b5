"""Gated nonlinearity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clebsch.nn.activations import Activation, ScaledActivation
from clebsch.o3 import Irrep, Irreps


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
        self._scalars, self._gated = scalars, gated
        self.n_gates = sum(mul for mul, _ in gated)
        gates = [(self.n_gates, Irrep(0, 1))] if gated else []
        self.irreps_in = Irreps([*scalars, *gates, *gated])
        self._sizes = [mul * ir.dim for mul, ir in self.irreps_in]

    def forward(self, x: Tensor) -> Tensor:
        blocks = iter(x.split(self._sizes, dim=-1))
        acts = {1: self.even, -1: self.odd}
        parts = [acts[ir.p](next(blocks)) for _, ir in self._scalars]
        if self._gated:
            gates = self.even(next(blocks)).split([mul for mul, _ in self._gated], dim=-1)
            for (mul, ir), gate in zip(self._gated, gates, strict=True):
                block = next(blocks).unflatten(-1, (ir.dim, mul))
                parts.append((block * gate.unsqueeze(-2)).flatten(-2))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}"
