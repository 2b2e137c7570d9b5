"""Softmax over the edges into each atom."""

from __future__ import annotations

import torch
from torch import Tensor

from clebsch.ops.nodewise import autocast

_HALF = (torch.float16, torch.bfloat16)


def segment_softmax(
    logits: Tensor,
    index: Tensor,
    n: int,
    weight: Tensor | None = None,
    sink: Tensor | None = None,
) -> Tensor:
    """Shares of the edges in the node that they go to, in numbers that cannot overflow.

    For an edge e into i, with the sum over all edges e' into i,

        share[e] = weight[e] exp(logits[e]) / (exp(sink) + sum weight[e'] exp(logits[e'])).

    Weights that end smoothly at a cutoff make shares that do. Without a sink the shares of a
    node sum to one, so its last neighbour leaves all at once: smoothness for every geometry
    needs a sink, a share that goes to nobody. A node without edges is never divided by zero.
    Half precision is computed in float32 and rounded at the end, under autocast it is not rounded.

    Args:
        logits: (E, heads).
        index: (E,) int64, the node of each edge.
        n: number of nodes.
        weight: (E,) not negative; an edge of weight zero has no share and no gradient.
        sink: (heads,) logits of nobody.

    Returns:
        (E, heads).

    Example:
        >>> logits = torch.tensor([[0.0], [1000.0], [1000.0]])
        >>> segment_softmax(logits, torch.tensor([0, 1, 1]), 3).T
        tensor([[1.0000, 0.5000, 0.5000]])
        >>> segment_softmax(logits, torch.tensor([0, 1, 1]), 3, sink=torch.zeros(1)).T
        tensor([[0.5000, 0.5000, 0.5000]])
    """
    if logits.dtype not in _HALF:
        return _softmax(logits, index, n, weight, sink)
    wide = [None if t is None else t.float() for t in (weight, sink)]
    shares = _softmax(logits.float(), index, n, *wide)
    return shares if autocast(logits.device.type) else shares.to(logits.dtype)


def _softmax(
    logits: Tensor, index: Tensor, n: int, weight: Tensor | None, sink: Tensor | None
) -> Tensor:
    heads = logits.shape[1:]
    if weight is not None:
        inside = weight >= torch.finfo(weight.dtype).tiny
        weight, inside = weight.where(inside, 0.0)[:, None], inside[:, None]
    with torch.no_grad():  # the shares do not depend on what is subtracted
        height = logits
        if weight is not None:
            height = (logits + weight.where(inside, 1.0).log()).where(inside, -torch.inf)
        empty = logits.new_full((n, *heads), -torch.inf)
        top = empty if sink is None else sink.to(empty.dtype).expand_as(empty)
        top = top.scatter_reduce(0, index[:, None].expand_as(height), height, "amax")
        top = top.where(top > -torch.inf, 0.0)
    above = logits - top.index_select(0, index)
    part = above.exp() if weight is None else above.where(inside, 0.0).exp() * weight
    total = torch.zeros_like(top).index_add(0, index, part.to(top.dtype))
    if sink is not None:
        total = total + (sink - top).exp()
    total = total.where(total > 0, 1.0)
    return part / total.index_select(0, index)
