import math

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from clebsch.errors import UserError
from clebsch.o3 import (
    Irreps,
    SphericalHarmonics,
    rand_matrix,
    spherical_harmonics,
    spherical_harmonics_jacobian,
    wigner_D,
)

NORMALIZATIONS = ["component", "integral", "norm"]
AXES = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, -1, 0], [0, 0, -2]]


@pytest.fixture
def xyz(generator):
    """Random vectors and vectors along the axes."""
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    return torch.cat([x, torch.tensor(AXES, dtype=torch.float64)])


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("normalize", [True, False])
def test_agrees_with_e3nn(xyz, normalize, normalization, e3nn_o3):
    xyz = torch.cat([xyz, torch.zeros(1, 3)])
    for l in range(9):
        ours = spherical_harmonics(l, xyz, normalize, normalization)
        theirs = e3nn_o3.spherical_harmonics(l, xyz, normalize, normalization)
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("l", [0, 1, 2, 5, 12, 20])
def test_turn_with_wigner_D(xyz, l, generator):
    R = rand_matrix(generator=generator, dtype=torch.float64)
    turned = spherical_harmonics(l, xyz) @ wigner_D(l, R).mT
    torch.testing.assert_close(spherical_harmonics(l, xyz @ R.mT), turned, atol=1e-12, rtol=0)
    R, xyz = R.float(), xyz.float()
    turned = spherical_harmonics(l, xyz) @ wigner_D(l, R).mT
    scale = math.sqrt(2 * l + 1)
    error = (spherical_harmonics(l, xyz @ R.mT) - turned).abs().max() / scale
    assert error < 1e-6 * max(l, 1)


@pytest.mark.parametrize("l", [1, 4, 12, 32])
def test_norm_on_the_sphere(xyz, l):
    norms = {n: spherical_harmonics(l, xyz, True, n).norm(dim=-1) for n in NORMALIZATIONS}
    one = torch.ones(len(xyz), dtype=torch.float64)
    torch.testing.assert_close(norms["norm"], one)
    torch.testing.assert_close(norms["component"], math.sqrt(2 * l + 1) * one)
    torch.testing.assert_close(norms["integral"], math.sqrt((2 * l + 1) / (4 * math.pi)) * one)


def test_solid_harmonics_are_harmonic(xyz):
    def f(x):
        return spherical_harmonics(list(range(6)), x, normalize=False)

    hessian = torch.func.vmap(torch.func.jacrev(torch.func.jacrev(f)))(xyz)
    laplacian = hessian.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert laplacian.abs().max() < 1e-10 * hessian.abs().max()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_first_and_second_derivatives(xyz, normalize, normalization):
    x = xyz.requires_grad_()

    def f(x):
        return spherical_harmonics("0e + 1o + 2e + 3o", x, normalize, normalization)

    assert torch.autograd.gradcheck(f, x)
    assert torch.autograd.gradgradcheck(f, x)


def test_third_derivative(xyz):
    x = xyz[[0, 4, 5]].requires_grad_()

    def gradient(x):
        y = spherical_harmonics([2, 3], x)
        return torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(gradient, x)


def test_solid_harmonics_at_the_origin():
    x = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)

    def f(x):
        return spherical_harmonics([0, 1, 2, 3], x, normalize=False)

    assert torch.autograd.gradcheck(f, x)
    assert torch.autograd.gradgradcheck(f, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_directions_at_the_origin(dtype):
    x = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    y = spherical_harmonics([0, 1, 2, 3, 4], x)
    assert torch.equal(y, torch.eye(1, 25, dtype=dtype).expand(2, -1))
    (first,) = torch.autograd.grad((y + y**2).sum(), x, create_graph=True)
    assert torch.equal(first, torch.zeros_like(x))
    (second,) = torch.autograd.grad((first + first**2).sum(), x)
    assert torch.equal(second, torch.zeros_like(x))


def test_one_atom_at_the_origin_does_not_spoil_the_others(xyz):
    def derivatives(x):
        x = x.detach().requires_grad_()
        y = spherical_harmonics([1, 2, 3], x)
        (first,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
        return first, torch.autograd.grad((first**2).sum(), x)[0]

    with_origin = derivatives(torch.cat([torch.zeros(1, 3, dtype=torch.float64), xyz]))
    for a, b in zip(with_origin, derivatives(xyz), strict=True):
        assert torch.equal(a[0], torch.zeros(3, dtype=torch.float64))
        torch.testing.assert_close(a[1:], b, atol=1e-14, rtol=1e-13)


def test_order_multiplicity_and_shape(xyz):
    full = spherical_harmonics("0e + 1o + 2e", xyz)
    assert torch.equal(spherical_harmonics([2, 0], xyz), full[:, [4, 5, 6, 7, 8, 0]])
    assert torch.equal(spherical_harmonics("2x1o", xyz), full[:, [1, 1, 2, 2, 3, 3]])
    assert torch.equal(spherical_harmonics("0e + 1e + 2e", xyz), full)
    assert spherical_harmonics(3, torch.zeros(2, 0, 5, 3)).shape == (2, 0, 5, 7)
    assert spherical_harmonics(Irreps(), xyz).shape == (len(xyz), 0)
    assert spherical_harmonics(2, xyz[0]).shape == (5,)


def test_no_edges_has_gradients():
    x = torch.zeros(0, 3, requires_grad=True)
    y = spherical_harmonics([0, 1, 2], x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    g.sum().backward()
    assert y.shape == (0, 9)
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize(
    ("what", "xyz", "normalization", "says"),
    [
        ("1e + 2o", (2, 3), "component", "parity"),
        ("0e + 1o + 1e", (2, 3), "component", "parity"),
        (-1, (2, 3), "component", "negative"),
        (1, (2, 2), "component", "shape"),
        (1, (2, 3), "4pi", "normalisation"),
    ],
)
def test_bad_input(what, xyz, normalization, says):
    with pytest.raises(UserError, match=says):
        spherical_harmonics(what, torch.ones(xyz), normalization=normalization)


def harmonics(x):
    return spherical_harmonics("0e + 1o + 2e + 3o", x)


def forces(x):
    return torch.autograd.grad(harmonics(x).pow(3).sum(), x, create_graph=True)[0]


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("function", [harmonics, forces])
def test_make_fx(mode, function, xyz):
    x = xyz.float().requires_grad_()
    traced = make_fx(function, tracing_mode=mode)(x)
    torch.testing.assert_close(traced(x), function(x))
    assert type(harmonics(x)) is torch.Tensor


def test_export_with_any_number_of_edges(xyz):
    class Module(torch.nn.Module):
        def forward(self, x):
            return harmonics(x)

    edges = torch.export.Dim("edges")
    exported = torch.export.export(Module(), (xyz,), dynamic_shapes=({0: edges},)).module()
    torch.testing.assert_close(exported(xyz[:3]), harmonics(xyz[:3]))


def test_compiles_without_graph_break(xyz):
    x = xyz.requires_grad_()
    compiled = torch.compile(harmonics, fullgraph=True, backend="aot_eager")
    y = compiled(x)
    torch.testing.assert_close(y, harmonics(x))
    (g,) = torch.autograd.grad(y.pow(3).sum(), x)
    torch.testing.assert_close(g, forces(x))


def test_jacobian_is_the_derivative(float64):
    xyz = torch.cat([torch.randn(6, 3), torch.eye(3), torch.zeros(1, 3)])
    for normalization in ("component", "integral", "norm"):
        Y, J = spherical_harmonics_jacobian(4, xyz, normalization)
        expected = spherical_harmonics(range(5), xyz, True, normalization)
        torch.testing.assert_close(Y, expected, atol=1e-13, rtol=0)
        for row in range(len(xyz)):
            derivative = torch.autograd.functional.jacobian(
                lambda x, n=normalization: spherical_harmonics(range(5), x, True, n), xyz[row]
            )
            torch.testing.assert_close(J[row], derivative, atol=1e-11, rtol=0)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_float32_error(generator, normalization):
    """Absolute error of any component, for the same float32 vectors, in each normalisation."""
    xyz = torch.randn(20000, 3, generator=generator)
    xyz = torch.cat([xyz, torch.eye(3), -torch.eye(3)])
    for lmax, bound in [(12, 3e-7), (8, 3e-7), (4, 3e-6 if normalization == "component" else 1e-6)]:
        single = spherical_harmonics(range(lmax + 1), xyz, True, normalization)
        exact = spherical_harmonics(range(lmax + 1), xyz.double(), True, normalization)
        assert single.dtype == torch.float32
        assert (single - exact).abs().max() < bound


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_derivatives_at_the_origin_at_high_degree(dtype, normalize):
    x = torch.cat([torch.zeros(1, 3), torch.eye(3)]).to(dtype).requires_grad_()
    y = spherical_harmonics(range(13), x, normalize)
    (first,) = torch.autograd.grad((y + y**2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first + first**2).sum(), x)
    assert first.dtype == second.dtype == dtype
    assert first.isfinite().all()
    assert second.isfinite().all()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("out", ["0e + 1o + 2e", "1e + 2e", "2x1o", [3, 0], 2])
def test_module_agrees_with_e3nn(out, normalization, xyz, e3nn_o3):
    ours = SphericalHarmonics(out, normalization=normalization)
    theirs = e3nn_o3.SphericalHarmonics(out, True, normalization)
    assert str(ours.irreps_in) == str(theirs.irreps_in)
    assert str(ours.irreps_out.simplify()) == str(theirs.irreps_out)
    expected = theirs(xyz)
    if out == "2x1o":  # theirs repeats the vector, ours each component
        expected = expected.unflatten(-1, (2, 3)).mT.flatten(-2)
    torch.testing.assert_close(ours(xyz), expected, atol=1e-10, rtol=0)
    assert not list(ours.parameters())
    assert ours(xyz.float()).dtype == torch.float32


def test_module_refuses_what_can_not_be():
    with pytest.raises(UserError, match="pseudovector"):
        SphericalHarmonics(2, irreps_in="2e")
    with pytest.raises(UserError, match="are 1x1o, not 1x1e"):
        SphericalHarmonics("1e", irreps_in="1o")
    with pytest.raises(UserError, match="normalisation"):
        SphericalHarmonics(2, normalization="4pi")
