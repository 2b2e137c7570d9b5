"""The kernel of many Wigner D matrices against the PyTorch form, its meaning."""

import pytest
import torch
from torch.autograd import forward_ad

from clebsch.errors import UserError
from clebsch.o3 import rand_matrix, rotations, wigner_cpu
from clebsch.o3.wigner import (
    wigner_D,
    wigner_D_from_quaternion,
    wigner_D_of_degrees,
    wigner_D_up_to,
)

both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@pytest.fixture
def calls(monkeypatch):
    """How many rotations each call of the kernel got."""
    seen = []
    compute = wigner_cpu.matrices

    def counted(degrees, rotations):
        seen.append(len(rotations))
        return compute(degrees, rotations)

    monkeypatch.setattr(wigner_cpu, "matrices", counted)
    return seen


def by_torch(function, *args):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wigner_cpu, "available", lambda rotations: False)
        return function(*args)


@pytest.mark.parametrize("n", [256, 257, 1003])
@pytest.mark.parametrize("degrees", [[0], [1], [5, 2], [*range(9)], [32, 1, 17]])
@pytest.mark.parametrize("function", [wigner_D_of_degrees, wigner_D_from_quaternion])
def test_kernel_agrees_with_pytorch(function, degrees, n, calls, generator, float64):
    given = rand_matrix(n, generator=generator)
    given[::3] *= -1
    if function is wigner_D_from_quaternion:
        given = rotations.matrix_to_quaternion(given * given.det().sign()[:, None, None])
    ours = function(degrees, given)
    assert calls == [n]
    theirs = by_torch(function, degrees, given)
    assert list(ours) == list(theirs) == degrees
    for l in degrees:
        torch.testing.assert_close(ours[l], theirs[l], atol=1e-13, rtol=0)
        if l == 1 and function is wigner_D_of_degrees:
            assert torch.equal(ours[l], theirs[l])


def test_float32_is_as_exact_as_pytorch(calls, generator):
    q = rotations.rand_quaternion(2000, generator=generator)
    ours, theirs = (f(q) for f in (d_to_8, lambda q: by_torch(d_to_8, q)))
    assert calls == [2000]
    exact = d_to_8(q.double())
    for l in range(9):
        error, of_torch = ((D[l] - exact[l]).abs().max() for D in (ours, theirs))
        assert error <= max(1.5 * of_torch, 3e-7), l
        torch.testing.assert_close(ours[l], theirs[l], atol=1e-6 * max(l, 1), rtol=0)


def d_to_8(q):
    return wigner_D_from_quaternion(range(9), q)


@both
def test_bits_depend_on_neither_threads_nor_place(dtype, calls, generator):
    R = rand_matrix(1003, generator=generator, dtype=dtype)
    D = wigner_D_up_to(8, R)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        shared, moved = wigner_D_up_to(8, R), wigner_D_up_to(8, R[5:])
    finally:
        torch.set_num_threads(threads)
    assert calls == [1003, 1003, 998]
    for l in range(9):
        assert torch.equal(D[l], shared[l])
        assert torch.equal(D[l][5:], moved[l])


def test_views_and_leading_dimensions(calls, generator, float64):
    R = rand_matrix(20, 30, generator=generator)
    turned = wigner_D(4, R.mT.transpose(0, 1))
    torch.testing.assert_close(turned, wigner_D(4, R).mT.transpose(0, 1), atol=1e-13, rtol=0)
    assert calls == [600, 600]
    q = rotations.rand_quaternion(300, generator=generator)
    wide = torch.cat([q, q], 1)[:, :4]
    assert not wide.is_contiguous()
    assert torch.equal(wigner_D_from_quaternion([3], wide)[3], wigner_D_from_quaternion([3], q)[3])


def test_one_bad_rotation_stays_alone(generator, float64):
    R = rand_matrix(300, generator=generator)
    broken = R.clone()
    broken[7] = torch.nan
    broken[9] = 0.0
    for good, bad in zip(wigner_D_up_to(4, R), wigner_D_up_to(4, broken), strict=True):
        others = torch.arange(300)
        others = others[(others != 7) & (others != 9)]
        assert torch.equal(good[others], bad[others])
        if good.shape[-1] > 1:
            assert bad[7].isnan().all()
    torch.testing.assert_close(bad[9], wigner_D(4, broken[9]), atol=1e-14, rtol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own
def test_what_the_kernel_leaves_to_pytorch(calls, generator, float64):
    R = rand_matrix(300, generator=generator)
    expected = wigner_D(3, R)
    assert calls.pop() == 300
    free = R.clone().requires_grad_()
    with_graph = wigner_D(3, free)
    (gradient,) = torch.autograd.grad(with_graph[:, 0, 0].sum(), free)
    assert gradient.isfinite().all()
    with forward_ad.dual_level():
        dual = wigner_D(3, forward_ad.make_dual(R, torch.ones_like(R)))
        assert forward_ad.unpack_dual(dual).tangent is not None
    results = [
        with_graph.detach(),
        torch.func.vmap(lambda R: wigner_D(3, R))(R),
        wigner_D(3, R[:200]),
        torch.compile(lambda R: wigner_D(3, R), fullgraph=True, backend="aot_eager")(R),
    ]
    for some in results:
        torch.testing.assert_close(some, expected[: len(some)], atol=1e-13, rtol=0)
    assert wigner_D(3, R.bfloat16()).dtype == torch.bfloat16
    assert wigner_D(2, R[:0]).shape == (0, 5, 5)
    assert not calls
    with torch.no_grad():
        assert torch.equal(wigner_D(3, free), expected)
    assert calls == [300]
    with pytest.raises(UserError, match="negative"):
        wigner_D(-1, R)


@both
def test_without_a_compiler_pieces_agree_with_one_at_a_time(dtype, generator):
    """PyTorch computes a large batch in pieces that fit the cache, the last one shorter."""
    R = rand_matrix(3001, generator=generator, dtype=dtype)
    D = by_torch(wigner_D_up_to, 8, R)
    for i in (0, 1, 1500, 3000):
        for l, one in enumerate(wigner_D_up_to(8, R[i])):
            assert torch.equal(D[l][i], one)
    with_graph = wigner_D_up_to(8, R.clone().requires_grad_())
    assert all(torch.equal(a, b) for a, b in zip(D, with_graph, strict=True))
