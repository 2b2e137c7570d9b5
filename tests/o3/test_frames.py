"""Frames of directions: rotations, smooth to every order, also on the axes and at length zero."""

import doctest

import pytest
import torch

from clebsch.o3 import frames, spherical_harmonics, wigner_D
from clebsch.o3.frames import direction_frames
from clebsch.o3.wigner import wigner_D_up_to

AXES = torch.cat([torch.eye(3), -torch.eye(3)]).double()


def test_examples_run():
    assert doctest.testmod(frames, extraglobs={"torch": torch}).failed == 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 2e-6)])
def test_rotations_that_take_the_direction_to_the_polar_axis(generator, dtype, tolerance):
    v = torch.cat([3 * torch.randn(500, 3, generator=generator, dtype=torch.float64), AXES])
    v = torch.cat([v, -v[:500] * 1e-8]).to(dtype)
    R = direction_frames(v)
    pole = torch.tensor([0, 1, 0], dtype=dtype).expand_as(v)
    direction = v / v.norm(dim=-1, keepdim=True)
    eye = torch.eye(3, dtype=dtype).expand_as(R)
    torch.testing.assert_close((R @ direction[..., None])[..., 0], pole, atol=tolerance, rtol=0)
    torch.testing.assert_close(R @ R.mT, eye, atol=tolerance, rtol=0)
    torch.testing.assert_close(
        torch.linalg.det(R), torch.ones_like(R[:, 0, 0]), atol=tolerance, rtol=0
    )


def test_every_derivative_on_the_axes():
    """The y axis is where Euler angles have no derivative; the chart of each pole has it."""
    # at y = 0 lies the seam of the charts: there only what no frame enters can be differenced
    v = torch.tensor([[0, 0.3, 0], [0, -2, 0], [1, 0.1, 0]]).double().requires_grad_()
    assert torch.autograd.gradcheck(direction_frames, v)
    assert torch.autograd.gradgradcheck(direction_frames, v)


def test_the_identity_at_length_zero_and_no_derivative():
    v = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    R = direction_frames(v)
    assert torch.equal(R.detach(), torch.eye(3, dtype=torch.float64).expand_as(R))
    (first,) = torch.autograd.grad((R * torch.arange(9.0).view(3, 3)).sum(), v, create_graph=True)
    assert torch.equal(first.detach(), torch.zeros_like(first))
    (second,) = torch.autograd.grad(first.sum(), v)
    assert torch.equal(second, torch.zeros_like(second))


@pytest.mark.parametrize("l", [1, 4, 8])
def test_harmonics_in_the_frame_have_only_their_zonal_component(generator, l):
    v = torch.cat([torch.randn(40, 3, generator=generator, dtype=torch.float64), AXES])
    turned = (wigner_D(l, direction_frames(v)) @ spherical_harmonics(l, v)[..., None])[..., 0]
    expected = torch.zeros_like(turned)
    expected[:, l] = (2 * l + 1) ** 0.5
    torch.testing.assert_close(turned, expected, atol=1e-12, rtol=0)


def test_all_degrees_at_once(generator):
    R = direction_frames(torch.randn(5, 3, generator=generator, dtype=torch.float64))
    for l, D in enumerate(wigner_D_up_to(6, R)):
        assert torch.equal(D, wigner_D(l, R))
    assert len(wigner_D_up_to(0, R)) == 1
