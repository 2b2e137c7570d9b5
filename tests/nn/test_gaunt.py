"""The Gaunt tensor product: against Gaunt coefficients, equivariance, variance, weights."""

import pytest
import torch

from clebsch.nn import TensorProduct
from clebsch.nn.gaunt import GauntTensorProduct, gaunt_specification
from clebsch.o3 import Irreps, SphereGrid, gaunt, rand_matrix
from clebsch.ops import tensor_product

CASES = [
    ("0e", "0e", None),
    ("4x0e + 4x1o + 4x2e", "4x0e + 4x1o + 4x2e", "4x0e + 4x1o + 4x2e"),
    ("3x2e + 3x0e + 3x1o", "0e + 1o + 3o", None),
    ("2x0o + 2x1e + 2x3e", "2x1o + 2x2e", "2x4o + 2x1e"),
    ("2x1e + 2x2e", "2x0e + 2x1e", None),
]


def by_coefficients(x, y, module):
    """The product as it is defined, one path after the other."""
    irreps_x, irreps_y, irreps_z = module.irreps_x, module.irreps_y, module.irreps_z
    out = [0.0] * len(irreps_z)
    for (mul, ir_x), px in zip(irreps_x, irreps_x.slices(), strict=True):
        for (mul_y, ir_y), py in zip(irreps_y, irreps_y.slices(), strict=True):
            for k, (_, ir) in enumerate(irreps_z):
                if abs(ir_x.l - ir_y.l) <= ir.l <= ir_x.l + ir_y.l:
                    a, b = x[:, px].unflatten(1, (-1, mul)), y[:, py].unflatten(1, (-1, mul_y))
                    b = b.expand(-1, -1, mul)
                    G = gaunt(ir_x.l, ir_y.l, ir.l)
                    out[k] = out[k] + torch.einsum("ijk,ziu,zju->zku", G, a, b).flatten(1)
    return torch.cat(out, dim=1)


@pytest.mark.parametrize(("x", "y", "z"), CASES)
def test_equals_the_contraction_with_gaunt_coefficients(x, y, z, float64):
    module = GauntTensorProduct(x, y, z, normalization="integral")
    x, y = module.irreps_x.randn(6, -1), module.irreps_y.randn(6, -1)
    torch.testing.assert_close(module(x, y), by_coefficients(x, y, module), rtol=0, atol=1e-12)


@pytest.mark.parametrize("normalization", ["component", "integral"])
@pytest.mark.parametrize(("x", "y", "z"), CASES)
def test_equals_its_specification(x, y, z, normalization, float64):
    module = GauntTensorProduct(x, y, z, normalization=normalization)
    spec = gaunt_specification(x, y, z, normalization=normalization)
    assert module.irreps_z == spec.z
    x, y = module.irreps_x.randn(6, -1), module.irreps_y.randn(6, -1)
    torch.testing.assert_close(module(x, y), tensor_product(spec, x, y), rtol=0, atol=1e-12)


def test_large_degrees_and_many_rows(float64):
    irreps = Irreps([(1, (l, (-1) ** l)) for l in range(11)])
    module = GauntTensorProduct(irreps, irreps, irreps, normalization="integral")
    assert not module.x_to_grid.dense
    assert module.grid == SphereGrid.gauss_legendre(30)
    x, y = irreps.randn(700, -1), irreps.randn(700, -1)
    expected = by_coefficients(x[:3], y[:3], module)
    result = module(x, y)
    torch.testing.assert_close(result[:3], expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(module(x[650:], y[650:]), result[650:], rtol=0, atol=1e-11)
    both = module(x.view(7, 100, -1), y.view(7, 100, -1))
    torch.testing.assert_close(both.flatten(0, 1), result)


@pytest.mark.parametrize(("x", "y", "z"), CASES)
def test_equivariance_of_a_module_built_in_float32(x, y, z):
    module = GauntTensorProduct(x, y, z, weighted=True).double()
    R = rand_matrix(dtype=torch.float64)
    x = module.irreps_x.randn(6, -1, dtype=torch.float64)
    y = module.irreps_y.randn(6, -1, dtype=torch.float64)
    for Q in (R, -R):
        Dx, Dy, Dz = (
            i.D_from_matrix(Q).mT for i in (module.irreps_x, module.irreps_y, module.irreps_z)
        )
        torch.testing.assert_close(module(x @ Dx, y @ Dy), module(x, y) @ Dz, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_unit_variance(weighted):
    module = GauntTensorProduct("64x0e + 64x1o + 64x2e", "64x0e + 64x1o + 64x2e", weighted=weighted)
    rows = 2000
    weights = torch.randn(rows, module.weight_numel) if weighted else None
    z = module(module.irreps_x.randn(rows, -1), module.irreps_y.randn(rows, -1), weights)
    for part in module.irreps_z.slices():
        assert abs(z[:, part].square().mean() - 1) < (0.1 if weighted else 0.03)


def test_weights_are_a_special_case_of_one_for_each_path(float64):
    module = GauntTensorProduct("3x0e + 3x1o", "3x0e + 3x2e", weighted=True)
    general = TensorProduct(gaunt_specification("3x0e + 3x1o", "3x0e + 3x2e", weighted=True))
    wx, wy, wz = module.weight.split([6, 6, 3 * len(module.irreps_z)])
    paths = [
        wx.view(2, 3)[p.x] * wy.view(2, 3)[p.y] * wz.view(-1, 3)[p.z]
        for p in general.specification.paths
    ]
    with torch.no_grad():
        general.weight.copy_(torch.cat(paths))
    x, y = module.irreps_x.randn(5, -1), module.irreps_y.randn(5, -1)
    torch.testing.assert_close(module(x, y), general(x, y), rtol=0, atol=1e-12)
    per_row = module.weight.detach().expand(5, -1)
    torch.testing.assert_close(module(x, y, per_row), module(x, y))


@pytest.mark.parametrize(
    ("x", "y", "z", "why"),
    [
        ("2x0e", "3x0e", None, "one by one"),
        ("0e + 1o", "0e + 1e", None, "different parity"),
        ("0e + 1o", "1o", "3o", "l=3, which does not occur"),
        ("0e + 2e", "2e", "3e", "l=3, which does not occur"),
        ("2x0e + 2x1o", "1o", "1o", "needs 2 channels"),
        ("0e + 1o", "1o", "1e", "other parities"),
        ("0e + 1e + 1o", "1o", None, "l=1 occurs twice"),
    ],
)
def test_products_that_do_not_exist_are_refused(x, y, z, why):
    with pytest.raises(ValueError, match=f"GauntTensorProduct: .*{why}"):
        GauntTensorProduct(x, y, z)


def test_wrong_arguments_are_refused():
    module = GauntTensorProduct("0e + 1o", "1o", weighted=True)
    x, y = torch.randn(2, 4), torch.randn(2, 3)
    for wrong in ((x[:, :2], y), (x, y[:, :2]), (x, y, torch.randn(3))):
        with pytest.raises(ValueError, match="GauntTensorProduct: "):
            module(*wrong)
    with pytest.raises(ValueError, match="normalisation"):
        GauntTensorProduct("0e", "0e", normalization="norm")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_dtypes_and_nothing(dtype):
    module = GauntTensorProduct("2x0e + 2x1o", "2x0e + 2x1o", weighted=True).to(dtype)
    for rows in (0, 3):
        x = torch.zeros(rows, 8, dtype=dtype, requires_grad=True)
        z = module(x, x)
        assert (z.shape, z.dtype) == ((rows, module.irreps_z.dim), dtype)
        (slope,) = torch.autograd.grad(z.sum(), x)
        assert slope.isfinite().all()
    if dtype == torch.float64:
        x, y = (torch.randn(2, 8, dtype=dtype, requires_grad=True) for _ in range(2))
        assert torch.autograd.gradcheck(module, (x, y), fast_mode=True)
        assert torch.autograd.gradgradcheck(module, (x, y), fast_mode=True)


def test_export():
    module = GauntTensorProduct("2x0e + 2x1o", "2x0e + 2x1o")
    x = torch.randn(4, 8)
    exported = torch.export.export(module, (x, x)).module()
    torch.testing.assert_close(exported(x, x), module(x, x))
