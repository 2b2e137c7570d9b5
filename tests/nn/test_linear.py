"""Linear: against e3nn with biases, instructions, path normalisation, weights of rows; errors."""

import doctest

import pytest
import torch

from clebsch.nn import Linear, linear
from clebsch.o3 import from_e3nn, rand_matrix, to_e3nn
from clebsch.ops import backend

X = "6x0e + 5x1o + 0x1e + 2x0e + 3x1o + 2x2e"
Z = "4x0e + 2x0e + 3x1o + 1x3o + 2x0o + 4x1o + 0x2e"
SPARSE = [(1, 2), (0, 1), (4, 2), (3, 0), (0, 0)]


def test_examples_run():
    assert doctest.testmod(linear).failed == 0


def flat_as_e3nn(layer, weights=None):
    """The weights as e3nn has them: instruction by instruction."""
    views = [v.reshape(*v.shape[:-2], -1) for v in layer.weight_views(weights)]
    return torch.cat(views, dim=-1)


@pytest.mark.parametrize("instructions", [None, SPARSE])
@pytest.mark.parametrize("path_normalization", ["element", "path"])
@pytest.mark.parametrize("biases", [False, True, [False, True, *[False] * 5]])
def test_options_equal_e3nn(instructions, path_normalization, biases, float64):
    o3 = pytest.importorskip("e3nn.o3")
    options = {"path_normalization": path_normalization, "biases": biases}
    ours = Linear(X, Z, instructions=instructions, **options)
    oracle = o3.Linear(X, Z, instructions=instructions, **options)
    x = ours.irreps_in.randn(3, 2, -1)
    bias = torch.randn(ours.bias_numel)
    if biases:
        with torch.no_grad():
            ours.bias.copy_(bias)
    connected = [(ins.i_in, ins.i_out) for ins in oracle.instructions if ins.i_in >= 0]
    assert ours.instructions == connected
    expected = from_e3nn(oracle(to_e3nn(x, X), flat_as_e3nn(ours), bias), Z)
    torch.testing.assert_close(ours(x), expected, atol=1e-10, rtol=1e-10)
    assert torch.equal(ours(x)[..., ours.irreps_out.slices()[3]], torch.zeros(3, 2, 7))


@pytest.mark.parametrize("path_normalization", ["element", "path"])
@pytest.mark.parametrize("lead", [(4,), (2, 3), (0,)])
def test_weights_of_each_row_equal_e3nn(lead, path_normalization, float64):
    o3 = pytest.importorskip("e3nn.o3")
    options = {"path_normalization": path_normalization}
    ours = Linear(X, Z, internal_weights=False, biases=True, **options)
    oracle = o3.Linear(X, Z, shared_weights=False, **options)  # biases of rows it cannot
    x = ours.irreps_in.randn(*lead, -1)
    w, bias = torch.randn(*lead, ours.weight_numel), torch.randn(*lead, ours.bias_numel)
    got = ours(x, weights=w, bias=bias)
    assert got.shape == (*lead, ours.irreps_out.dim)
    if got.numel():
        expected = from_e3nn(oracle(to_e3nn(x, X), flat_as_e3nn(ours, w)), Z)
        expected[..., :6] += bias
        torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)


def test_biases_alone():
    layer = Linear(X, Z, biases=True, instructions=[])
    torch.nn.init.normal_(layer.bias)
    expected = torch.zeros(3, layer.irreps_out.dim)
    expected[:, :6] = layer.bias.detach()
    assert torch.equal(layer(layer.irreps_in.randn(3, -1)), expected)


def test_given_weights_are_as_internal_ones(float64):
    inside = Linear(X, Z, biases=True, scale=0.3)
    outside = Linear(X, Z, biases=True, scale=0.3, internal_weights=False)
    assert not list(outside.parameters())
    x = inside.irreps_in.randn(4, -1)
    with torch.no_grad():
        inside.bias.normal_()
    expected = inside(x)
    torch.testing.assert_close(outside(x, None, inside.weight, inside.bias), expected)
    rows = inside.weight.expand(4, -1)
    torch.testing.assert_close(outside(x, None, rows, inside.bias), expected)


@pytest.mark.parametrize("instructions", [None, SPARSE])
@pytest.mark.parametrize("name", ["auto", "reference"])
def test_species_have_weights_and_biases_of_their_own(name, instructions, float64):
    layer = Linear(X, Z, n_species=3, biases=True, instructions=instructions)
    assert layer.bias.shape == (3, 6)
    with torch.no_grad():
        layer.bias.normal_()
    x, species = layer.irreps_in.randn(8, -1), torch.tensor([0, 2, 1, 1, 0, 2, 2, 0])
    with backend(name):
        y = layer(x, species)
    for s in range(3):
        single = Linear(X, Z, biases=True, instructions=instructions)
        with torch.no_grad():
            single.bias.copy_(layer.bias[s])
            for a, b in zip(single.weight_views(), layer.weight_views(), strict=True):
                a.copy_(b[s])
        torch.testing.assert_close(y[species == s], single(x[species == s]))


@pytest.mark.parametrize(
    ("x", "z"),
    [("", ""), ("2x1o", ""), ("", "2x0e"), ("0x0e + 2x1o", "3x0e + 2x1o"), ("2x1o", "0x1o + 1x0e")],
)
@pytest.mark.parametrize("name", ["auto", "reference"])
def test_maps_of_nothing_are_zero(x, z, name):
    layer = Linear(x, z)
    features = layer.irreps_in.randn(3, -1).requires_grad_()
    with backend(name):
        y = layer(features)
        (gradient,) = torch.autograd.grad(y.sum(), features, allow_unused=True)
    assert y.shape == (3, layer.irreps_out.dim)
    assert gradient is None or torch.isfinite(gradient).all()
    for block, place in zip(layer.irreps_out, layer.irreps_out.slices(), strict=True):
        if layer.irreps_in.count(block.ir) == 0:
            assert torch.equal(y[:, place], torch.zeros_like(y[:, place]))


@pytest.mark.parametrize(
    "options",
    [
        {"biases": True},
        {"biases": True, "instructions": SPARSE},
        {"path_normalization": "path"},
    ],
)
def test_derivatives(options):
    layer = Linear(X, Z, internal_weights=False, **options).double()
    x = layer.irreps_in.randn(3, -1, dtype=torch.float64)
    w = torch.randn(layer.weight_numel, dtype=torch.float64)
    bias = torch.randn(layer.bias_numel, dtype=torch.float64)

    def function(x, w, bias):
        return layer(x, None, w, bias)

    inputs = tuple(t.requires_grad_() for t in (x, w, bias))
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("improper", [False, True])
def test_equivariance_when_built_in_float32(improper):
    layer = Linear(X, Z, biases=True, path_normalization="path").double()
    torch.nn.init.normal_(layer.bias)
    rotation = rand_matrix(dtype=torch.float64) * (-1 if improper else 1)
    x = layer.irreps_in.randn(5, -1, dtype=torch.float64)
    turned = layer(x @ layer.irreps_in.D_from_matrix(rotation).T)
    expected = layer(x) @ layer.irreps_out.D_from_matrix(rotation).T
    assert (turned - expected).abs().max().item() <= 1e-12


def test_float32_and_float64_agree():
    layer = Linear(X, Z, biases=True, instructions=SPARSE)
    torch.nn.init.normal_(layer.bias)
    x = layer.irreps_in.randn(5, -1)
    got = layer(x)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), layer.double()(x.double()), atol=1e-5, rtol=1e-5)


def test_state_dict_is_weights_and_biases():
    assert set(Linear(X, Z).state_dict()) == {"weight"}
    options = {"biases": True, "instructions": SPARSE}
    layer, other = Linear(X, Z, **options), Linear(X, Z, **options)
    assert set(layer.state_dict()) == {"weight", "bias"}
    other.load_state_dict(layer.state_dict())
    x = layer.irreps_in.randn(2, -1)
    assert torch.equal(layer(x), other(x))


def test_written_views_are_the_weights():
    layer = Linear(X, Z)
    with torch.no_grad():
        for view in layer.weight_views():
            view.zero_()
    assert torch.equal(layer.weight, torch.zeros(layer.weight_numel))


def test_exported_with_biases():
    layer = Linear(X, Z, biases=True, path_normalization="path").double()
    x = layer.irreps_in.randn(3, -1, dtype=torch.float64)
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(x), layer(x))
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"biases": [True]}, "1 biases for the 2 blocks of 2x0e"),
        ({"biases": [False, True]}, "3x1o of 2x0e.3x1o has no bias"),
        ({"instructions": [(0, 1)]}, "4x0e and 3x1o cannot connect"),
        ({"instructions": [(0, 2)]}, r"no blocks \(0, 2\)"),
        ({"instructions": [(0, 0), (0, 0)]}, "connected twice"),
        ({"path_normalization": "none"}, "path_normalization is element or path"),
    ],
)
def test_impossible_maps_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Linear("4x0e + 3x1o", "2x0e + 3x1o", **options)


def test_wrong_features_and_weights_are_refused():
    layer = Linear("4x0e", "2x0e", biases=True, instructions=[(0, 0)])
    with pytest.raises(ValueError, match=r"Linear: x has 3 in its last .* 4x0e needs 4"):
        layer(torch.randn(2, 3))
    with pytest.raises(ValueError, match=r"Linear: x has no dimension"):
        layer(torch.tensor(1.0))
    with pytest.raises(ValueError, match="each row can have its own"):
        layer(torch.randn(2, 4), weights=torch.randn(2, 8))
    outside = Linear("4x0e", "2x0e", biases=True, internal_weights=False)
    x = torch.randn(2, 4)
    with pytest.raises(ValueError, match="give the 8 weights"):
        outside(x)
    with pytest.raises(ValueError, match="give the 2 biases"):
        outside(x, weights=torch.randn(8))
    with pytest.raises(ValueError, match=r"biases are \(3,\)"):
        outside(x, weights=torch.randn(8), bias=torch.randn(3))
    with pytest.raises(ValueError, match=r"must be \(..., 8\)"):
        outside(x, weights=torch.randn(2, 7))
    with pytest.raises(ValueError, match="7 weights"):
        outside(x, weights=torch.randn(7))
    with pytest.raises(ValueError, match="not connected with block 0"):
        Linear("4x0e + 1o", "2x0e").weight_view(1, 0)
