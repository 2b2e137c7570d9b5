"""State dicts of e3nn: the converted module computes the same, to rounding, and the way back."""

import pytest
import torch
from torch import nn

from clebsch.nn import (
    MLP,
    Activation,
    Convolution,
    FullyConnectedTensorProduct,
    Gate,
    GeneralGate,
    Linear,
    PointConvolution,
    TensorProduct,
    VoxelConvolution,
)
from clebsch.nn.batch_norm import BatchNorm
from clebsch.nn.e3nn_constants import e3nn_second_moment_scale, use_e3nn_constants
from clebsch.nn.e3nn_weights import from_e3nn_state_dict, load_e3nn, to_e3nn_state_dict
from clebsch.nn.norm_activation import NormActivation
from clebsch.o3 import Irreps, from_e3nn, to_e3nn
from clebsch.ops import Edges

o3 = pytest.importorskip("e3nn.o3")
e3nn_nn = pytest.importorskip("e3nn.nn")

silu, tanh = nn.functional.silu, torch.tanh


def agree(ours, theirs, inputs, irreps_out, tolerance=1e-10):
    """The same output for the same features, each in its layout."""
    expected = from_e3nn(theirs(*[to_e3nn(x, irreps) for x, irreps in inputs]), irreps_out)
    found = ours(*[x for x, _ in inputs])
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def round_trip(ours, theirs):
    """Our weights back in e3nn's form are the ones that came."""
    own = dict(theirs.named_parameters())
    back = to_e3nn_state_dict(ours, source=theirs)
    assert back.keys() == own.keys()
    for key, value in back.items():
        torch.testing.assert_close(value, own[key].detach(), atol=1e-13, rtol=1e-13)
    with torch.no_grad():
        for parameter in own.values():
            parameter.zero_()
    assert not theirs.load_state_dict(back, strict=False).unexpected_keys


LINEARS = {
    "merged": ("6x0e + 5x1o + 2x0e + 3x1o", "4x0e + 2x0e + 3x1o", {}),
    "missing": ("2x1o + 3x2e", "3x0e + 4x1o + 1x3o", {}),
    "biases": ("6x0e + 5x1o + 2x0e", "3x0e + 2x1o + 2x0o + 2x0e", {"biases": True}),
    "some biases": ("6x0e + 2x1o", "3x0e + 2x1o + 2x0e", {"biases": [False, False, True]}),
    "path": ("6x0e + 5x1o + 2x0e", "3x0e + 2x1o", {"path_normalization": "path"}),
    "sparse": ("4x0e + 3x0e", "4x0e + 3x0e", {"instructions": [(0, 0), (1, 1)]}),
}


CASES = [(name, True) for name in LINEARS] + [
    (name, False)  # a state dict does not tell the other options
    for name in ("merged", "missing", "biases", "some biases")
]


@pytest.mark.parametrize(("name", "whole"), CASES)
def test_linear(name, whole, float64):
    x, z, options = LINEARS[name]
    theirs, ours = o3.Linear(x, z, **options), Linear(x, z, **options)
    if theirs.bias_numel:
        nn.init.normal_(theirs.bias)
    if whole:
        load_e3nn(ours, theirs)
    else:
        ours.load_state_dict(from_e3nn_state_dict(ours, theirs.state_dict()))
    agree(ours, theirs, [(Irreps(x).randn(7, -1), x)], z)
    round_trip(ours, theirs)


def test_linear_with_options_that_ours_was_not_built_with(float64):
    """Normalisation goes into the weights; connections that are missing become zeros."""
    x, z = "6x0e + 5x1o + 2x0e", "3x0e + 2x1o"
    for options in ({"path_normalization": "path"}, {"instructions": [(0, 0), (1, 1)]}):
        theirs, ours = o3.Linear(x, z, **options), Linear(x, z)
        load_e3nn(ours, theirs)
        agree(ours, theirs, [(Irreps(x).randn(7, -1), x)], z)
        round_trip(ours, theirs)


def test_linear_whose_blocks_are_cut_differently(float64):
    """As before e3nn's gates, which sort and merge their scalars."""
    theirs, ours = (
        o3.Linear("5x0e + 3x1o", "4x0o + 9x0e + 3x1o"),
        Linear("2x0e + 3x0e + 3x1o", "5x0e + 4x0o + 4x0e + 3x1o"),
    )
    given = {"": ("5x0e + 3x1o", "4x0o + 9x0e + 3x1o")}
    ours.load_state_dict(from_e3nn_state_dict(ours, theirs.state_dict(), irreps=given))
    x = Irreps("5x0e + 3x1o").randn(4, -1)
    y = theirs(to_e3nn(x, "5x0e + 3x1o"))
    odd, even, vectors = y.split([4, 9, 9], dim=1)
    expected = torch.cat([even[:, :5], odd, even[:, 5:], from_e3nn(vectors, "3x1o")], dim=1)
    x0, x1 = x.split([5, 9], dim=1)
    torch.testing.assert_close(ours(torch.cat([x0, x1], dim=1)), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("whole", [False, True])
def test_fully_connected_product(whole, float64):
    irreps = ("4x0e + 3x1o + 2x0e", "2x0e + 2x1o", "3x0e + 4x1o + 2x1e + 2x0e")
    theirs, ours = o3.FullyConnectedTensorProduct(*irreps), FullyConnectedTensorProduct(*irreps)
    if whole:
        load_e3nn(ours, theirs)
    else:
        ours.load_state_dict(from_e3nn_state_dict(ours, theirs.state_dict()))
    inputs = [(Irreps(i).randn(5, -1), i) for i in irreps[:2]]
    agree(ours, theirs, inputs, irreps[2])
    round_trip(ours, theirs)


def test_fully_connected_product_of_another_normalisation_and_cut(float64):
    cut = ("4x0e + 3x1o + 2x0e", "2x0e + 2x1o", "3x0e + 4x1o + 2x1e + 2x0e")
    theirs = o3.FullyConnectedTensorProduct(
        *cut, irrep_normalization="norm", path_normalization="path"
    )
    ours = FullyConnectedTensorProduct(*cut)
    load_e3nn(ours, theirs)
    agree(ours, theirs, [(Irreps(i).randn(5, -1), i) for i in cut[:2]], cut[2])
    round_trip(ours, theirs)
    merged = o3.FullyConnectedTensorProduct("3x0e", "2x1o", "6x1o")
    ours = FullyConnectedTensorProduct("1x0e + 2x0e", "2x1o", "2x1o + 4x1o")
    given = {"": ("3x0e", "2x1o", "6x1o")}
    ours.load_state_dict(from_e3nn_state_dict(ours, merged.state_dict(), irreps=given))
    x, y = torch.randn(5, 3), torch.randn(5, 6)
    z = merged(x, to_e3nn(y, "2x1o")).view(5, 6, 3)
    expected = torch.cat(
        [from_e3nn(p.flatten(1), f"{p.shape[1]}x1o") for p in z.split([2, 4], 1)], 1
    )
    torch.testing.assert_close(ours(x, y), expected, atol=1e-12, rtol=0)


INSTRUCTIONS = [
    (0, 0, 0, "uvw", True),
    (1, 1, 0, "uvw", True, 2.0),
    (0, 1, 1, "uvu", True),
    (1, 0, 2, "uvv", True),
    (1, 1, 3, "uuw", True),
    (1, 1, 4, "uuu", True),
    (1, 1, 5, "uvuv", True),
    (1, 1, 6, "uvu<v", True),
    (1, 1, 7, "u<vw", True),
    (1, 1, 4, "uuu", False),
]
BLOCKS = ("3x0e + 3x1o", "3x0e + 3x1o", "5x0e + 3x1o + 3x1o + 2x1e + 3x2e + 9x0e + 3x1e + 4x2e")


@pytest.mark.parametrize("whole", [False, True])
def test_products_of_every_mode(whole, float64):
    theirs = o3.TensorProduct(*BLOCKS, INSTRUCTIONS)
    ours = TensorProduct.from_instructions(*BLOCKS, INSTRUCTIONS)
    if whole:
        load_e3nn(ours, theirs)
    else:
        ours.load_state_dict(from_e3nn_state_dict(ours, theirs.state_dict()))
    agree(ours, theirs, [(Irreps(i).randn(5, -1), i) for i in BLOCKS[:2]], BLOCKS[2])
    round_trip(ours, theirs)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"variance_in": 2.0, "variance_out": 0.5}, {"out_act": True}]
)
def test_networks(whole, options, float64):
    widths = [8, 16, 16, 5]
    theirs = e3nn_nn.FullyConnectedNet(widths, silu, **options)
    ours = MLP(widths, silu, **options)
    if whole:
        load_e3nn(ours, theirs)
    else:
        ours.load_state_dict(from_e3nn_state_dict(ours, theirs.state_dict()))
        use_e3nn_constants(ours)
        use_e3nn_constants(ours)  # twice is once
    agree(ours, theirs, [(torch.randn(9, 8), "8x0e")], "5x0e")
    round_trip(ours, theirs)


def test_constants_are_e3nns_to_the_last_digit(float64):
    math = pytest.importorskip("e3nn.math")
    for f in (silu, tanh, torch.sigmoid, torch.abs, torch.relu):
        theirs = math.normalize2mom(f)
        assert e3nn_second_moment_scale(f) == (1.0 if theirs._is_id else theirs.cst)


def test_activations_and_gates(float64):
    theirs = e3nn_nn.Activation("4x0e + 3x0o + 2x1o", [silu, tanh, None])
    ours = Activation("4x0e + 3x0o + 2x1o", [silu, tanh, None])
    load_e3nn(ours, theirs)
    agree(
        ours,
        theirs,
        [(Irreps("4x0e + 3x0o + 2x1o").randn(5, -1), "4x0e + 3x0o + 2x1o")],
        ours.irreps_out,
    )


@pytest.mark.parametrize("training", [False, True])
def test_normalisations(training, float64):
    irreps = Irreps("4x0e + 2x0o + 3x1o")
    theirs, ours = e3nn_nn.BatchNorm(str(irreps)), BatchNorm(irreps)
    with torch.no_grad():
        for value in (theirs.weight, theirs.bias, theirs.running_var, theirs.running_mean):
            value.copy_(torch.rand_like(value) + 0.5)
    load_e3nn(ours, theirs)
    ours.train(training)
    theirs.train(training)
    agree(ours, theirs, [(irreps.randn(20, -1), irreps)], irreps)
    theirs = e3nn_nn.NormActivation(o3.Irreps(str(irreps)), torch.sigmoid, bias=True)
    ours = NormActivation(irreps, torch.sigmoid, bias=True)
    nn.init.normal_(theirs.biases)
    load_e3nn(ours, theirs)
    agree(ours, theirs, [(irreps.randn(20, -1), irreps)], irreps)
    round_trip(ours, theirs)


class Ours(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = Gate("6x0e + 4x0o + 3x1o + 2x2e")
        self.mix = Linear("5x0e + 3x0o + 4x1o + 2x2e", self.gate.irreps_in, biases=True)
        self.product = FullyConnectedTensorProduct(
            self.gate.irreps_out, "0e + 1o + 2e", "3x0e + 2x1o"
        )
        self.radial = MLP([3, 16, 3])
        self.head = nn.Linear(3, 2)

    def forward(self, x, y, r):
        z = self.product(self.gate(self.mix(x)), y)
        return self.head(z[:, :3] * self.radial(r)), z


class Theirs(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = e3nn_nn.Gate("6x0e + 4x0o", [silu, tanh], "5x0e", [silu], "3x1o + 2x2e")
        self.lin = o3.Linear("5x0e + 3x0o + 4x1o + 2x2e", self.gate.irreps_in, biases=True)
        self.product = o3.FullyConnectedTensorProduct(
            self.gate.irreps_out, "0e + 1o + 2e", "3x0e + 2x1o"
        )
        self.radial = e3nn_nn.FullyConnectedNet([3, 16, 3], silu)
        self.head = nn.Linear(3, 2)

    def forward(self, x, y, r):
        z = self.product(self.gate(self.lin(x)), y)
        return self.head(z[:, :3] * self.radial(r)), z


def test_a_whole_network(float64):
    """Linear with biases, gate, product, network and torch's own layer, in one call."""
    ours, theirs = Ours(), Theirs()
    nn.init.normal_(theirs.lin.bias)
    load_e3nn(ours, theirs, names={"mix": "lin"})
    irreps = Irreps("5x0e + 3x0o + 4x1o + 2x2e")
    x, y, r = irreps.randn(6, -1), Irreps("0e + 1o + 2e").randn(6, -1), torch.randn(6, 3)
    found = ours(x, y, r)
    expected = theirs(to_e3nn(x, irreps), y, r)
    torch.testing.assert_close(found[0], expected[0], atol=1e-10, rtol=0)
    torch.testing.assert_close(found[1], from_e3nn(expected[1], "3x0e + 2x1o"), atol=1e-10, rtol=0)
    # the same from the state dict alone: where the gate sorted its input is told
    again = Ours()
    given = {"mix": (irreps, theirs.gate.irreps_in)}
    again.load_state_dict(
        from_e3nn_state_dict(again, theirs.state_dict(), names={"mix": "lin"}, irreps=given)
    )
    use_e3nn_constants(again)
    for a, b in zip(again(x, y, r), found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


ATTRIBUTES, HARMONICS = "2x0e + 1x1o", "0e + 1o + 2e"
SEQUENCE = ["3x0e + 1x1o", "4x0e + 3x0o + 3x1o + 2x1e + 2x2e", "3x0e + 2x1o + 1x2e", "2x0e + 1x1o"]


class PointNetwork(nn.Module):
    """e3nn's ``MessagePassing`` (v2106) of our layers, submodules named as there."""

    def __init__(self):
        super().__init__()
        layers, x = [], Irreps(SEQUENCE[0])
        act, of_gates = {1: silu, -1: tanh}, {1: torch.sigmoid, -1: tanh}
        for wanted in SEQUENCE[1:-1]:
            reached = {ir for _, a in x for _, b in Irreps(HARMONICS) for ir in a * b}
            hidden = [block for block in Irreps(wanted) if block.ir in reached]
            scalars = [block for block in hidden if block.ir.l == 0]
            gated = [block for block in hidden if block.ir.l]
            gates = Irreps([(sum(mul for mul, _ in gated), "0e")])
            second = GeneralGate(
                Irreps(scalars), [act[ir.p] for _, ir in scalars],
                gates, [of_gates[1]], Irreps(gated),
            )  # fmt: skip
            first = self.convolution(x, second.irreps_in)
            layers.append(nn.ModuleDict({"first": first, "second": second}))
            x = second.irreps_out
        layers.append(self.convolution(x, SEQUENCE[-1]))
        self.layers = nn.ModuleList(layers)

    @staticmethod
    def convolution(x, z):
        return PointConvolution(x, ATTRIBUTES, HARMONICS, z, radial=[4, 8], mean_neighbours=3)

    def forward(self, x, attributes, y, basis, edges):
        for layer in self.layers[:-1]:
            x = layer["second"](layer["first"](x, attributes, y, basis, edges))
        return self.layers[-1](x, attributes, y, basis, edges)


def some_edges(n=5, e=14):
    return Edges(torch.randint(n, (e,)), torch.randint(n, (e,)).sort().values, n)


@pytest.mark.parametrize("whole", [False, True])
def test_a_network_of_points(whole, float64):
    """e3nn's own network: its radial weights go from its order of paths to ours."""
    models = pytest.importorskip("e3nn.nn.models.v2106.gate_points_message_passing")
    theirs = models.MessagePassing(SEQUENCE, ATTRIBUTES, HARMONICS, [4, 8], 3.0)
    for name, parameter in theirs.named_parameters():
        if name.endswith("alpha.weight"):
            nn.init.normal_(parameter, std=0.1)
    ours = PointNetwork()
    if whole:
        load_e3nn(ours, theirs)
    else:
        mixed = [p.first for p in theirs.layers[:-1]]  # e3nn's gates sort and merge their input
        given = {
            f"layers.{n}.first.{name}": (
                str(part.irreps_in1),
                str(part.irreps_in2),
                str(p.irreps_node_output),
            )
            for n, p in enumerate(mixed)
            for name, part in (("self_connection", p.sc), ("mix_out", p.lin2))
        }
        ours.load_state_dict(from_e3nn_state_dict(ours, theirs.state_dict(), irreps=given))
        use_e3nn_constants(ours)
    edges = some_edges()
    x, a = Irreps(SEQUENCE[0]).randn(5, -1), Irreps(ATTRIBUTES).randn(5, -1)
    y, basis = Irreps(HARMONICS).randn(14, -1), torch.randn(14, 4)
    expected = theirs(
        to_e3nn(x, SEQUENCE[0]), to_e3nn(a, ATTRIBUTES), edges.src, edges.dst, y, basis
    )
    expected = from_e3nn(expected, SEQUENCE[-1])
    found = ours(x, a, y, basis, edges)
    torch.testing.assert_close(found, expected, atol=0, rtol=1e-10)
    round_trip(ours, theirs)


class EdgewiseOfE3nn(nn.Module):
    """Linear, product along edges, linear; instructions sorted by their result or not."""

    def __init__(self, x, y, z, order=None, **options):
        super().__init__()
        found = [
            (mul, ir, i, j)
            for i, (mul, a) in enumerate(o3.Irreps(x))
            for j, (_, b) in enumerate(o3.Irreps(y))
            for ir in a * b
            if ir in o3.Irreps(z)
        ]
        if order == "backwards":
            found.reverse()
        middle, places, _ = o3.Irreps([(mul, ir) for mul, ir, _, _ in found]).sort()
        paths = [(i, j, places[n], "uvu", True) for n, (_, _, i, j) in enumerate(found)]
        if order == "by result":
            paths.sort(key=lambda path: path[2])
        self.mix_in = o3.Linear(x, x)
        self.tp = o3.TensorProduct(
            x, y, middle, paths, internal_weights=False, shared_weights=False, **options
        )
        self.radial = e3nn_nn.FullyConnectedNet([4, 8, self.tp.weight_numel], silu)
        self.mix_out = o3.Linear(middle, z)

    def forward(self, x, y, basis, edges):
        messages = self.tp(self.mix_in(x)[edges.src], y, self.radial(basis))
        total = messages.new_zeros(edges.n_dst, messages.shape[1])
        return self.mix_out(total.index_add(0, edges.dst, messages))


@pytest.mark.parametrize("order", [None, "by result"])
@pytest.mark.parametrize("options", [{}, {"irrep_normalization": "norm"}])
def test_products_along_edges_in_either_order(order, options, float64):
    x, z = "3x0e + 2x1o + 1x0e + 2x2e", "4x0e + 3x1o + 2x1e + 2x2e"
    theirs = EdgewiseOfE3nn(x, HARMONICS, z, order, **options)
    ours = Convolution(x, HARMONICS, z, radial=[4, 8], mean_neighbours=1)
    load_e3nn(ours, theirs)
    features, edges = Irreps(x).randn(5, -1), some_edges()
    y, basis = Irreps(HARMONICS).randn(14, -1), torch.randn(14, 4)
    expected = from_e3nn(theirs(to_e3nn(features, x), y, basis, edges), z)
    torch.testing.assert_close(ours(features, y, basis, edges), expected, atol=1e-10, rtol=0)
    round_trip(ours, theirs)


def test_products_along_edges_that_are_others():
    x, z = "3x0e + 2x1o", "4x0e + 3x1o"
    ours = Convolution(x, HARMONICS, z, radial=[4, 8], mean_neighbours=1)
    with pytest.raises(ValueError, match=r"Convolution: e3nn's product .* another order"):
        load_e3nn(ours, EdgewiseOfE3nn(x, HARMONICS, z, "backwards"))


def test_voxels(float64):
    models = pytest.importorskip("e3nn.nn.models.v2104.voxel_convolution")
    x, z = Irreps("2x0e + 1x1o"), Irreps("1x0e + 2x1o")
    theirs = models.Convolution(str(x), str(z), HARMONICS, 4.0, 3, (1.0, 1.0, 1.0))
    ours = VoxelConvolution(x, HARMONICS, z, diameter=4.0, n_basis=3, trilinear=False)
    load_e3nn(ours, theirs)
    field = torch.randn(1, 4, 4, 4, x.dim)
    expected = theirs(to_e3nn(field, x).movedim(-1, 1)).movedim(1, -1)
    found = ours(field.movedim(-1, 1)).movedim(1, -1)
    torch.testing.assert_close(found, from_e3nn(expected, z), atol=1e-10, rtol=0)
    round_trip(ours, theirs)


def test_float32_stays_float32():
    theirs, ours = o3.Linear("4x0e", "4x0e"), Linear("4x0e", "4x0e")
    load_e3nn(ours, theirs)
    x = torch.randn(3, 4)
    torch.testing.assert_close(ours(x), theirs(x))


def test_mistakes_name_the_tensor_and_the_layer():
    linear = Linear("4x0e + 2x1o", "3x0e")
    good = {"weight": torch.randn(12), "bias": torch.empty(0), "output_mask": torch.ones(3)}
    from_e3nn_state_dict(linear, good)
    with pytest.raises(ValueError, match=r"'weight' is \(11,\), but Linear needs 12 numbers"):
        from_e3nn_state_dict(linear, {"weight": torch.randn(11)})
    with pytest.raises(ValueError, match="no 'weight', which Linear needs"):
        from_e3nn_state_dict(linear, {})
    with pytest.raises(ValueError, match=r"no place for 'more\.weight'"):
        from_e3nn_state_dict(linear, {**good, "more.weight": torch.ones(2)})
    with pytest.raises(ValueError, match="no submodule 'mixx'"):
        from_e3nn_state_dict(linear, good, names={"mixx": "mix"})
    with pytest.raises(ValueError, match="3x0e has not the channels of 4x0e"):
        from_e3nn_state_dict(linear, good, irreps={"": ("3x0e", "4x0e")})
    with pytest.raises(ValueError, match="no weights of species"):
        from_e3nn_state_dict(Linear("2x0e", "2x0e", n_species=2), good)
    with pytest.raises(ValueError, match="other paths"):
        load_e3nn(
            TensorProduct.from_instructions("3x1o", "3x1o", "3x1e", [(0, 0, 0, "uuu", True)]),
            o3.TensorProduct("3x1o", "3x1o", "3x1e", [(0, 0, 0, "uvu", True)]),
        )
