"""What the kernels of node-wise layers share: when they are used, which gradients they owe."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

_FIRST_ORDER = "_clebsch_first_order_only"
_PLAIN = (Tensor, torch.nn.Parameter)
VMAP_MODE = torch._C._parse_dispatch_key("VmapMode") or ""  # autograd.grad(is_grads_batched)
_REAL = (torch.float32, torch.float64)


def fast(*tensors: Tensor) -> bool:
    """Whether these are plain CPU tensors of one real type, outside of tracers and transforms."""
    if (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.is_autocast_enabled("cpu")
        or forward_ad._current_level >= 0
    ):
        return False
    return all(type(t) in _PLAIN and t.dtype in _REAL and t.is_cpu for t in tensors)


def autocast(kind: str) -> bool:
    """Whether autocast is on for this kind of device."""
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def full_precision(kind: str) -> AbstractContextManager[Any]:
    """Suspends autocast: sums over edges are made in the precision of their factors."""
    return torch.autocast(kind, enabled=False) if autocast(kind) else nullcontext()


def batched() -> bool:
    """Whether the present backward pass is a transformed one, over a batch of cotangents."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._dispatch_tls_is_dispatch_key_included(VMAP_MODE)
    )


def wanted(ctx: Any, argument: int, tensor: int) -> bool:
    """Whether the present backward pass uses the gradient of an input of a Python function.

    ``ctx.needs_input_grad`` tells whether it could ever be asked for: forces would then pay for
    gradients of all weights, and a training step for second derivatives by the geometry.

    Args:
        ctx: context of the function in ``backward``.
        argument: position of the input among all arguments of ``forward``.
        tensor: its position among those arguments that are tensors.
    """
    if not ctx.needs_input_grad[argument]:
        return False
    node = ctx.next_functions[tensor][0]
    if node is None:
        return False
    if not torch.is_grad_enabled() and hasattr(getattr(node, "variable", None), _FIRST_ORDER):
        return False
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except (AttributeError, RuntimeError):  # another torch; a leaf that autograd.grad asks for
        return True


def first_order_only(*leaves: Tensor) -> None:
    """No gradient by these leaves is wanted of a pass that keeps no graph.

    For quantities by which one differentiates with ``create_graph`` and never again: a plain
    ``loss.backward()`` would compute second derivatives by them, and nobody reads these.
    """
    for leaf in leaves:
        setattr(leaf, _FIRST_ORDER, True)
