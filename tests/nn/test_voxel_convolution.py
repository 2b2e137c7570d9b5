"""Voxels: e3nn's layers with their weights, exact symmetries of the grid, others in the limit."""

import itertools

import pytest
import torch

from clebsch.nn import LowPass, VoxelConvolution
from clebsch.o3 import Irreps, from_e3nn, to_e3nn
from e3nn_weights import e3nn_linear

FIELD = Irreps("2x0e + 1x1o + 1x1e")
OUT = Irreps("2x0e + 1x0o + 2x1o + 1x1e + 1x2e")
HARMONICS = Irreps.spherical_harmonics(2)
CUBE = [
    torch.eye(3, dtype=torch.float64)[list(order)] * torch.tensor(signs, dtype=torch.float64)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]


def layer(field=FIELD, out=OUT, **options) -> VoxelConvolution:
    options = {"diameter": 5.0, "n_basis": 3, **options}
    return VoxelConvolution(field, HARMONICS, out, **options)


def channels_last(function, x):
    return function(x.movedim(1, -1)).movedim(-1, 1)


def turned(x, irreps, matrix, centre="voxel"):
    """The field x turned by a symmetry of the cube: its components and its place on the grid."""
    n = x.shape[-1]
    voxels = torch.cartesian_prod(*[torch.arange(n)] * 3)
    if centre == "voxel":  # about voxel 0 of a periodic grid
        source = (voxels.double() @ matrix).round().long() % n  # R^-1 r, with rows of R^T
    else:  # about the middle of the grid
        middle = (n - 1) / 2
        source = ((voxels.double() - middle) @ matrix + middle).round().long()
    moved = x[..., source[:, 0], source[:, 1], source[:, 2]].reshape(x.shape)
    return channels_last(lambda y: y @ irreps.D_from_matrix(matrix).to(y).T, moved)


@pytest.mark.parametrize(
    ("steps", "diameter"),
    [((1.0, 1.0, 1.0), 5.0), ((1.0, 0.7, 0.4), 3.0), ((0.5, 0.5, 1.5), 3.5)],
)
def test_equals_e3nn_with_its_weights(steps, diameter, float64):
    models = pytest.importorskip("e3nn.nn.models.v2104.voxel_convolution")
    e3nn = pytest.importorskip("e3nn.o3")
    module = layer(steps=steps, diameter=diameter, trilinear=False)
    oracle = models.Convolution(
        str(FIELD), str(OUT), str(HARMONICS), diameter, module.n_basis, steps
    )
    oracle.sc = e3nn_linear(e3nn, module.self_connection)
    with torch.no_grad():
        oracle.weight.copy_(module.weight)
    x = torch.randn(2, FIELD.dim, 6, 7, 8)
    expected = oracle(channels_last(lambda y: to_e3nn(y, FIELD), x))
    expected = channels_last(lambda y: from_e3nn(y, OUT), expected)
    torch.testing.assert_close(module(x), expected, atol=1e-10, rtol=0)
    assert (module.kernel().abs().sum() > 0).item()


@pytest.mark.parametrize("trilinear", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
def test_the_symmetries_of_the_cube_are_exact(periodic, trilinear):
    module = layer(periodic=periodic, trilinear=trilinear).double()
    x = torch.randn(1, FIELD.dim, 6, 6, 6, dtype=torch.float64)
    out = module(x)
    assert len(CUBE) == 48
    for matrix in CUBE:
        for centre in ("voxel", "middle") if periodic else ("middle",):
            found = module(turned(x, FIELD, matrix, centre))
            torch.testing.assert_close(found, turned(out, OUT, matrix, centre), atol=1e-12, rtol=0)


def test_translation_on_a_periodic_grid_is_exact():
    module = layer(periodic=True)
    x = torch.randn(1, FIELD.dim, 4, 5, 6)  # smaller than the kernel: images of images
    shift = (1, -2, 3)
    torch.testing.assert_close(
        module(x.roll(shift, (2, 3, 4))), module(x).roll(shift, (2, 3, 4)), atol=1e-5, rtol=1e-5
    )


SMALL = Irreps("1x0e + 1x1o")


def field_at(points):
    """A smooth field of irreps ``SMALL`` at points (..., 3): (..., 4), some Gaussians."""
    generator = torch.Generator().manual_seed(3)
    centres = 0.9 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
    amplitudes = torch.randn(6, SMALL.dim, generator=generator, dtype=torch.float64)
    square = (points[..., None, :] - centres).square().sum(-1)
    return torch.exp(-square / 2) @ amplitudes


def sampled(function, step):
    """(1, dim, X, X, X) of the function at the voxels of a cube, and the voxels' places."""
    half = round(2.5 / step)
    line = torch.arange(-half, half + 1, dtype=torch.float64) * step
    points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1)
    return function(points).movedim(-1, 0).unsqueeze(0), points


# A rotation by atan(4/3): on a cubic grid one voxel in five meets a voxel.
PYTHAGORAS = torch.tensor([[3, -4, 0], [4, 3, 0], [0, 0, 5]], dtype=torch.float64) / 5


def kernel_alone(step, **options):
    torch.manual_seed(0)
    module = layer(SMALL, steps=(step,) * 3, diameter=2.5, n_basis=2, **options).double()
    torch.nn.init.zeros_(module.self_connection.weight)  # which is exact
    return module


def equivariance_error(step, resample, **options):
    """Relative error of turning by ``PYTHAGORAS`` before and after the layer, near the origin.

    Where voxels meet voxels; or, resampled by trilinear interpolation, at all voxels.
    """
    module = kernel_alone(step, **options)
    before, points = sampled(field_at, step)
    D = SMALL.D_from_matrix(PYTHAGORAS)
    after, _ = sampled(lambda r: field_at(r @ PYTHAGORAS) @ D.T, step)
    with torch.no_grad():
        out, expected = module(before), module(after)
    source = points @ PYTHAGORAS  # R^-1 r
    near = (points.norm(dim=-1) <= 1.25).flatten()  # the kernel sees no border
    if resample:
        grid = (source / points.max()).flip(-1).unsqueeze(0)  # its order is z, y, x
        out = torch.nn.functional.grid_sample(out, grid, align_corners=True).flatten(2)[0]
    else:
        index = (source - points[0, 0, 0]).reshape(-1, 3) / step
        near &= ((index - index.round()).abs() < 1e-9).all(-1)
        i, j, k = index.round().long().clamp(0, points.shape[0] - 1).T
        out = out[0][:, i, j, k]
    found = OUT.D_from_matrix(PYTHAGORAS) @ out[:, near]
    right = expected.flatten(2)[0][:, near]
    return ((found - right).norm() / right.norm()).item()


@pytest.mark.parametrize("trilinear", [False, True])
def test_other_rotations_hold_in_the_limit_of_fine_grids(trilinear):
    errors = [equivariance_error(h, False, trilinear=trilinear) for h in (1.0, 0.5, 0.25)]
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3


@pytest.mark.parametrize("trilinear", [False, True])
def test_resampled_rotations_converge_as_the_square_of_the_step(trilinear):
    errors = [equivariance_error(h, True, trilinear=trilinear) for h in (1.0, 0.5, 0.25)]
    assert errors[2] < errors[1] / 3 < errors[0] / 9


def test_the_same_weights_serve_finer_grids():
    coarse = kernel_alone(1.0)
    outs = []
    for number, step in enumerate((1.0, 0.5, 0.25)):
        module = coarse.on_grid((step,) * 3).double()
        assert module.weight is coarse.weight
        x, _ = sampled(field_at, step)
        half, stride = x.shape[-1] // 2, 2**number
        keep = [half - stride, half, half + stride]
        with torch.no_grad():
            outs.append(module(x)[..., keep, :, :][..., keep, :][..., keep])
    first, second = (outs[0] - outs[1]).norm(), (outs[1] - outs[2]).norm()
    assert 3 < first / second < 6  # the square of the step
    assert second < 0.1 * outs[2].norm()


def test_a_trilinear_kernel_is_smooth_in_the_size_of_the_voxels():
    """Its integral does not depend on the voxels; a sampled one jumps where taps come in."""
    grids = [(1.0, 1.0, 1.0), (0.99, 1.01, 1.0), (0.6, 0.9, 1.2), (1.3, 0.5, 0.4)]
    skewed = torch.tensor([[1.0, 0.0, 0.0], [0.4, 0.9, 0.0], [-0.3, 0.2, 0.8]])
    spread = {}
    for trilinear in (True, False):
        module = layer(SMALL, diameter=4.0, n_basis=2, trilinear=trilinear).double()
        sums = torch.stack(
            [module.on_grid(steps).kernel().sum((2, 3, 4)) for steps in [*grids, skewed]]
        )
        spread[trilinear] = ((sums - sums[0]).abs().amax() / sums[0].abs().amax()).item()
        just = [module.on_grid((1.0 + d, 1.0, 1.0)).kernel().sum((2, 3, 4)) for d in (-1e-6, 1e-6)]
        jump = (just[0] - just[1]).abs().amax() / sums[0].abs().amax()
        assert (jump < 1e-4) == trilinear
    assert spread[True] < 5e-3, spread
    assert spread[False] > 0.1, spread


def test_any_lattice_of_voxels(float64):
    """The same lattice by other vectors, and the same vectors as lengths."""
    x = torch.randn(1, FIELD.dim, 6, 6, 6)
    module = layer(periodic=True, trilinear=False, diameter=4.0)
    same = module.on_grid(torch.eye(3))
    torch.testing.assert_close(same(x), module(x))
    vectors = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    sheared = module.on_grid(vectors)
    torch.nn.init.zeros_(module.self_connection.weight)
    voxels = torch.cartesian_prod(*[torch.arange(6)] * 3)
    i, j, k = (voxels @ vectors.long() % 6).T  # where voxel n of the sheared grid lies
    moved = x[..., i, j, k].reshape(x.shape)
    factor = sheared.table.shape[0] / module.table.shape[0]  # both divide by their taps
    expected = module(x)[..., i, j, k].reshape(1, OUT.dim, 6, 6, 6)
    torch.testing.assert_close(sheared(moved) * factor, expected)


@pytest.mark.parametrize("periodic", [False, True])
def test_strides_keep_every_other_voxel(periodic):
    module = layer(periodic=periodic, stride=(2, 1, 3))
    whole = layer(periodic=periodic)
    whole.load_state_dict(module.state_dict())
    x = torch.randn(2, FIELD.dim, 6, 5, 9)
    out = module(x)
    assert out.shape == (2, OUT.dim, 3, 5, 3)
    torch.testing.assert_close(out, whole(x)[:, :, ::2, :, ::3])


def test_float32_and_gradients():
    module = layer(SMALL)
    x = torch.randn(2, SMALL.dim, 5, 6, 7, requires_grad=True)
    out = module(x)
    out.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in (*module.parameters(), x))
    torch.testing.assert_close(out.double(), module.double()(x.double()), atol=1e-5, rtol=1e-5)
    small = layer("1x0e", "1x0e + 1x1o", diameter=3.0).double()
    y = torch.randn(1, 1, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(small, y)
    assert torch.autograd.gradgradcheck(small, y)


def test_an_empty_batch():
    assert layer()(torch.zeros(0, FIELD.dim, 4, 4, 4)).shape == (0, OUT.dim, 4, 4, 4)
    assert LowPass(2.0)(torch.zeros(0, 3, 4, 4, 4)).shape == (0, 3, 4, 4, 4)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("scale", "stride"), [(2.0, 1), (2.0, 2), (3.5, 3), (1.0, 1)])
def test_low_pass_equals_e3nn(scale, stride, transposed, float64):
    models = pytest.importorskip("e3nn.nn.models.v2104.voxel_convolution")
    x = torch.randn(2, 3, 9, 8, 10)
    expected = models.LowPassFilter(scale, stride, transposed)(x)
    found = LowPass(scale, stride=stride, transposed=transposed)(x)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_low_pass_of_uneven_voxels_is_round(float64):
    """The blur of a point on a fine axis is that on the coarse one, where both have voxels."""
    x = torch.zeros(9, 9, 9)
    x[4, 4, 4] = 1.0
    out = LowPass(3.0, steps=(1.0, 2.0, 1.0))(x)
    assert out.shape == x.shape  # e3nn's grows along the coarse axis
    torch.testing.assert_close(out[6, 4, 4], out[4, 5, 4])
    torch.testing.assert_close(out[4, 4, 6], out[4, 5, 4])


def test_low_pass_turns_with_a_periodic_grid_and_keeps_the_mean(float64):
    down = LowPass(2.0, stride=2, periodic=True)
    up = LowPass(2.0, stride=2, periodic=True, transposed=True)
    x = torch.randn(1, SMALL.dim, 6, 6, 6)
    for matrix in CUBE:
        torch.testing.assert_close(
            up(down(turned(x, SMALL, matrix))), turned(up(down(x)), SMALL, matrix)
        )
    torch.testing.assert_close(up(x).mean(), x.mean())
    assert down(x).shape == (1, SMALL.dim, 3, 3, 3)


def test_exactness_survives_a_cast(float64):
    module, filter_ = layer(SMALL), LowPass(2.0)
    cast, cast_filter = layer(SMALL).float().double(), LowPass(2.0).float().double()
    with torch.no_grad():
        for a, b in zip(cast.parameters(), module.parameters(), strict=True):
            a.copy_(b)
    x = torch.randn(1, SMALL.dim, 5, 5, 5)
    assert torch.equal(cast(x), module(x))
    assert torch.equal(cast_filter(x), filter_(x))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="span no volume"):
        layer(steps=(1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match=r"steps are \(2,\)"):
        layer(steps=(1.0, 1.0))
    with pytest.raises(ValueError, match="touches no neighbour"):
        layer(steps=(3.0, 3.0, 3.0), trilinear=False)
    with pytest.raises(ValueError, match=r"diameter -1.0 with 3 radial functions is none"):
        layer(diameter=-1.0)
    with pytest.raises(ValueError, match=r"1x0e \(x\) 1x0e contains nothing of 1x1o"):
        VoxelConvolution("1x0e", "0e", "1x1o", diameter=3.0, n_basis=2)
    with pytest.raises(ValueError, match="at least one"):
        layer(stride=0)
    with pytest.raises(ValueError, match="the stride must divide it"):
        layer(stride=2, periodic=True)(torch.zeros(1, FIELD.dim, 4, 5, 4))
    with pytest.raises(ValueError, match="VoxelConvolution: x with channels last has 3"):
        layer()(torch.zeros(1, 3, 4, 4, 4))
    with pytest.raises(ValueError, match=r"it must be \(batch, 8, X, Y, Z\)"):
        layer()(torch.zeros(FIELD.dim, 4, 4, 4))
    with pytest.raises(ValueError, match="needs a scale above 1"):
        LowPass(1.0, stride=2)
    with pytest.raises(ValueError, match=r"LowPass: x is \(4, 4\)"):
        LowPass(2.0)(torch.zeros(4, 4))
