"""Edge lists as the GPU back end walks over them: edges of a row, in their order.

Sorting costs about as much as a small convolution, so what is made of an edge list is kept for
the layers and derivatives that follow, see ``edge_list``.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict, deque
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

_OUTSIDE = "an edge names a source or destination row that is not there"
_KEPT = 8


class Rows(NamedTuple):
    """Edges by the row they belong to.

    Attributes:
        start: (rows + 1,) int64, first place of each row in the two below.
        order: (E,) int64, the edges; those of a row ascend.
        other: (E,) int64, the row at each edge's other end.
    """

    start: Tensor
    order: Tensor
    other: Tensor


class EdgeList:
    """What is made of (src, dst) for n_src and n_dst rows, on their device, without waiting.

    A GPU cannot raise. Edges that name a row which is not there are therefore moved to one that
    is (nothing outside is read or written), ``poison`` becomes NaN and is added to every result,
    and ``watch`` raises at a later call, when the device's answer has arrived.
    """

    def __init__(self, src: Tensor, dst: Tensor, n_src: int, n_dst: int) -> None:
        if src.shape[0] and not (n_src and n_dst):
            raise IndexError(_OUTSIDE)
        outside = ((src < 0) | (src >= n_src) | (dst < 0) | (dst >= n_dst)).any()
        self.poison = torch.where(outside, torch.nan, 0.0)
        self.src, self.dst = src.clamp(0, n_src - 1), dst.clamp(0, n_dst - 1)
        self.n_src, self.n_dst = n_src, n_dst
        _report(outside)

    @cached_property
    def by_dst(self) -> Rows:
        """The edges that arrive at each row."""
        return _rows(self.dst, self.src, self.n_dst)

    @cached_property
    def by_src(self) -> Rows:
        """The edges that leave each row."""
        return _rows(self.src, self.dst, self.n_src)


def _rows(own: Tensor, other: Tensor, rows: int) -> Rows:
    # Half the bits are half the passes of a radix sort.
    key = own.to(torch.int32) if rows < 2**31 else own
    key, order = torch.sort(key, stable=True)
    start = torch.searchsorted(key, torch.arange(rows + 1, dtype=key.dtype, device=key.device))
    return Rows(start, order, other[order])


_kept: OrderedDict[tuple[int, ...], tuple[weakref.ref[Tensor], weakref.ref[Tensor], EdgeList]]
_kept = OrderedDict()
_pending: deque[tuple[torch.cuda.Event, Tensor]] = deque()
_lock = Lock()


def edge_list(src: Tensor, dst: Tensor, n_src: int, n_dst: int) -> EdgeList:
    """The ``EdgeList`` of (src, dst), the one made before where these are the same two tensors.

    The same means the same objects, unchanged as their version counters tell, on the same
    stream. Nothing is kept where that cannot be known: for tensors of inference mode, which do
    not count, and in a CUDA graph, whose replays change what a tensor holds.

    Raises:
        IndexError: an edge names a row that is not there (CPU), or did so in an earlier call.
    """
    watch()
    if src.is_inference() or dst.is_inference() or _capturing(src):
        return EdgeList(src, dst, n_src, n_dst)
    stream = torch.cuda.current_stream(src.device).cuda_stream if src.is_cuda else 0
    key = (id(src), id(dst), src._version, dst._version, n_src, n_dst, stream)
    with _lock:
        known = _kept.get(key)
        if known is not None and known[0]() is src and known[1]() is dst:
            _kept.move_to_end(key)
            return known[2]
    made = EdgeList(src, dst, n_src, n_dst)

    def forget(_: weakref.ref[Tensor]) -> None:
        _kept.pop(key, None)

    with _lock:
        _kept[key] = (weakref.ref(src, forget), weakref.ref(dst, forget), made)
        if len(_kept) > _KEPT:
            _kept.popitem(last=False)
    return made


def _capturing(tensor: Tensor) -> bool:
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def _report(outside: Tensor) -> None:
    """Raise where ``outside`` () bool is true; on a GPU leave the answer for ``watch``."""
    if not outside.is_cuda:
        if outside:
            raise IndexError(_OUTSIDE)
        return
    if _capturing(outside):
        return
    answer = torch.empty((), dtype=torch.bool, pin_memory=True)
    answer.copy_(outside, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(outside.device))
    _pending.append((event, answer))


def watch() -> None:
    """Raise for edge lists of earlier calls, as far as the device has looked at them.

    Raises:
        IndexError: one of them names a row that is not there; its results are NaN.
    """
    while _pending:
        if torch.cuda.is_current_stream_capturing():
            return
        with _lock:
            if not _pending or not _pending[0][0].query():
                return
            _, answer = _pending.popleft()
        if answer:
            raise IndexError(f"{_OUTSIDE} (in an earlier call, whose results are NaN)")
