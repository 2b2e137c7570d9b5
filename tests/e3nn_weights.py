"""Our weights put into e3nn's layers, for tests that compare the two."""

import torch

from clebsch.nn import Linear


def e3nn_linear(e3nn, layer: Linear):
    """e3nn's Linear (``e3nn`` is its o3 module) with this layer's weights."""
    oracle = e3nn.Linear(str(layer.irreps_in), str(layer.irreps_out))
    with torch.no_grad():
        start = 0
        for (_, sources, results), (fan_in, out) in zip(layer.plan, layer.shapes, strict=True):
            matrix = layer.weight[start : start + fan_in * out].view(fan_in, out)
            start += fan_in * out
            row = 0
            for i in sources:
                column = 0
                rows = layer.irreps_in[i].mul
                for k in results:
                    columns = layer.irreps_out[k].mul
                    number = next(
                        n
                        for n, ins in enumerate(oracle.instructions)
                        if (ins.i_in, ins.i_out) == (i, k)
                    )
                    oracle.weight_view_for_instruction(number).copy_(
                        matrix[row : row + rows, column : column + columns]
                    )
                    column += columns
                row += rows
    return oracle
