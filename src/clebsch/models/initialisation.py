"""Initial weights scaled on data, so that every layer starts at unit variance."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from clebsch.models.potential import Potential
from clebsch.nn import Convolution, Linear
from clebsch.structures.graph import AtomGraph


@torch.no_grad()
def set_unit_variance(model: Potential, graph: AtomGraph) -> None:
    """Scale the weights of a new potential until its messages have unit variance on ``graph``.

    Random weights give unit variance for independent inputs. Real neighbours are not: bonds
    are short, where radial functions are large, and equal neighbours add up coherently. One
    pass over typical structures, layer by layer, takes both out (Mishkin and Matas, All you
    need is a good init, 2016).

    Args:
        model: a potential with random weights; changed in place.
        graph: a batch of typical structures; without edges nothing is changed.
    """
    if not graph.n_edges:
        return
    hooks = [model.basis.register_forward_hook(partial(_divide_first_weights, model))]
    hooks += [
        module.register_forward_hook(_divide_output_weights)
        for module in model.modules()
        if isinstance(module, Convolution)
    ]
    hooks.append(model.readout.register_forward_hook(_divide_readout))
    try:
        model(graph, forces=False)
    finally:
        for hook in hooks:
            hook.remove()


def _divide_first_weights(model: Potential, basis: Any, inputs: Any, output: Tensor) -> None:
    """The radial networks see the basis at unit variance."""
    size = _rms(output)
    for layer in model.layers:
        layer.convolution.radial.weights[0].div_(size)  # type: ignore[union-attr, index]


def _divide_output_weights(module: Convolution, inputs: Any, output: Tensor) -> Tensor:
    """Every irrep of the convolution's result gets unit variance."""
    mix = module.mix_out
    result = output.clone()
    assert mix.weight is not None
    weight = mix.weight.data
    start = 0
    for (_, _, blocks), (fan_in, channels) in zip(mix.plan, mix.shapes, strict=True):
        places = [mix.irreps_out.slices()[b] for b in blocks]
        size = _rms(torch.cat([output[:, place] for place in places], dim=1))
        weight[start : start + fan_in * channels] /= size
        start += fan_in * channels
        for place in places:
            result[:, place] /= size
    return result


def _divide_readout(module: torch.nn.Sequential, inputs: Any, output: Tensor) -> Tensor:
    last = module[-1]
    assert isinstance(last, Linear)
    assert last.weight is not None
    size = _rms(output)
    last.weight.data /= size
    return output / size


def _rms(x: Tensor) -> Tensor:
    """Root mean square; one where there is nothing to measure."""
    size = x.square().mean().sqrt()
    return torch.where(size > 0, size, 1.0)
