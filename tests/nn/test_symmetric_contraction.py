"""Symmetric contraction: its basis against group theory, its values against dense products."""

from functools import cache
from itertools import permutations

import numpy as np
import pytest
import torch
from torch.autograd import grad, gradcheck, gradgradcheck

import clebsch.ops.nodewise.polynomials
from clebsch.nn import SymmetricContraction
from clebsch.o3 import Irrep, Irreps, rand_matrix, symmetric_polynomials, wigner_3j
from clebsch.o3.reduced_products import symmetric_power_basis
from clebsch.o3.symmetric_polynomials import monomials
from clebsch.ops.nodewise.polynomials import Polynomials, compose, evaluate


def multiplicity(irreps, degree, ir):
    """How often ``ir`` is in the symmetric power, by characters alone."""
    theta = 2 * np.pi * np.arange(400) / 400  # exact: trigonometric polynomials of low degree
    weight = (1 - np.cos(theta)) / 400

    def character(l, angle):
        return sum(np.cos(m * angle) for m in range(-l, l + 1))

    total = 0.0
    for sign in (1, -1):  # proper rotations, and those times the inversion
        powers = [
            sum(
                mul * (other.p if sign == -1 else 1) ** i * character(other.l, i * theta)
                for mul, other in Irreps(irreps)
            )
            for i in range(1, degree + 1)
        ]
        complete = [np.ones_like(theta)]  # Newton's identities
        for n in range(1, degree + 1):
            complete.append(sum(powers[i] * complete[n - 1 - i] for i in range(n)) / n)
        own = character(ir.l, theta) * (ir.p if sign == -1 else 1)
        total += (weight * complete[degree] * own).sum() / 2
    return round(total)


@pytest.mark.parametrize(
    ("irreps", "degrees"),
    [
        ("0e + 1o + 2e", (1, 2, 3, 4, 5)),
        ("0e + 1o + 2e + 3o", (1, 2, 3, 4)),
        ("0o + 1e + 1o", (2, 3, 4)),
        ("2x0e + 2x1o", (2, 3, 4)),
        ("3o", (2, 3, 4, 5)),
    ],
)
def test_as_many_polynomials_as_characters_say(irreps, degrees):
    for degree in degrees:
        found = symmetric_polynomials(irreps, degree, "0e + 0o + 1o + 1e + 2e + 2o")
        for ir, basis in found.items():
            assert len(basis) == multiplicity(irreps, degree, ir), (degree, ir)


def as_tensors(irreps, degree, ir):
    """The polynomials as symmetric tensors (paths, dim, n_in, n_in, ...)."""
    n = Irreps(irreps).dim
    basis = symmetric_polynomials(irreps, degree, [ir])[ir]
    tensor = np.zeros((*basis.shape[:2], *(n,) * degree))
    for number, m in enumerate(monomials(n, degree)):
        orders = set(permutations(m))
        for order in orders:
            tensor[(slice(None), slice(None), *order)] = basis[:, :, number] / len(orders)
    return tensor


@pytest.mark.parametrize(
    ("irreps", "degree"),
    [("0e + 1o", 2), ("0e + 1o", 3), ("1o + 1e", 2), ("2x1o", 2), ("1o", 4), ("0e + 2e", 2)],
)
@pytest.mark.parametrize("ir", [Irrep("0e"), Irrep("1o"), Irrep("2e")])
def test_span_is_that_of_all_symmetric_invariant_tensors(irreps, degree, ir):
    """Brute force: what two rotations, the inversion and exchanges of indices leave unchanged."""
    irreps = Irreps(irreps)
    shape = (ir.dim, *(irreps.dim,) * degree)
    size = int(np.prod(shape))
    equations = []
    elements = [rand_matrix(dtype=torch.float64), rand_matrix(dtype=torch.float64)]
    for R in [*elements, -torch.eye(3, dtype=torch.float64)]:
        turn = ir.D_from_matrix(R)
        for _ in range(degree):
            turn = torch.kron(turn, irreps.D_from_matrix(R))
        equations.append(turn.numpy() - np.eye(size))
    places = np.arange(size).reshape(shape)
    for k in range(1, degree):
        equations.append(np.eye(size)[places.swapaxes(k, k + 1).ravel()] - np.eye(size))
    square = sum(e.T @ e for e in equations)
    values, vectors = np.linalg.eigh(square)
    invariant = vectors[:, values < 1e-9]
    ours = as_tensors(irreps, degree, ir).reshape(-1, size) / np.sqrt(ir.dim)
    assert len(ours) == invariant.shape[1]
    np.testing.assert_allclose(ours @ ours.T, np.eye(len(ours)), atol=1e-13)
    np.testing.assert_allclose(ours.T @ ours, invariant @ invariant.T, atol=1e-9)


@pytest.mark.parametrize(
    ("irreps", "degree"),
    [("0e + 1o + 2e", 3), ("2x0e + 2x1o + 1e + 2e", 2), ("0e + 1o", 5), ("1o + 2e + 3o", 3)],
)
def test_basis_is_that_of_the_symmetric_power(irreps, degree):
    keep = "0e + 1o + 1e + 2e"
    power = symmetric_power_basis(irreps, degree, keep=keep)
    for _, ir in Irreps(keep):
        ours = as_tensors(irreps, degree, ir)
        np.testing.assert_allclose(ours, power.block(ir).numpy(), atol=1e-14)


def test_explicit_products_of_a_vector(float64):
    """x.x, (x x)_2 and (x.x) x, each of norm 1 as a tensor."""
    x = torch.randn(3)

    def value(degree, ir):
        (basis,) = symmetric_polynomials("1o", degree, ir)[Irrep(ir)]
        products = torch.stack([x[list(m)].prod() for m in monomials(3, degree)])
        return torch.from_numpy(basis) @ products

    torch.testing.assert_close(value(2, "0e"), (x @ x / 3**0.5)[None])
    second = 5**0.5 * torch.einsum("i,j,ijk->k", x, x, wigner_3j(1, 1, 2, dtype=x.dtype))
    torch.testing.assert_close(value(2, "2e"), second)
    torch.testing.assert_close(value(3, "1o"), (x @ x) * x * (3 / 5) ** 0.5)


@pytest.mark.parametrize("out", ["0e", "1o", "2e"])
def test_explicit_coupled_products_of_three(out, float64):
    """((x x)_l12 x)_l by 3j symbols, over all couplings, span the polynomials of degree 3."""
    irreps, ir = Irreps("0e + 1o + 2e"), Irrep(out)
    x = torch.randn(60, irreps.dim)
    blocks = dict(zip((0, 1, 2), x.split([1, 3, 5], dim=1), strict=True))

    def coupled(a, la, b, lb, l):
        return torch.einsum("ni,nj,ijk->nk", a, b, wigner_3j(la, lb, l, dtype=x.dtype))

    columns = []
    for la, lb, lc in np.ndindex(3, 3, 3):
        if (la + lb + lc + ir.l) % 2:
            continue
        for l12 in range(abs(la - lb), la + lb + 1):
            if abs(l12 - lc) <= ir.l <= l12 + lc:
                pair = coupled(blocks[la], la, blocks[lb], lb, l12)
                columns.append(coupled(pair, l12, blocks[lc], lc, ir.l).reshape(-1))
    expected = torch.stack(columns, dim=1)
    products = torch.stack([x[:, list(m)].prod(dim=1) for m in monomials(9, 3)], dim=1)
    basis = torch.from_numpy(symmetric_polynomials(irreps, 3, out)[ir])
    ours = torch.einsum("pkm,nm->nkp", basis, products).reshape(-1, len(basis))
    assert torch.linalg.matrix_rank(expected) == torch.linalg.matrix_rank(ours) == len(basis)
    for a, b in ((ours, expected), (expected, ours)):
        rest = b - a @ torch.linalg.pinv(a) @ b
        assert rest.abs().max() < 1e-11 * b.abs().max()


def dense(layer, x, species):
    """The contraction as MACE writes it: einsums with the full tensors U (eq. 10)."""
    n = layer.polynomials.n_in
    features = x.reshape(-1, n, layer.channels)
    variables = Irreps([ir for _, ir in layer.irreps_in])
    start, outputs = 0, []
    for (_, ir), counts in zip(layer.irreps_out, layer.n_paths, strict=True):
        out = features.new_zeros(len(features), ir.dim, layer.channels)
        for degree, paths in enumerate(counts, 1):
            if not paths:
                continue
            U = symmetric_power_basis(variables, degree, keep=[ir]).block(ir).to(x.dtype)
            w = layer.weight[:, start : start + paths][species]
            value = U.expand(len(features), layer.channels, *U.shape)
            for _ in range(degree):
                value = torch.einsum("nc...i,nic->nc...", value, features)
            scale = scales(layer)[start : start + paths]
            out = out + torch.einsum("ncpk,npc,p->nkc", value, w, scale)
            start += paths
        outputs.append(out.reshape(len(features), -1))
    return torch.cat(outputs, dim=1)


def scales(layer):
    """The factor of each path: 1 / sqrt(degrees * sum of the paths' exact mean squares)."""
    variables = Irreps([ir for _, ir in layer.irreps_in])
    factors = []
    for (_, ir), counts in zip(layer.irreps_out, layer.n_paths, strict=True):
        degrees = sum(count > 0 for count in counts)
        for degree, paths in enumerate(counts, 1):
            if paths:
                basis = symmetric_polynomials(variables, degree, [ir])[ir][:, 0]
                names = monomials(variables.dim, degree)
                moment = np.array([[moment_of(tuple(sorted(a + b))) for b in names] for a in names])
                power = np.einsum("pa,ab,pb->", basis, moment, basis)
                factors += [1 / np.sqrt(degrees * power)] * paths
    return torch.tensor(factors, dtype=layer.weight.dtype)


@cache
def moment_of(variables):
    """Mean of a product of standard normal variables: products of odd factorials."""
    total = 1
    for v in set(variables):
        count = variables.count(v)
        total *= 0 if count % 2 else int(np.prod(np.arange(1, count, 2)))
    return total


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("correlation", [1, 2, 3])
def test_equals_the_dense_contraction(correlation, dtype):
    layer = SymmetricContraction(
        "4x0e + 4x1o + 4x2e", "4x0e + 4x1o + 4x2e", correlation=correlation, n_species=3
    ).to(dtype)
    x = layer.irreps_in.randn(11, -1, dtype=dtype)
    species = torch.randint(3, (11,))
    expected = dense(layer.double(), x.double(), species)
    torch.testing.assert_close(torch.tensor(layer.factors), scales(layer).float())
    got = layer.to(dtype)(x, species)
    tolerance = 1e-11 if dtype == torch.float64 else 2e-5 * expected.abs().max().item()
    torch.testing.assert_close(got.double(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize(
    ("irreps_in", "correlation"),
    [
        ("3x0e + 3x1o + 3x2e + 3x3o", 1),
        ("3x0e + 3x1o + 3x2e + 3x3o", 2),
        ("3x0e + 3x1o + 3x2e + 3x3o", 3),
        ("3x0e + 3x1o + 3x2e", 4),
        ("3x0o + 3x1e + 3x1o", 4),
        ("3x0e + 3x1o", 5),
    ],
)
def test_equivariance_of_body_orders_2_to_6(irreps_in, correlation, improper):
    """Of a module built in float32 and moved to float64."""
    layer = SymmetricContraction(
        irreps_in, "3x0e + 3x0o + 3x1o + 3x1e + 3x2e", correlation=correlation, n_species=2
    ).double()
    x = layer.irreps_in.randn(5, -1, normalization="norm", dtype=torch.float64)
    species = torch.tensor([0, 1, 1, 0, 1])
    R = rand_matrix(dtype=torch.float64) * (-1 if improper else 1)
    turned = layer(x @ layer.irreps_in.D_from_matrix(R).T, species)
    expected = layer(x, species) @ layer.irreps_out.D_from_matrix(R).T
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(turned, expected, atol=1e-12, rtol=0)


def test_rows_are_independent_of_their_order():
    layer = SymmetricContraction("5x0e + 5x1o", "5x0e + 5x1o", correlation=3, n_species=4)
    x, species = layer.irreps_in.randn(50, -1), torch.randint(4, (50,))
    order = torch.randperm(50)
    assert torch.equal(layer(x[order], species[order]), layer(x, species)[order])
    single = torch.cat([layer(row[None], s[None]) for row, s in zip(x, species, strict=True)])
    assert torch.equal(single, layer(x, species))


def test_sum_over_neighbours_is_unchanged_by_their_order(float64):
    """Symmetric tensors: contracting different vectors gives the same in every order."""
    tensor = torch.from_numpy(as_tensors("0e + 1o", 3, Irrep("1o")))
    vectors = torch.randn(3, 4)
    values = [
        torch.einsum("pkabc,a,b,c->pk", tensor, *vectors[list(order)])
        for order in permutations(range(3))
    ]
    for value in values[1:]:
        torch.testing.assert_close(value, values[0])


def test_parities_that_nothing_reaches_are_zero():
    layer = SymmetricContraction("4x0e + 4x2e", "4x0e + 4x1o + 4x0o", correlation=3)
    assert layer.n_paths == ((1, 2, 3), (0, 0, 0), (0, 0, 0))
    x = layer.irreps_in.randn(6, -1, requires_grad=True)
    out = layer(x)
    assert out.shape == (6, 20)
    assert torch.count_nonzero(out[:, :4]) == 24
    assert torch.count_nonzero(out[:, 4:]) == 0
    nothing = SymmetricContraction("4x0e", "4x1o", correlation=2)
    (gradient,) = grad(nothing(x[:, :4]).sum(), x, allow_unused=True)
    assert gradient is None or torch.count_nonzero(gradient) == 0


def test_unit_variance_at_initialisation():
    blocks = []
    for _ in range(150):
        layer = SymmetricContraction(
            "32x0e + 32x1o + 32x2e", "32x0e + 32x1o + 32x1e", correlation=3
        )
        with torch.no_grad():
            y = layer(layer.irreps_in.randn(40, -1))
        blocks.append(torch.stack([y[:, s].square().mean() for s in layer.irreps_out.slices()]))
    mean = torch.stack(blocks).mean(0)  # a few per cent of error: polynomials have long tails
    torch.testing.assert_close(mean, torch.ones(3), atol=0.08, rtol=0)


POLYNOMIALS = Polynomials(
    3, 2, ((0, 0), (1, 2), (0, 0, 0), (1, 0, 1), (0, 1, 1, 2), (1, 0, 0, 2), (1, 2, 2, 2, 2))
)


def small(channels=3, dtype=torch.float64):
    x = torch.randn(5, 3, channels, dtype=dtype, requires_grad=True)
    w = torch.randn(2, 7, channels, dtype=dtype, requires_grad=True)
    return x, w, torch.tensor([1, 0, 1, 1, 0])


def test_derivatives_by_finite_differences():
    x, w, species = small()

    def function(x, w):
        return evaluate(POLYNOMIALS, x, w, species)

    assert gradcheck(function, (x, w))
    assert gradgradcheck(function, (x, w))


@pytest.mark.parametrize("channels", [1, 3, 16, 37])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_kernel_equals_the_composition_up_to_fourth_derivatives(channels, dtype):
    """The fourth derivative has three tangents, one more than the kernel."""
    x, w, species = small(channels, dtype)

    def chain(function):
        directions = iter(torch.Generator().manual_seed(s) for s in range(9))
        value = function(POLYNOMIALS, x, w, species)
        values = [value]
        for _ in range(4):
            weights = torch.randn(value.shape, generator=next(directions), dtype=dtype)
            value, by_w = grad((value * weights).sum(), (x, w), create_graph=True)
            values += [value, by_w]
        return values

    for got, expected in zip(chain(evaluate), chain(compose), strict=True):
        size = expected.abs().max().item()
        tolerance = (1e-13 if dtype == torch.float64 else 5e-6) * max(size, 1.0)
        torch.testing.assert_close(got, expected, atol=tolerance, rtol=0)


def test_reference_in_parts_equals_the_kernel(monkeypatch):
    x, w, species = small()
    z = torch.randn(5, 2, 3, dtype=torch.float64)
    u = torch.randn_like(x)
    module = clebsch.ops.nodewise.polynomials
    for target, factors in ((0, (w, None)), (1, (None, z)), (2, (w, z))):
        for tangents in ([], [u], [u, x.detach()]):
            args = (POLYNOMIALS, target, 2, species, x.detach(), *factors, tangents)
            with monkeypatch.context() as patch, torch.no_grad():
                expected = module._compute(*args)
                patch.setattr(module, "usable", lambda: False)
                patch.setattr(module, "_CHUNK", 50)  # two rows at a time
                torch.testing.assert_close(module._compute(*args), expected)


def test_threads_do_not_change_a_bit():
    layer = SymmetricContraction("40x0e + 40x1o", "40x0e + 40x1o", correlation=3, n_species=2)
    x, species = layer.irreps_in.randn(600, -1, requires_grad=True), torch.randint(2, (600,))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            value = layer(x, species)
            (by_x,) = grad(value.square().sum(), x, create_graph=True)
            results.append((value, by_x, *grad(by_x.square().sum(), (x, *layer.parameters()))))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_gradients_are_finite_for_zeros_and_nothing():
    layer = SymmetricContraction("4x0e + 4x1o", "4x0e + 4x1o", correlation=4, n_species=2)
    for rows in (0, 3):
        x = torch.zeros(rows, 16, requires_grad=True)
        value = layer(x, torch.zeros(rows, dtype=torch.int64))
        assert value.shape == (rows, 16)
        (by_x,) = grad(value.sum(), x, create_graph=True)
        gradients = grad(by_x.sum(), (x, layer.weight), allow_unused=True)
        assert all(torch.isfinite(g).all() for g in (by_x, *gradients) if g is not None)


def test_leading_dimensions():
    layer = SymmetricContraction("4x0e + 4x1o", "4x0e + 4x1o", correlation=2, n_species=2)
    x, species = layer.irreps_in.randn(2, 3, -1), torch.randint(2, (2, 3))
    assert torch.equal(layer(x, species)[1, 2], layer(x[1, 2][None], species[1, 2][None])[0])


def test_state_is_the_weights_only():
    layer = SymmetricContraction("4x0e + 4x1o", "4x0e", correlation=2, n_species=5)
    assert {name: t.shape for name, t in layer.state_dict().items()} == {"weight": (5, 3, 4)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_compiled():
    layer = SymmetricContraction("4x0e + 4x1o", "4x0e + 4x1o", correlation=3, n_species=2).double()
    x = layer.irreps_in.randn(7, -1, dtype=torch.float64, requires_grad=True)
    species = torch.randint(2, (7,))

    def function(x):
        return layer(x, species).square().sum()

    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), function(x))
    inputs = (x, *layer.parameters())
    torch.testing.assert_close(grad(compiled(x), inputs), grad(function(x), inputs))
    torch.compiler.reset()


def test_exported():
    layer = SymmetricContraction("4x0e + 4x1o", "4x0e + 4x1o", correlation=3, n_species=2)
    x, species = layer.irreps_in.randn(7, -1), torch.randint(2, (7,))
    program = torch.export.export(layer, (x, species))
    torch.testing.assert_close(program.module()(x, species), layer(x, species))


def test_functional_transforms(float64):
    layer = SymmetricContraction("2x0e + 2x1o", "2x0e + 2x1o", correlation=3)
    x = layer.irreps_in.randn(3, -1)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: layer(row[None])[0]))(x)
    expected = torch.autograd.functional.jacobian(lambda x: layer(x).sum(0), x)
    torch.testing.assert_close(jacobian, expected.movedim(0, 1))
    leaf = x.requires_grad_()
    value = layer(leaf)
    rows = torch.eye(value.numel()).view(-1, *value.shape)
    (batched,) = grad(value, leaf, rows, is_grads_batched=True)
    for index, row in enumerate(rows):
        torch.testing.assert_close(batched[index], grad(layer(leaf), leaf, row)[0])


def test_wrong_input():
    with pytest.raises(ValueError, match=r"4x0e\+3x1o -> 4x0e must have the same number"):
        SymmetricContraction("4x0e + 3x1o", "4x0e", correlation=2)
    with pytest.raises(ValueError, match="must have the same number of channels"):
        SymmetricContraction("4x0e + 4x1o", "8x0e", correlation=2)
    with pytest.raises(ValueError, match="correlation must be >= 1, not 0"):
        SymmetricContraction("4x0e", "4x0e", correlation=0)
    layer = SymmetricContraction("4x0e + 4x1o", "4x0e", correlation=2, n_species=3)
    x = layer.irreps_in.randn(2, -1)
    with pytest.raises(ValueError, match=r"4x0e\+4x1o needs 16"):
        layer(x[:, :5], torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="are missing; there are weights for 3"):
        layer(x)
    with pytest.raises(ValueError, match=r"have shape \(1,\)"):
        layer(x, torch.tensor([0]))
    for wrong in (3, -1):
        with pytest.raises(IndexError, match=f"species {wrong} lies outside of 0 to 2"):
            layer(x, torch.tensor([0, wrong]))
    with pytest.raises(ValueError, match="degree of a polynomial must be at least 1"):
        symmetric_polynomials("1o", 0, "0e")
    with pytest.raises(ValueError, match="in ascending order"):
        Polynomials(2, 1, ((0, 1, 0),))
    with pytest.raises(ValueError, match="does not fit 2 variables"):
        Polynomials(2, 1, ((0, 2),))
    with pytest.raises(ValueError, match="must be"):
        evaluate(POLYNOMIALS, torch.zeros(2, 2, 3), torch.zeros(1, 7, 3))
    with pytest.raises(ValueError, match="none are given"):
        evaluate(POLYNOMIALS, torch.zeros(2, 3, 3), torch.zeros(2, 7, 3))
