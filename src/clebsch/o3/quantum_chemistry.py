"""Real spherical harmonics in the order and axes of quantum chemistry.

There the polar axis is z and m runs from -l to l (sine functions at m < 0, no Condon-Shortley
phase): for l = 1 that is y, z, x. PySCF keeps this order except for p functions: x, y, z.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from clebsch.errors import UserError
from clebsch.o3.wigner import wigner_D

if TYPE_CHECKING:
    from torch import Tensor


def to_quantum_chemistry(
    l: int,
    order: Literal["m", "pyscf"] = "m",
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """The orthogonal matrix Q with Y_quantum_chemistry(r) = Q Y_e3nn(r), both at the same r.

    Coefficients of such functions turn by the same Q; its transpose leads back.

    Args:
        l: degree.
        order: ``"m"``: m = -l..l; ``"pyscf"``: the same but x, y, z for l = 1.

    Returns:
        Shape (2l+1, 2l+1), rows in quantum-chemistry order.

    Raises:
        UserError: when l is negative or the order unknown.

    >>> to_quantum_chemistry(1)  # from (x, y, z) to (y, z, x)
    tensor([[0., 1., 0.],
            [0., 0., 1.],
            [1., 0., 0.]])
    """
    if order not in ("m", "pyscf"):
        raise UserError(f'the order must be "m" or "pyscf", not {order!r}')
    # the harmonics with polar axis z at (x, y, z) are those with polar axis y at (y, z, x)
    turn = torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.float64)
    Q = wigner_D(l, turn)
    if order == "pyscf" and l == 1:
        Q = Q[[2, 0, 1]]
    return Q.to(dtype=dtype or torch.get_default_dtype(), device=device)
