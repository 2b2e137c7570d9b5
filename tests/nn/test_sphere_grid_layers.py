"""Activations on the sphere and on SO(3): against e3nn, equivariance, what the grid misses."""

import pytest
import torch

from clebsch.nn.rotation_activation import RotationActivation
from clebsch.nn.sphere_activation import SphereActivation
from clebsch.nn.sphere_grid import FromSphereGrid, ToSphereGrid
from clebsch.o3 import Irreps, RotationGrid, SphereGrid, from_e3nn, rand_matrix, to_e3nn

silu = torch.nn.functional.silu


def cubic(x):
    return x**3 - x


def equivariance_error(layer, x, R):
    """Deviation of the result of turned features from the turned result, over its size."""
    turned = layer(x @ layer.irreps_in.D_from_matrix(R).mT)
    expected = layer(x) @ layer.irreps_out.D_from_matrix(R).mT
    return ((turned - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("lmax", [2, 8])  # dense matrices and separable ones
def test_modules_equal_the_grids_functions(lmax, float64):
    irreps = Irreps([(3, (l, (-1) ** l)) for l in range(lmax + 1)])
    grid = SphereGrid.gauss_legendre(3 * lmax)
    to, back = ToSphereGrid(irreps, grid), FromSphereGrid(grid, irreps)
    assert to.dense is (lmax == 2)
    x = irreps.randn(2, 5, -1)
    values = to(x)
    expected = grid.to_grid(x.unflatten(-1, (-1, 3)).mT, lmax).movedim(2, -1)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(back(values), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(back(to(x[0, 0])), x[0, 0], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="FromSphereGrid: values are"):
        back(values[..., :2])
    with pytest.raises(ValueError, match="ToSphereGrid: x has"):
        to(x[..., :2])


def test_irreps_that_are_no_functions_are_refused():
    grid = SphereGrid.gauss_legendre(4)
    for irreps, why in {
        "": "none",
        "0e + 1o + 0e": "l=0 occurs twice",
        "2x0e + 1o": "as many channels",
        "0e + 1o + 2o": "parities",
    }.items():
        with pytest.raises(ValueError, match=f"ToSphereGrid: irreps_in .*{why}"):
            ToSphereGrid(irreps, grid)


@pytest.mark.parametrize("normalization", ["component", "norm"])
@pytest.mark.parametrize("lmax_out", [None, 3, 6])
def test_sphere_activation_equals_e3nn(normalization, lmax_out, float64):
    e3nn = pytest.importorskip("e3nn.nn")
    irreps = Irreps.spherical_harmonics(4)
    theirs = e3nn.S2Activation(str(irreps), silu, (20, 21), normalization, lmax_out=lmax_out)
    grid = SphereGrid.equiangular(20, 21)
    layer = SphereActivation(irreps, silu, grid, lmax_out=lmax_out, normalization=normalization)
    assert str(theirs.irreps_out) == str(layer.irreps_out)
    x = irreps.randn(3, 7, -1)
    # their factor is a Monte Carlo estimate
    expected = theirs(x) / theirs.act.cst * layer.activation.scale
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_channels_are_activated_one_by_one(float64):
    one = SphereActivation("0e + 1o + 2e", torch.tanh)
    many = SphereActivation("5x0e + 5x1o + 5x2e", torch.tanh)
    x = many.irreps_in.randn(4, -1)
    expected = one(x.unflatten(-1, (9, 5)).mT).mT.flatten(-2)
    torch.testing.assert_close(many(x), expected, rtol=0, atol=1e-12)
    many_rows = many.irreps_in.randn(900, -1)  # more than are taken at a time
    pieces = torch.cat([many(rows) for rows in many_rows.split(100)])
    torch.testing.assert_close(many(many_rows), pieces, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("activation", "degree"), [(torch.square, 2), (cubic, 3), (torch.nn.Identity(), 1)]
)
def test_polynomials_are_equivariant_to_rounding(activation, degree):
    torch.manual_seed(degree)
    layer = SphereActivation("2x0e + 2x1o + 2x2e", activation, polynomial=degree).double()
    x, R = layer.irreps_in.randn(5, -1, dtype=torch.float64), rand_matrix(dtype=torch.float64)
    assert equivariance_error(layer, x, R) < 1e-12
    assert equivariance_error(layer, x, -R) < 1e-12
    coarse = SphereGrid.gauss_legendre(max(2 * degree + 1, 4))
    with pytest.raises(ValueError, match="polynomial"):
        SphereActivation("0e + 1o + 2e", activation, coarse, polynomial=degree + 1)


def test_what_a_grid_misses_shrinks_with_its_degree(float64):
    """The figures in the docstring of the layer."""
    irreps, R = Irreps("0e + 1o + 2e + 3o"), rand_matrix()
    x = irreps.randn(200, -1)
    table = {
        silu: (2e-2, 8e-4, 5e-5, 4e-7, 5e-10),
        torch.tanh: (6e-2, 6e-3, 8e-4, 2e-5, 8e-7),
        torch.relu: (8e-2, 2e-2, 9e-3, 3e-3, 1e-3),
    }
    for activation, errors in table.items():
        for k, expected in zip((2, 4, 6, 10, 16), errors, strict=True):
            layer = SphereActivation(irreps, activation, SphereGrid.gauss_legendre(3 * k + 3))
            assert expected / 8 < equivariance_error(layer, x, R) < 3 * expected
        default = equivariance_error(SphereActivation(irreps, activation), x, R)
        assert default < 2 * errors[2]


def test_parities_of_results():
    odd = "3x0o + 3x1e + 3x2o"  # f -> -f(-r)
    assert SphereActivation(odd, torch.tanh).irreps_out == Irreps(odd)
    assert SphereActivation(odd, torch.abs).irreps_out == Irreps("3x0e + 3x1o + 3x2e")
    assert SphereActivation("0e + 1e", silu, lmax_out=2).irreps_out == Irreps("0e + 1e + 2e")
    with pytest.raises(ValueError, match=r"silu.*no parity"):
        SphereActivation(odd, silu)
    with pytest.raises(ValueError, match="lmax_out"):
        SphereActivation("0e", silu, lmax_out=-1)


def test_odd_functions_are_equivariant_under_inversion(float64):
    for activation in (torch.tanh, torch.square):
        layer = SphereActivation("0o + 1e + 2o", activation)
        x = layer.irreps_in.randn(5, -1)
        assert equivariance_error(layer, x, -torch.eye(3)) < 1e-12


def test_a_grid_turned_at_random_changes_nothing_exact(float64):
    layer = SphereActivation("2x0e + 2x1o", torch.square, polynomial=2)
    x = layer.irreps_in.randn(5, -1)
    exact = layer(x)
    layer.random_rotation = True
    torch.testing.assert_close(layer(x), exact, rtol=0, atol=1e-12)
    rough = SphereActivation("2x0e + 2x1o", torch.relu, random_rotation=True)
    assert not torch.equal(rough(x), rough(x))


@pytest.mark.parametrize("normalization", ["component", "integral"])
def test_rotation_activation_against_e3nn_and_by_hand(normalization, float64):
    e3nn = pytest.importorskip("e3nn.nn")
    grid = RotationGrid.equiangular(4)
    layer = RotationActivation(2, 3, torch.tanh, grid, normalization=normalization)
    x = layer.irreps_in.randn(5, -1)
    values = layer.activation(grid.to_grid(x, 2, normalization))
    torch.testing.assert_close(
        layer(x), grid.from_grid(values, 3, normalization), rtol=0, atol=1e-12
    )
    if normalization == "component":
        theirs = e3nn.SO3Activation(2, 3, torch.tanh, 4)
        expected = theirs(to_e3nn(x, layer.irreps_in)) / theirs.act.cst * layer.activation.scale
        expected = from_e3nn(expected, layer.irreps_out)
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_rotation_activation_of_polynomials_is_equivariant_to_rounding():
    layer = RotationActivation(1, 2, torch.square, polynomial=2, channels=3).double()
    x, R = layer.irreps_in.randn(5, -1, dtype=torch.float64), rand_matrix(dtype=torch.float64)
    assert equivariance_error(layer, x, R) < 1e-12
    one = RotationActivation(1, 2, torch.square, polynomial=2)
    expected = one(x.unflatten(-1, (10, 3)).mT).mT.flatten(-2)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="polynomial of degree 3"):
        RotationActivation(1, 2, cubic, layer.grid, polynomial=3)
    with pytest.raises(ValueError, match="too few"):
        RotationActivation(1, 3, cubic, layer.grid)
    with pytest.raises(ValueError, match="channels"):
        RotationActivation(1, 1, cubic, channels=0)


def test_rotation_activation_on_the_default_grid(float64):
    """The figures in the docstring of the layer."""
    for activation, error in ((silu, 6e-5), (torch.tanh, 1e-3), (torch.relu, 6e-3)):
        layer = RotationActivation(2, 2, activation)
        x, R = layer.irreps_in.randn(50, -1), rand_matrix()
        assert error / 3 < equivariance_error(layer, x, R) < 3 * error


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "layer",
    [
        SphereActivation("2x0e + 2x1o + 2x2e", silu),
        SphereActivation([(2, (l, 1)) for l in range(6)], torch.square, polynomial=2),
        RotationActivation(1, 1, silu, channels=2),
    ],
    ids=["sphere", "separable", "rotations"],
)
def test_gradients_dtypes_and_nothing(layer, dtype):
    layer = layer.to(dtype)
    for shape in ((0,), (2, 0), (3,), ()):
        x = torch.zeros(*shape, layer.irreps_in.dim, dtype=dtype, requires_grad=True)
        y = layer(x)
        assert (y.shape, y.dtype) == ((*shape, layer.irreps_out.dim), dtype)
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert slope.isfinite().all()
    if dtype == torch.float64:
        x = layer.irreps_in.randn(2, -1, dtype=dtype, requires_grad=True)
        assert torch.autograd.gradcheck(layer, x, fast_mode=True)
        assert torch.autograd.gradgradcheck(layer, x, fast_mode=True)
    with pytest.raises(ValueError, match=type(layer).__name__):
        layer(torch.zeros(3, dtype=dtype))


def test_export():
    for layer in (SphereActivation("2x0e + 2x1o", silu), RotationActivation(1, 1, silu)):
        x = layer.irreps_in.randn(4, -1)
        exported = torch.export.export(layer, (x,)).module()
        torch.testing.assert_close(exported(x), layer(x))


def test_compile_in_one_graph():
    layer = SphereActivation("2x0e + 2x1o", silu)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = layer.irreps_in.randn(4, -1)
    torch.testing.assert_close(compiled(x), layer(x))
    grid = SphereGrid.gauss_legendre(4)
    function = torch.compile(lambda x: grid.to_grid(x, 2), fullgraph=True, backend="aot_eager")
    y = torch.randn(3, 9)
    torch.testing.assert_close(function(y), grid.to_grid(y, 2))
