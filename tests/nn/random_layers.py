"""Every public layer with random irreps: a layer, and what goes in and comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

import clebsch.nn as layers
from clebsch.o3 import Irrep, Irreps, SphereGrid
from clebsch.ops import Edges

SILU, TANH = nn.functional.silu, torch.tanh
T = TypeVar("T")


def square(x: Tensor) -> Tensor:
    return x * x


def cube(x: Tensor) -> Tensor:
    return x * x * x


@dataclass
class Case:
    """A layer as a function of features that all have the same rows.

    Attributes:
        layer: the function.
        irreps_in: irreps of each argument.
        irreps_out: irreps of each result.
        by_rows: whether each row of the result is that of the arguments, of any leading shape.
    """

    layer: nn.Module
    irreps_in: list[Irreps]
    irreps_out: list[Irreps]
    by_rows: bool = True


class Draw:
    """Random choices; of irreps all that the notation allows."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def flag(self) -> bool:
        return bool(self.rng.integers(2))

    def one(self, *choices: T) -> T:
        return choices[int(self.rng.integers(len(choices)))]

    def permuted(self, things: list[T]) -> list[T]:
        return [things[i] for i in self.rng.permutation(len(things))]

    def irreps(self, lmax: int = 4, most: int = 5, blocks: int = 5, filled: bool = False) -> Irreps:
        """In any order, some blocks twice, some without channels, some of one parity only."""
        parities = self.one((1, -1), (1, -1), (1,), (-1,))
        degrees = [self.integer(0, lmax) for _ in range(3)]
        length = 0 if not filled and self.rng.random() < 0.08 else self.integer(1, blocks)
        found = [
            (
                0 if self.rng.random() < 0.1 else self.integer(1, most),
                Irrep(self.one(*degrees), self.one(*parities)),
            )
            for _ in range(length)
        ]
        if filled and not any(mul for mul, _ in found):
            found[0] = (1, found[0][1])
        return Irreps(found)

    def cut(self, irreps: Irreps) -> Irreps:
        """The same irreps in blocks that are cut or joined elsewhere."""
        found = []
        for mul, ir in irreps.simplify():
            first = self.integer(0, mul)
            found += [(first, ir), (mul - first, ir)]
        return Irreps(found)

    def signal(self, lmax: int = 4, most: int = 4, p_val: int | None = None) -> Irreps:
        """Functions on the sphere of some of the degrees."""
        p_val = self.one(1, -1) if p_val is None else p_val
        p_arg, mul = self.one(1, -1), self.integer(1, most)
        degrees = [l for l in range(lmax + 1) if self.flag()] or [self.integer(0, lmax)]
        return Irreps([(mul, Irrep(l, p_val * p_arg**l)) for l in degrees])


class OnEdges(nn.Module):
    """A layer of points as a function of as many points' features and edges' attributes.

    Half of the points receive from nobody.
    """

    def __init__(self, layer: nn.Module, attributes: bool, cutoff: bool) -> None:
        super().__init__()
        self.layer, self.attributes, self.cutoff = layer, attributes, cutoff

    def forward(self, *features: Tensor) -> Tensor:
        *nodes, y = features
        rows = y.shape[0]
        number = torch.arange(rows)
        edges = Edges((3 * number + 1) % max(rows, 1), number // 2, rows)
        u = (number.to(y.dtype)[:, None] + torch.arange(1, 4)) / (rows + 3)
        also = [u[:, 0]] if self.cutoff else []
        return self.layer(*nodes, y, torch.sin(3 * u), *also, edges)


class OnSpecies(nn.Module):
    """A layer with weights by species, the rows being of all of them."""

    def __init__(self, layer: nn.Module, n_species: int) -> None:
        super().__init__()
        self.layer, self.n_species = layer, n_species

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, torch.arange(x.shape[0]) % self.n_species)


def activation(draw: Draw) -> Case:
    irreps = draw.irreps()
    acts = []
    for _, ir in irreps:
        fitting = [None] if ir.l else [None, TANH, torch.abs, SILU]
        acts.append(draw.one(*(fitting[:3] if ir.p == -1 else fitting)))
    layer = layers.Activation(irreps, acts)
    return Case(layer, [irreps], [layer.irreps_out])


def antisymmetric_power(draw: Draw) -> Case:
    irreps, n = draw.irreps(2, 2, 2), draw.integer(1, 2)
    layer = layers.AntisymmetricPower(irreps, n)
    return Case(layer, [irreps] * n, [layer.irreps_out])


def attention(draw: Draw) -> Case:
    heads = draw.integer(1, 2)
    x, y, z = draw.irreps(3, 3, 3), draw.irreps(2, 1, 2), draw.irreps(3, 4, 2)
    y = draw.one(y, Irreps.spherical_harmonics(1))
    hidden = draw.one(None, Irreps([(heads * mul, ir) for mul, ir in draw.irreps(2, 2, 3)]))
    layer = layers.Attention(
        x, y, z, radial=[3, 4], heads=heads, mean_neighbours=2.0, irreps_hidden=hidden,
        sink=draw.flag(),
    )  # fmt: skip
    return Case(OnEdges(layer, False, True), [x, y], [z], by_rows=False)


def batch_norm(draw: Draw) -> Case:
    irreps = draw.irreps()
    layer = layers.BatchNorm(
        irreps, affine=draw.flag(), reduce=draw.one("mean", "max"), instance=draw.flag(),
        include_bias=draw.flag(), normalization=draw.one("component", "norm"),
    ).train(draw.flag())  # fmt: skip
    return Case(layer, [irreps], [irreps], by_rows=False)


def convolution(draw: Draw) -> Case:
    x, y, z = draw.irreps(3), draw.irreps(3, 1, 3), draw.irreps(3)
    layer = layers.Convolution(x, y, z, radial=[3, 4], mean_neighbours=2.0)
    return Case(OnEdges(layer, False, False), [x, y], [z], by_rows=False)


def dropout(draw: Draw) -> Case:
    irreps = draw.irreps()
    layer = layers.Dropout(irreps, draw.one(0.0, 0.5, 1.0)).train(draw.flag())
    return Case(layer, [irreps], [irreps], by_rows=False)


def elementwise(draw: Draw) -> Case:
    x, y = draw.irreps(3), draw.irreps(3, filled=True)
    missing = x.num_irreps - y.num_irreps
    more = Irreps([(abs(missing), Irrep(draw.integer(0, 3), draw.one(1, -1)))])
    x, y = (x, y + more) if missing > 0 else (x + more, y)
    layer = layers.ElementwiseTensorProduct(x, y, draw.one(None, draw.irreps(2)))
    return Case(layer, [x, y], [layer.irreps_out])


def extract(draw: Draw) -> Case:
    irreps = draw.irreps()
    numbers = [draw.permuted(list(range(len(irreps))))[: draw.integer(0, 3)] for _ in range(3)]
    outs = [Irreps([irreps[n] for n in some]) for some in numbers]
    return Case(layers.Extract(irreps, outs, numbers), [irreps], outs)


def extract_ir(draw: Draw) -> Case:
    irreps = draw.irreps()
    layer = layers.ExtractIr(irreps, draw.one(*(ir for _, ir in irreps), Irrep("0e")))
    return Case(layer, [irreps], [layer.irreps_out])


def factor_linear(draw: Draw) -> Case:
    x, z, a, b = draw.irreps(), draw.irreps(), draw.integer(1, 3), draw.integer(1, 3)
    layer = layers.FactorLinear(x, z, a, b, biases=draw.flag())
    whole = nn.Sequential(nn.Unflatten(-1, (a, x.dim)), layer, nn.Flatten(-2))
    return Case(whole, [a * x], [b * z])


def full(draw: Draw) -> Case:
    x, y = draw.irreps(4, 3, 3), draw.irreps(3, 2, 3)
    layer = layers.FullTensorProduct(x, y, draw.one(None, draw.irreps()))
    return Case(layer, [x, y], [layer.irreps_out])


def fully_connected(draw: Draw) -> Case:
    x, y, z = draw.irreps(4, 3, 3), draw.irreps(3, 2, 3), draw.irreps(4, 3, 3)
    layer = layers.FullyConnectedTensorProduct(
        x, y, z, irrep_normalization=draw.one("component", "norm"),
        path_normalization=draw.one("element", "path"),
    )  # fmt: skip
    return Case(layer, [x, y], [z])


def gate(draw: Draw) -> Case:
    irreps = draw.irreps()
    layer = layers.Gate(sorted(irreps, key=lambda block: block.ir.l > 0))
    return Case(layer, [layer.irreps_in], [layer.irreps_out])


def gaunt(draw: Draw) -> Case:
    x = draw.signal(3)
    mul = draw.one(1, x[0].mul)
    y = Irreps([(mul, ir) for _, ir in draw.signal(3)])
    layer = layers.GauntTensorProduct(
        x, y, weighted=draw.flag(), normalization=draw.one("component", "integral")
    )
    return Case(layer, [x, y], [layer.irreps_z])


def general_gate(draw: Draw) -> Case:
    scalars, gated = draw.irreps(0), draw.irreps()
    first = draw.integer(0, gated.num_irreps)
    gates = Irreps([(first, (0, 1)), (0, (0, -1)), (gated.num_irreps - first, (0, -1))])
    layer = layers.GeneralGate(
        scalars, [draw.one(TANH, torch.abs, None) for _ in scalars],
        gates, [draw.one(TANH, torch.abs, None) for _ in gates], gated,
    )  # fmt: skip
    return Case(layer, [layer.irreps_in], [layer.irreps_out])


def identity(draw: Draw) -> Case:
    irreps = draw.irreps()
    x, z = draw.cut(irreps), draw.cut(irreps)
    return Case(layers.Identity(x, z), [x], [z])


def layer_norm(draw: Draw) -> Case:
    irreps = draw.irreps()
    return Case(layers.LayerNorm(irreps, affine=draw.flag()), [irreps], [irreps])


def linear(draw: Draw) -> Case:
    x, z = draw.irreps(), draw.irreps()
    pairs = [
        (i, k) for i, (_, a) in enumerate(x) for k, (_, b) in enumerate(z) if a == b and draw.flag()
    ]
    species = draw.one(0, 2)
    layer = layers.Linear(
        x, z, n_species=species, scale=draw.one(1.0, 0.3), biases=draw.flag(),
        instructions=draw.one(None, pairs), path_normalization=draw.one("element", "path"),
    )  # fmt: skip
    return Case(OnSpecies(layer, 2) if species else layer, [x], [z], by_rows=not species)


class RowByRow(nn.Module):
    """A linear layer whose weights are functions of the rows."""

    def __init__(self, layer: layers.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        size = x.square().sum(-1, keepdim=True)
        weights = torch.cos(size * 0.1 + torch.arange(self.layer.weight_numel))
        bias = torch.cos(size * 0.1 + torch.arange(self.layer.bias_numel))
        return self.layer(x, weights=weights, bias=bias)


def linear_by_rows(draw: Draw) -> Case:
    x, z = draw.irreps(), draw.irreps()
    layer = layers.Linear(x, z, biases=draw.flag(), internal_weights=False)
    return Case(RowByRow(layer), [x], [z])


def norm(draw: Draw) -> Case:
    irreps = draw.irreps()
    layer = layers.Norm(irreps, squared=draw.flag())
    return Case(layer, [irreps], [layer.irreps_out])


def norm_activation(draw: Draw) -> Case:
    irreps, normalize = draw.irreps(), draw.flag()
    layer = layers.NormActivation(irreps, TANH, normalize=normalize, bias=draw.flag())
    return Case(layer, [irreps], [irreps])


def point_convolution(draw: Draw) -> Case:
    x, a, y, z = draw.irreps(2, 3, 3), draw.irreps(1, 2, 2), draw.irreps(2, 1, 3), draw.irreps(2, 3)
    a = draw.one(a, a + Irreps("2x0e"))
    y = draw.one(y, Irreps.spherical_harmonics(2))
    layer = layers.PointConvolution(x, a, y, z, radial=[3, 4], mean_neighbours=2.0)
    nn.init.normal_(layer.alpha.weight)  # zero at first, and the convolution unseen
    return Case(OnEdges(layer, True, False), [x, a, y], [z], by_rows=False)


def rms_norm(draw: Draw) -> Case:
    irreps = draw.irreps()
    options = {name: draw.flag() for name in ("affine", "joint", "balanced")}
    return Case(layers.RMSNorm(irreps, **options), [irreps], [irreps])


def reduced_product(draw: Draw) -> Case:
    formula = draw.one("ij=ji", "ij=-ji", "ij", "ijk=jik")
    small = {"lmax": 2, "most": 2, "blocks": 2} if len(formula) < 6 else {"lmax": 1, "most": 1}
    one = {letter: draw.irreps(**small) for letter in dict.fromkeys(formula) if letter in "ijk"}
    for letter in "j":
        if "=" in formula:
            one.pop(letter)
    layer = layers.ReducedTensorProduct(formula, **one)
    return Case(layer, list(layer.irreps_in), [layer.irreps_out])


def rotation_activation(draw: Draw) -> Case:
    layer = layers.RotationActivation(
        draw.integer(0, 2), draw.integer(0, 2), draw.one(square, cube), polynomial=3,
        channels=draw.integer(1, 3),
        normalization=draw.one("component", "integral"),
    )  # fmt: skip
    return Case(layer, [layer.irreps_in], [layer.irreps_out])


def sphere_activation(draw: Draw) -> Case:
    irreps = draw.signal()
    layer = layers.SphereActivation(
        irreps, draw.one(square, cube), polynomial=3, lmax_out=draw.one(None, draw.integer(0, 4))
    )
    return Case(layer, [layer.irreps_in], [layer.irreps_out])


def sphere_grid(draw: Draw) -> Case:
    irreps = draw.signal(6)
    grid = SphereGrid.gauss_legendre(2 * irreps.lmax + draw.integer(0, 3))
    how = draw.one("component", "integral", "norm")
    to = layers.ToSphereGrid(irreps, grid, how)
    back = layers.FromSphereGrid(grid, irreps, how)
    return Case(nn.Sequential(to, back), [irreps], [irreps])


def symmetric_contraction(draw: Draw) -> Case:
    correlation, species, mul = draw.integer(1, 3), draw.one(0, 2), draw.integer(1, 4)
    lmax = 3 - correlation // 2
    x, z = (Irreps([(mul, ir) for _, ir in draw.irreps(lmax, blocks=3)]) for _ in range(2))
    layer = layers.SymmetricContraction(x, z, correlation=correlation, n_species=species)
    return Case(OnSpecies(layer, 2) if species else layer, [x], [z], by_rows=not species)


def symmetric_power(draw: Draw) -> Case:
    irreps, n = draw.irreps(2, 2, 2), draw.integer(1, 3)
    if irreps.dim > 9:
        n = min(n, 2)
    layer = layers.SymmetricPower(irreps, n)
    return Case(layer, [irreps], [layer.irreps_out])


def tensor_product(draw: Draw) -> Case:
    x, y = draw.irreps(3, 3, 3), draw.irreps(2, 3, 3)
    instructions, z = [], []
    for i, (u, a) in enumerate(x):
        for j, (v, b) in enumerate(y):
            for ir in a * b:
                fits = ["uvw", "uvu", "uvv", "uvuv"]
                if u == v:
                    fits += ["uuw", "uuu", "uvu<v", "u<vw"]
                mode = draw.one(*fits)
                of_mode = {
                    "uvw": 2, "uuw": 2, "u<vw": 2, "uvu": u, "uuu": u, "uvv": v, "uvuv": u * v,
                    "uvu<v": u * (u - 1) // 2,
                }  # fmt: skip
                if draw.rng.random() < 0.6:
                    weighted = mode in ("uvw", "uuw", "u<vw") or draw.flag()
                    instructions.append((i, j, len(z), mode, weighted))
                    z.append((of_mode[mode], ir))
    layer = layers.TensorProduct.from_instructions(x, y, [*z, (2, (1, 1))], instructions)
    return Case(layer, [x, y], [layer.irreps_out])


def tensor_square(draw: Draw) -> Case:
    x = draw.irreps(3, 3, 3)
    layer = layers.TensorSquare(x, draw.one(None, draw.irreps(3, 3, 3)))
    return Case(layer, [x], [layer.irreps_out])


RANDOM: dict[str, Callable[[Draw], Case]] = {
    "Activation": activation,
    "AntisymmetricPower": antisymmetric_power,
    "Attention": attention,
    "BatchNorm": batch_norm,
    "Convolution": convolution,
    "Dropout": dropout,
    "ElementwiseTensorProduct": elementwise,
    "Extract": extract,
    "ExtractIr": extract_ir,
    "FactorLinear": factor_linear,
    "FullTensorProduct": full,
    "FullyConnectedTensorProduct": fully_connected,
    "Gate": gate,
    "GauntTensorProduct": gaunt,
    "GeneralGate": general_gate,
    "Identity": identity,
    "LayerNorm": layer_norm,
    "Linear": linear,
    "Linear, weights of rows": linear_by_rows,
    "Norm": norm,
    "NormActivation": norm_activation,
    "PointConvolution": point_convolution,
    "RMSNorm": rms_norm,
    "ReducedTensorProduct": reduced_product,
    "RotationActivation": rotation_activation,
    "SphereActivation": sphere_activation,
    "SymmetricContraction": symmetric_contraction,
    "SymmetricPower": symmetric_power,
    "TensorProduct": tensor_product,
    "TensorSquare": tensor_square,
    "ToSphereGrid, FromSphereGrid": sphere_grid,
}


def draw_case(name: str, seed: int) -> Case:
    """The layer of this name and seed, in float64.

    Raises:
        ValueError: what the layer's constructor refuses.
    """
    torch.manual_seed(seed)
    case = RANDOM[name](Draw(seed))
    case.layer.double()
    with torch.no_grad():  # biases and factors that begin as zeros and ones are seen, too
        for parameter in case.layer.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return case
