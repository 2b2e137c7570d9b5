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
