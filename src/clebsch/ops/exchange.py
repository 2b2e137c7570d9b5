"""Rows of atoms that belong to another process or are images of an atom of this one.

Where space is divided, a process knows the atoms of its own domain and, as ghosts behind them,
the neighbours beyond its borders. Features of ghosts come from their owners, and derivatives by
them go back there: two linear maps, each the other's adjoint.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Exchange(Protocol):
    """What moves rows between owners and ghosts; every process calls it equally often."""

    def forward(self, rows: Tensor) -> Tensor:
        """(n_local, width) -> (n_local + n_ghost, width): ghosts get their owner's row."""

    def reverse(self, rows: Tensor) -> Tensor:
        """(n_local + n_ghost, width) -> (n_local, width): owners add what their ghosts have."""


class GhostMap:
    """An exchange within one process: every ghost is the image of an atom that is here.

    Args:
        owners: (n_ghost,) row of each ghost's owner.
        n_local: number of atoms.
    """

    def __init__(self, owners: Tensor, n_local: int) -> None:
        self.owners, self.n_local = owners, n_local

    def forward(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, rows.index_select(0, self.owners)])

    def reverse(self, rows: Tensor) -> Tensor:
        return rows[: self.n_local].index_add(0, self.owners, rows[self.n_local :])


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, exchange, back):  # type: ignore[no-untyped-def]
        ctx.exchange, ctx.back = exchange, back
        return exchange.reverse(rows) if back else exchange.forward(rows)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return _Move.apply(grad.contiguous(), ctx.exchange, not ctx.back), None, None


def with_ghosts(rows: Tensor, exchange: Exchange | None) -> Tensor:
    """Rows of all atoms from those of the local ones, any number of times differentiable.

    Shape: (n_local, width) -> (n_local + n_ghost, width); unchanged without an exchange.
    """
    if exchange is None:
        return rows
    moved: Tensor = _Move.apply(rows.contiguous(), exchange, False)
    return moved


def first_rows(rows: Tensor, n: int) -> Tensor:
    """The rows of the n atoms that come first; without ghosts these are all."""
    return rows if rows.shape[0] == n else rows[:n]
