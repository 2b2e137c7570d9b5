import itertools
import math

import pytest
import torch

from clebsch.o3 import rotations

NAMES = ["matrix", "quaternion", "rotation_vector", "axis_angle", "angles"]
PAIRS = list(itertools.permutations(NAMES, 2))


def convert(a, b, value):
    value = value if isinstance(value, tuple) else (value,)
    return value if a == b else getattr(rotations, f"{a}_to_{b}")(*value)


def special():
    """Identity, half and quarter turns about the axes, tiny turns."""
    turns = [[0, 0, 0]]
    for angle in (math.pi, math.pi / 2, -0.3, 1e-4, 1e-9):
        turns += (angle * torch.eye(3)).tolist()
    return torch.tensor(turns, dtype=torch.float64)


@pytest.fixture
def R(generator):
    random = rotations.rand_matrix(8, generator=generator, dtype=torch.float64)
    return torch.cat([random, rotations.rotation_vector_to_matrix(special())])


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_each_to_each(a, b, R):
    there = convert("matrix", a, R)
    via = convert(b, "matrix", convert(a, b, there))
    via = via[0] if isinstance(via, tuple) else via
    torch.testing.assert_close(via, R, atol=1e-12, rtol=0)


def test_agree_with_e3nn(generator, e3nn_o3):
    R = rotations.rand_matrix(20, generator=generator, dtype=torch.float64)
    close = {"atol": 1e-10, "rtol": 0}
    angles = rotations.matrix_to_angles(R)
    for ours, theirs in zip(angles, e3nn_o3.matrix_to_angles(R), strict=True):
        torch.testing.assert_close(ours, theirs, **close)
    torch.testing.assert_close(e3nn_o3.angles_to_matrix(*angles), R, **close)
    q = rotations.matrix_to_quaternion(R)
    torch.testing.assert_close(q, e3nn_o3.matrix_to_quaternion(R), **close)
    torch.testing.assert_close(rotations.angles_to_quaternion(*angles), q, **close)
    for ours, theirs in zip(
        rotations.matrix_to_axis_angle(R), e3nn_o3.matrix_to_axis_angle(R), strict=True
    ):
        torch.testing.assert_close(ours, theirs, **close)
    xyz = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(rotations.xyz_to_angles(xyz), e3nn_o3.xyz_to_angles(xyz), strict=True):
        torch.testing.assert_close(ours, theirs, **close)
    torch.testing.assert_close(
        rotations.angles_to_xyz(*rotations.xyz_to_angles(xyz)),
        torch.nn.functional.normalize(xyz, dim=-1),
    )


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_gradients(a, b, generator):
    """Exact at random rotations, and finite at the identity and at special ones."""
    random = rotations.rand_matrix(2, generator=generator, dtype=torch.float64)
    value = convert("matrix", a, random)
    value = value if isinstance(value, tuple) else (value,)
    value = tuple(v.detach().requires_grad_() for v in value)
    if a != "matrix":  # off the orthogonal matrices the conversions of a matrix mean nothing
        assert torch.autograd.gradcheck(lambda *v: convert(a, b, v), value)

    value = convert("matrix", a, rotations.rotation_vector_to_matrix(special()))
    value = value if isinstance(value, tuple) else (value,)
    value = tuple(v.detach().requires_grad_() for v in value)
    out = convert(a, b, value)
    out = out if isinstance(out, tuple) else (out,)
    total = sum((o * torch.randn_like(o)).sum() for o in out)
    for gradient in torch.autograd.grad(total, value):
        assert gradient.isfinite().all()


def test_gradient_at_the_identity_is_the_generator():
    vector = torch.zeros(3, dtype=torch.float64)
    J = torch.autograd.functional.jacobian(rotations.rotation_vector_to_matrix, vector)
    # d R_ij / d v_k = -epsilon_ijk
    epsilon = torch.zeros(3, 3, 3, dtype=torch.float64)
    for i, j, k in [(0, 1, 2), (1, 2, 0), (2, 0, 1)]:
        epsilon[i, j, k], epsilon[j, i, k] = 1, -1
    torch.testing.assert_close(J, -epsilon)
    there_and_back = torch.autograd.functional.jacobian(
        lambda v: rotations.matrix_to_rotation_vector(rotations.rotation_vector_to_matrix(v)),
        vector,
    )
    torch.testing.assert_close(there_and_back, torch.eye(3, dtype=torch.float64))


def test_axes_turn_the_right_way():
    quarter = torch.tensor(math.pi / 2, dtype=torch.float64)
    x, y, z = torch.eye(3, dtype=torch.float64)
    zero = torch.zeros_like(quarter)
    torch.testing.assert_close(rotations.axis_angle_to_matrix(3 * y, quarter) @ z, x)
    torch.testing.assert_close(rotations.angles_to_matrix(quarter, zero, zero) @ z, x)
    torch.testing.assert_close(rotations.angles_to_matrix(zero, quarter, zero) @ y, z)


@pytest.mark.parametrize("name", NAMES[1:])
def test_batches_and_no_rotation_at_all(name, generator):
    R = rotations.rand_matrix(2, 3, generator=generator)
    back = convert(name, "matrix", convert("matrix", name, R))
    torch.testing.assert_close(back, R, atol=2e-6, rtol=0)
    single = convert(name, "matrix", convert("matrix", name, R[0, 0]))
    torch.testing.assert_close(single, R[0, 0], atol=2e-6, rtol=0)
    none = convert(name, "matrix", convert("matrix", name, R[:0]))
    assert none.shape == (0, 3, 3, 3)


def test_rand_matrix_is_uniform_seeded_and_proper():
    def draw():
        return rotations.rand_matrix(
            20000, generator=torch.Generator().manual_seed(1), dtype=torch.float64
        )

    R = draw()
    assert torch.equal(R, draw())
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(20000, dtype=torch.float64))
    assert R.mean(0).abs().max() < 0.02
    torch.testing.assert_close(
        (R**2).mean(0), torch.full((3, 3), 1 / 3).double(), atol=0.02, rtol=0
    )
    assert rotations.rand_matrix().shape == (3, 3)
    assert rotations.rand_matrix().dtype == torch.get_default_dtype()


# ---- identity, inverse, composition, random


def parts(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_the_identity_to_the_last_bit(a, b, dtype):
    there = convert(a, b, getattr(rotations, f"identity_{a}")(2, dtype=dtype))
    expected = getattr(rotations, f"identity_{b}")(2, dtype=dtype)
    for ours, exact in zip(parts(there), parts(expected), strict=True):
        assert ours.dtype == dtype
        assert torch.equal(ours, exact)


@pytest.mark.parametrize("name", NAMES)
def test_inverse_and_composition(name, R, generator):
    S = rotations.rand_matrix(len(R), generator=generator, dtype=torch.float64)
    r, s = parts(convert("matrix", name, R)), parts(convert("matrix", name, S))
    product = getattr(rotations, f"compose_{name}")(*r, *s)
    back = parts(convert(name, "matrix", product))[0]
    torch.testing.assert_close(back, R @ S, atol=1e-12, rtol=0)
    inverse = getattr(rotations, f"inverse_{name}")(*r)
    back = parts(convert(name, "matrix", inverse))[0]
    torch.testing.assert_close(back, R.mT, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_composition_has_gradients_at_special_rotations(name):
    value = parts(convert("matrix", name, rotations.rotation_vector_to_matrix(special())))
    value = tuple(v.detach().requires_grad_() for v in value)
    for call in (lambda *v: getattr(rotations, f"compose_{name}")(*v, *v),
                 getattr(rotations, f"inverse_{name}")):  # fmt: skip
        total = sum((o * torch.randn_like(o)).sum() for o in parts(call(*value)))
        for gradient in torch.autograd.grad(total, value, create_graph=True):
            assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_random_rotations_of_each_form_are_uniform(name):
    def draw(*shape, dtype=torch.float64):
        generator = torch.Generator().manual_seed(3)
        return getattr(rotations, f"rand_{name}")(*shape, generator=generator, dtype=dtype)

    first, again = parts(draw(20000)), parts(draw(20000))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    R = parts(convert(name, "matrix", draw(20000)))[0]
    assert R.mean(0).abs().max() < 0.02
    second = torch.einsum("nij,nkl->ijkl", R, R) / len(R)
    eye = torch.eye(3, dtype=torch.float64)
    uniform = torch.einsum("ik,jl->ijkl", eye, eye) / 3
    torch.testing.assert_close(second, uniform, atol=0.02, rtol=0)
    assert parts(draw(2, 0, dtype=torch.float32))[0].dtype == torch.float32
    assert parts(convert(name, "matrix", draw(2, 0)))[0].shape == (2, 0, 3, 3)


def test_second_derivatives_at_the_identity_and_near_it():
    """Series and formula meet without a step, whose second differences would show it."""
    for size in (0.0, 1e-5, 0.0999, 0.1001, 3.0):
        vector = size * torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
        vector.requires_grad_()
        for function in (rotations.rotation_vector_to_quaternion, there_and_back):
            assert torch.autograd.gradcheck(function, vector)
            assert torch.autograd.gradgradcheck(function, vector)


def there_and_back(vector):
    return rotations.quaternion_to_rotation_vector(rotations.rotation_vector_to_quaternion(vector))


def test_series_and_formula_agree(float64):
    axis = torch.tensor([0.6, 0.0, 0.8])
    angle = torch.tensor([1e-12, 1e-6, 1e-3, 0.03, 0.0632, 0.0633, 0.0999, 0.1001, 1, 3.1])
    vector = axis * angle[:, None]
    exact = rotations.axis_angle_to_quaternion(axis, angle)
    ours = rotations.rotation_vector_to_quaternion(vector)
    torch.testing.assert_close(ours, exact, atol=1e-16, rtol=4e-16)
    torch.testing.assert_close(there_and_back(vector), vector, atol=0, rtol=1e-15)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
def test_every_function_agrees_with_e3nn(generator, e3nn_o3, dtype, tolerance):
    """Away from the identity and half turns, where e3nn's arc cosines lose digits."""
    angles = rotations.rand_angles(40, generator=generator, dtype=torch.float64)
    angles2 = rotations.rand_angles(40, generator=generator, dtype=torch.float64)
    turn = rotations.angles_to_axis_angle(*angles)[1]
    turn2 = rotations.angles_to_axis_angle(*angles2)[1]
    both = rotations.compose_axis_angle(
        *rotations.angles_to_axis_angle(*angles), *rotations.angles_to_axis_angle(*angles2)
    )[1]
    plain = [(t > 0.3) & (t < 2.8) for t in (turn, turn2, both)]
    plain += [(b[1] > 0.3) & (b[1] < 2.8) for b in (angles, angles2)]
    chosen = torch.stack(plain).all(0)
    assert chosen.sum() >= 10
    angles, angles2 = (tuple(x[chosen].to(dtype) for x in a) for a in (angles, angles2))
    values = {name: parts(convert("angles", name, angles)) for name in NAMES}
    others = {name: parts(convert("angles", name, angles2)) for name in NAMES}

    def same(name, *arguments):
        ours, theirs = (getattr(o, name)(*arguments) for o in (rotations, e3nn_o3))
        for a, b in zip(parts(ours), parts(theirs), strict=True):
            assert a.dtype == dtype
            if name.endswith("quaternion"):  # q and -q
                b = torch.where((a * b).sum(-1, keepdim=True) < 0, -b, b)
            torch.testing.assert_close(a, b.to(dtype), atol=tolerance, rtol=0)

    for a, b in PAIRS:
        if "rotation_vector" not in (a, b):
            same(f"{a}_to_{b}", *values[a])
    same("compose_quaternion", *values["quaternion"], *others["quaternion"])
    for name in ("angles", "axis_angle"):  # e3nn's angle may be above pi
        ours, theirs = (
            convert(name, "matrix", getattr(o, f"compose_{name}")(*values[name], *others[name]))
            for o in (rotations, e3nn_o3)
        )
        torch.testing.assert_close(ours, theirs.to(dtype), atol=tolerance, rtol=0)
    same("inverse_angles", *values["angles"])
    same("inverse_quaternion", *values["quaternion"])
    for name in ("matrix_x", "matrix_y", "matrix_z"):
        same(name, angles[0])
    same("angles_to_xyz", angles[0], angles[1])
    same("xyz_to_angles", values["axis_angle"][0])


def test_identities_agree_with_e3nn(e3nn_o3):
    for name in ("identity_angles", "identity_quaternion"):
        ours, theirs = (getattr(o, name)(2, 3) for o in (rotations, e3nn_o3))
        assert all(torch.equal(a, b) for a, b in zip(parts(ours), parts(theirs), strict=True))
