"""Gated nonlinearities."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clebsch.nn.activations import (
    ScalarFunction,
    ScaledActivation,
    activated_irreps,
    function_name,
    function_parity,
    scaled_functions,
)
from clebsch.nn.arguments import check_features
from clebsch.o3 import Irrep, Irreps
from clebsch.o3.irreps import IrrepsLike
from clebsch.ops.nodewise.gating import Gating, gate


class Gate(nn.Module):
    """Scalars pass an activation; other irreps are multiplied by activated scalars.

    Weiler et al., 3D Steerable CNNs (2018), section 4.3. The layer chooses its own input: put a
    ``Linear`` to ``irreps_in`` before it. Gates are even scalars, one per gated channel;
    ``GeneralGate`` has others.

    Args:
        irreps_out: irreps of the result.
        even: activation of even scalars and of gates.
        odd: activation of odd scalars; an odd function.

    Attributes:
        irreps_in: scalars, gates, gated.

    Shape: (..., irreps_in.dim) -> (..., irreps_out.dim).

    Raises:
        ValueError: a scalar after another irrep; odd scalars and ``odd`` that is no odd function.

    Example:
        >>> Gate("8x0e + 4x1o").irreps_in
        8x0e+4x0e+4x1o
    """

    def __init__(
        self,
        irreps_out: IrrepsLike,
        even: ScalarFunction = nn.functional.silu,
        odd: ScalarFunction = torch.tanh,
    ) -> None:
        super().__init__()
        self.irreps_out = Irreps(irreps_out)
        self.even, self.odd = ScaledActivation(even), ScaledActivation(odd)
        scalars = [(mul, ir) for mul, ir in self.irreps_out if ir.l == 0]
        gated = [(mul, ir) for mul, ir in self.irreps_out if ir.l > 0]
        if [*scalars, *gated] != [(mul, ir) for mul, ir in self.irreps_out]:
            raise ValueError(f"Gate: {self.irreps_out}: put the scalars first")
        if any(ir.p == -1 for _, ir in scalars) and function_parity(odd) != -1:
            raise ValueError(
                f"Gate: {self.irreps_out} has odd scalars, but {function_name(odd)} is no odd "
                "function"
            )
        activations = {1: (even, self.even.scale), -1: (odd, self.odd.scale)}
        self.gating = Gating.by_parity(Irreps(scalars), Irreps(gated), activations)
        self.n_gates = sum(mul for mul, _ in gated)
        self.irreps_in = self.gating.irreps_in

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        return gate(self.gating, x)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}"


class GeneralGate(nn.Module):
    """``Gate`` with an activation for every block, and gates of either parity.

    Channel k of the gates multiplies channel k of the gated blocks; an odd gate turns the parity.
    The input keeps the order scalars, gates, gated (e3nn's ``Gate``, of the same arguments, sorts).

    Args:
        irreps_scalars: blocks that pass ``act_scalars``.
        act_scalars: a function, or ``None``, for every block of them.
        irreps_gates: scalars, as many channels as ``irreps_gated``.
        act_gates: a function, or ``None``, for every block of gates.
        irreps_gated: blocks that are multiplied.

    Attributes:
        irreps_in: scalars, gates, gated.
        irreps_out: scalars after their activations, gated times gates; a gated block whose gates
            have both parities becomes several.

    Shape: (..., irreps_in.dim) -> (..., irreps_out.dim).

    Raises:
        ValueError: as ``Activation``; scalars or gates with l > 0; not one gate per channel.

    Example:
        >>> tanh = torch.tanh
        >>> GeneralGate("16x0o", [tanh], "24x0o + 8x0e", [tanh, tanh], "16x1o + 16x1e").irreps_out
        16x0o+16x1e+8x1o+8x1e
    """

    def __init__(
        self,
        irreps_scalars: IrrepsLike,
        act_scalars: Sequence[ScalarFunction | None],
        irreps_gates: IrrepsLike,
        act_gates: Sequence[ScalarFunction | None],
        irreps_gated: IrrepsLike,
    ) -> None:
        super().__init__()
        scalars, gates = Irreps(irreps_scalars), Irreps(irreps_gates)
        gated = Irreps(irreps_gated)
        for name, irreps in (("irreps_scalars", scalars), ("irreps_gates", gates)):
            if any(ir.l > 0 for _, ir in irreps):
                raise ValueError(f"GeneralGate: {name} must be scalars, not {irreps}")
        if gates.num_irreps != gated.num_irreps:
            raise ValueError(
                f"GeneralGate: irreps_gated {gated} has {gated.num_irreps} channels, "
                f"but irreps_gates {gates} has {gates.num_irreps}"
            )
        activated = activated_irreps("GeneralGate", scalars, act_scalars, "irreps_scalars")
        factors = activated_irreps("GeneralGate", gates, act_gates, "irreps_gates")
        self.irreps_in = scalars + gates + gated
        self.irreps_out = activated + _product(factors, gated)
        acts = [*act_scalars, *act_gates]
        self.acts = nn.ModuleList(nn.Identity() if f is None else ScaledActivation(f) for f in acts)
        self.gating = Gating(
            scalars,
            gates,
            gated,
            scaled_functions(act_scalars),
            scaled_functions(act_gates),
            self.irreps_out,
        )

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        return gate(self.gating, x)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}"


def _product(gates: Irreps, gated: Irreps) -> Irreps:
    """Blocks of gated channels times gates: one per block and run of gates of equal parity."""
    parities = itertools.chain.from_iterable([ir.p] * mul for mul, ir in gates)
    result = []
    for mul, ir in gated:
        runs = itertools.groupby(itertools.islice(parities, mul))
        found = [(sum(1 for _ in run), Irrep(ir.l, ir.p * p)) for p, run in runs]
        result += found or [(0, ir)]
    return Irreps(result)
