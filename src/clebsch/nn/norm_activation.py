"""Nonlinearity of norms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clebsch.nn.activations import ScalarFunction, function_name
from clebsch.nn.arguments import check_features
from clebsch.o3 import Irreps
from clebsch.o3.irreps import IrrepsLike


class NormActivation(nn.Module):
    """Every irrep x becomes f(|x| + b) x / |x|, or f(|x| + b) x without ``normalize``.

    Thomas et al., Tensor field networks (2018), section 4.3. As in e3nn the function is not
    scaled. The gradient is finite everywhere, at zero too.

    Args:
        irreps_in: irreps of input and result.
        function: f, of norms.
        normalize: divide by the norm.
        epsilon: smaller norms count as this, 1e-8 where it is not given; only with ``normalize``.
        bias: learn an additive b for every channel, zero at first.

    Attributes:
        biases: (irreps_in.num_irreps,), only with ``bias``.

    Shape: (..., irreps_in.dim) to the same.

    Raises:
        ValueError: an epsilon that is not positive, or one without ``normalize``.

    Example:
        >>> layer = NormActivation("1x1o", torch.sigmoid)
        >>> layer(torch.tensor([3.0, 0.0, 4.0])).norm() == torch.sigmoid(torch.tensor(5.0))
        tensor(True)
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        function: ScalarFunction,
        *,
        normalize: bool = True,
        epsilon: float | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.irreps_in = self.irreps_out = Irreps(irreps_in)
        if epsilon is not None and not normalize:
            raise ValueError("NormActivation: epsilon bounds a divisor; it needs normalize=True")
        if epsilon is not None and not epsilon > 0:
            raise ValueError(f"NormActivation: epsilon must be positive, not {epsilon}")
        self.function = function
        self.normalize = normalize
        self.epsilon = 1e-8 if epsilon is None else epsilon
        self.biases = nn.Parameter(torch.zeros(self.irreps_in.num_irreps)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        check_features(self, "x", x, self.irreps_in)
        if not self.irreps_in:
            return x
        lead = x.shape[:-1]
        parts = x.split([mul * ir.dim for mul, ir in self.irreps_in], dim=-1)
        blocks = [
            part.reshape(*lead, ir.dim, mul)
            for part, (mul, ir) in zip(parts, self.irreps_in, strict=True)
        ]
        norms = self._norm(torch.cat([block.square().sum(-2) for block in blocks], dim=-1))
        factors = self.function(norms if self.biases is None else norms + self.biases)
        if self.normalize:
            factors = factors / norms
        results = [
            (block * factor.unsqueeze(-2)).reshape(*lead, ir.dim * mul)
            for block, factor, (mul, ir) in zip(
                blocks,
                factors.split([mul for mul, _ in self.irreps_in], dim=-1),
                self.irreps_in,
                strict=True,
            )
        ]
        return results[0] if len(results) == 1 else torch.cat(results, dim=-1)

    def _norm(self, square: Tensor) -> Tensor:
        """sqrt without its infinite derivative at 0."""
        if self.normalize:
            return square.clamp(min=self.epsilon**2).sqrt()
        positive = square > 0
        return square.where(positive, 1.0).sqrt().where(positive, 0.0)

    def extra_repr(self) -> str:
        return f"{self.irreps_in}, {function_name(self.function)}, normalize={self.normalize}"
