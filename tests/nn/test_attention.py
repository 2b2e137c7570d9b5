"""Attention: against e3nn's parts, smooth where neighbours leave, differentiable twice."""

import math

import pytest
import torch

from clebsch.nn import Attention, BesselBasis, PolynomialCutoff
from clebsch.o3 import Irreps, from_e3nn, rand_matrix, spherical_harmonics, to_e3nn
from clebsch.ops import Edges
from clebsch.ops.exchange import GhostMap
from e3nn_weights import e3nn_linear

pytestmark = pytest.mark.filterwarnings("ignore:.*fast CPU kernels.*")
FEATURES = Irreps("4x0e + 2x0o + 4x1o + 2x1e + 2x2e")
OUT = Irreps("3x0e + 2x1o + 1x2e")
HARMONICS = Irreps.spherical_harmonics(2)
CUTOFF = 2.0


def layer(features=FEATURES, **options) -> Attention:
    options = {"radial": [6, 16], "heads": 2, "mean_neighbours": 6.0, **options}
    return Attention(features, HARMONICS, OUT, **options)


def pairs(positions):
    """All ordered pairs, those beyond the cutoff too: their cutoff is zero."""
    n = positions.shape[0]
    dst, src = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    apart = src != dst
    return Edges(src[apart], dst[apart], n)


def attend(module, x, positions, edges=None):
    """The layer on points in space."""
    edges = edges or pairs(positions)
    vectors = positions[edges.src] - positions[edges.dst]
    u = torch.linalg.vector_norm(vectors, dim=-1) / CUTOFF
    harmonics = spherical_harmonics(HARMONICS, vectors, normalize=True)
    return module(x, harmonics, BesselBasis(6)(u), PolynomialCutoff()(u), edges)


@pytest.mark.parametrize("improper", [False, True])
def test_equivariance_after_a_cast(improper):
    module = layer().double()
    x = FEATURES.randn(9, -1, dtype=torch.float64)
    positions = 1.5 * torch.randn(9, 3, dtype=torch.float64)
    rotation = rand_matrix(dtype=torch.float64) * (-1 if improper else 1)
    expected = attend(module, x, positions) @ OUT.D_from_matrix(rotation).T
    turned = attend(module, x @ FEATURES.D_from_matrix(rotation).T, positions @ rotation.T)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(turned, expected, atol=1e-12, rtol=0)


def test_float32_is_float64_rounded():
    module = layer()
    x, positions = FEATURES.randn(9, -1), 1.5 * torch.randn(9, 3)
    single = attend(module, x, positions)
    double = attend(module.double(), x.double(), positions.double())
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sink", [False, True])
def test_equals_the_same_from_parts_of_e3nn(sink, float64):
    """Keys and values are e3nn's products, edge by edge; every head of its own."""
    e3nn = pytest.importorskip("e3nn.o3")
    module = layer(sink=sink)
    if sink:
        torch.nn.init.normal_(module.sink)
    n, heads = 7, 2
    x, positions = FEATURES.randn(n, -1), torch.randn(n, 3)
    edges = pairs(positions)
    vectors = positions[edges.src] - positions[edges.dst]
    u = torch.linalg.vector_norm(vectors, dim=-1) / CUTOFF
    basis, cutoff = BesselBasis(6)(u), PolynomialCutoff()(u)
    y = e3nn.spherical_harmonics(str(HARMONICS), vectors, True, "component")

    def messages(spec, mix, radial):
        """Per edge, e3nn's layout; our paths and weights in e3nn's TensorProduct."""
        instructions = [(p.x, p.y, p.z, "uvu", True, 1.0) for p in spec.paths]
        product = e3nn.TensorProduct(
            str(spec.x), str(spec.y), str(spec.z), instructions,
            internal_weights=False, shared_weights=False,
        )  # fmt: skip
        mixed = e3nn_linear(e3nn, mix)(to_e3nn(x, FEATURES))
        return product(mixed[edges.src], y, radial(basis))

    def by_head(rows, irreps):
        """(rows, heads, dim of one head)."""
        parts = [
            rows[:, place].reshape(rows.shape[0], heads, -1) for place in irreps.slices()
        ]  # mul_ir: the channels of one head are neighbours
        return torch.cat(parts, dim=-1)

    keys = by_head(messages(module.keys, module.mix_key, module.radial_key), module.keys.z)
    query = e3nn_linear(e3nn, module.query)(to_e3nn(x, FEATURES))
    query = by_head(query, module.keys.z)[edges.dst]
    logits = (query * keys).sum(-1) / keys.shape[-1] ** 0.5
    part = logits.exp() * cutoff[:, None]
    total = torch.zeros(n, heads).index_add(0, edges.dst, part)
    if sink:
        total = total + module.sink.exp()
    shares = part / total[edges.dst]
    torch.testing.assert_close(module.shares(x, y, basis, cutoff, edges), shares)

    values = messages(module.values, module.mix_value, module.radial_value)
    scaled = torch.cat(
        [
            (values[:, place].unflatten(-1, (heads, -1)) * shares[:, :, None]).flatten(1)
            for place in module.values.z.slices()
        ],
        dim=-1,
    )
    total = torch.zeros(n, module.values.z.dim).index_add(0, edges.dst, scaled)
    expected = e3nn_linear(e3nn, module.mix_out)(total) * (6.0 / math.e) ** 0.5
    found = attend(module, x, positions)
    torch.testing.assert_close(found, from_e3nn(expected, OUT), atol=1e-10, rtol=0)


def test_smooth_where_the_last_neighbour_leaves(float64):
    """Two atoms move apart. Values, slopes and curvatures across the cutoff have no jump."""
    module, x = layer(), FEATURES.randn(2, -1)
    # without a cutoff in the basis: the shares alone must be smooth
    basis = torch.randn(2, 6)

    def at(r):
        positions = torch.tensor([[0.0, 0.0, 0.0], [0.6, 0.0, 0.8]]) * r
        edges = pairs(positions)
        y = spherical_harmonics(HARMONICS, positions[edges.src] - positions[edges.dst])
        cutoff = PolynomialCutoff()(torch.tensor([r, r]) / CUTOFF)
        return module(x, y, basis, cutoff, edges)

    def jumps(step):
        """Largest values within ``step`` inside, and with differences outside."""
        r = [CUTOFF + k * step for k in (-2, -1, 0, 1)]
        a, b, c, d = (at(value) for value in r)
        assert c.abs().max() == d.abs().max() == 0
        slope, curvature = (c - b) / step, (c - 2 * b + a) / step**2
        return torch.stack([b.abs().max(), slope.abs().max(), curvature.abs().max()])

    assert at(0.7 * CUTOFF).abs().max() > 0.1
    coarse, fine = jumps(1e-3), jumps(1e-4)
    # f ~ (r_c - r)^3: value, slope, curvature fall as the third, second, first power of the step
    torch.testing.assert_close(fine / coarse, torch.tensor([1e-3, 1e-2, 1e-1]), rtol=0.1, atol=0)


def test_without_a_sink_the_last_neighbour_jumps(float64):
    """Why there is one: the share of an only neighbour is one up to the cutoff."""
    module, x = layer(sink=False), FEATURES.randn(2, -1)
    edges, y = pairs(torch.zeros(2, 3)), HARMONICS.randn(2, -1)
    for cutoff, share in ((1e-9, 1.0), (0.0, 0.0)):
        shares = module.shares(x, y, torch.ones(2, 6), torch.full((2,), cutoff), edges)
        assert torch.equal(shares, torch.full((2, 2), share))


def test_smooth_along_a_line_of_many_crossings(float64):
    """Atoms fly through each other's cutoffs: slopes by autograd are those by differences."""
    module, x = layer(), FEATURES.randn(6, -1)
    start, velocity = torch.randn(6, 3), torch.randn(6, 3)

    def energy(t):
        return attend(module, x, start + velocity * t).sin().sum()

    crossings = 0
    for number in range(40):
        t = torch.tensor(0.05 * number, requires_grad=True)
        (slope,) = torch.autograd.grad(energy(t), t)
        h = 1e-6
        with torch.no_grad():
            numeric = (energy(t + h) - energy(t - h)) / (2 * h)
            inside = torch.pdist(start + velocity * t) < CUTOFF
            after = torch.pdist(start + velocity * (t + 0.05)) < CUTOFF
            crossings += int((inside != after).sum())
        torch.testing.assert_close(slope, numeric, atol=1e-6, rtol=1e-6)
    assert crossings >= 5


def test_forces_and_a_force_loss(float64):
    module = Attention("2x0e + 2x1o", "0e + 1o", "0e", radial=[3, 4], heads=2, mean_neighbours=2)
    x = Irreps("2x0e + 2x1o").randn(3, -1, requires_grad=True)
    positions = torch.randn(3, 3, requires_grad=True)
    edges = pairs(positions)

    def energy(x, positions):
        vectors = positions[edges.src] - positions[edges.dst]
        u = torch.linalg.vector_norm(vectors, dim=-1) / 4.0
        y = spherical_harmonics("0e + 1o", vectors)
        return module(x, y, BesselBasis(3)(u), PolynomialCutoff()(u), edges)

    assert torch.autograd.gradcheck(energy, (x, positions))
    assert torch.autograd.gradgradcheck(energy, (x, positions))
    (slope,) = torch.autograd.grad(energy(x, positions).sum(), positions, create_graph=True)
    loss = slope.square().mean()
    found = dict(zip(
        [name for name, _ in module.named_parameters()],
        torch.autograd.grad(loss, list(module.parameters())), strict=True,
    ))  # fmt: skip
    assert all(torch.isfinite(g).all() and g.abs().max() > 0 for g in found.values()), found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_geometry_has_finite_gradients(dtype):
    """Atoms on top of each other, on the polar axis, exactly at the cutoff, and alone."""
    module = layer().to(dtype)
    positions = torch.tensor(
        [[0.0, 0, 0], [0, 0, 0], [0, 1, 0], [0, CUTOFF, 0], [50, 0, 0]], dtype=dtype
    ).requires_grad_()
    x = FEATURES.randn(5, -1, dtype=dtype, requires_grad=True)
    edges = pairs(positions)
    vectors = positions[edges.src] - positions[edges.dst]
    square = vectors.square().sum(-1)
    u = square.where(square > 0, 1.0).sqrt().where(square > 0, 0.0) / CUTOFF
    y = spherical_harmonics(HARMONICS, vectors)
    out = module(x, y, BesselBasis(6)(u), PolynomialCutoff()(u), edges)
    assert torch.equal(out[4], torch.zeros_like(out[4]))
    gradients = torch.autograd.grad(out.square().sum(), (x, positions), create_graph=True)
    second = torch.autograd.grad(sum(g.sin().sum() for g in gradients), (x, positions))
    assert all(torch.isfinite(g).all() for g in (*gradients, *second))


def test_permutation_of_atoms_and_edges(float64):
    module, x, positions = layer(), FEATURES.randn(8, -1), torch.randn(8, 3)
    order = torch.randperm(8)
    torch.testing.assert_close(
        attend(module, x[order], positions[order]), attend(module, x, positions)[order]
    )
    edges = pairs(positions)
    mixed = torch.randperm(edges.src.shape[0])
    shuffled = Edges(edges.src[mixed], edges.dst[mixed], 8)
    torch.testing.assert_close(attend(module, x, positions, shuffled), attend(module, x, positions))


def test_ghosts_give_the_same(float64):
    module, x, positions = layer(), FEATURES.randn(5, -1), torch.randn(5, 3)
    edges = pairs(positions)
    ghosts = GhostMap(torch.tensor([1, 3]), 5)
    src = edges.src.clone()
    src[edges.src == 1] = 5
    src[edges.src == 3] = 6
    y, cutoff = HARMONICS.randn(20, -1), torch.rand(20)
    basis = torch.randn(20, 6)
    expected = module(x, y, basis, cutoff, edges)
    found = module(x, y, basis, cutoff, Edges(src, edges.dst, 5), ghosts)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("n", "e"), [(0, 0), (3, 0)])
def test_nothing_in(n, e):
    module = layer()
    nothing = torch.zeros(e, dtype=torch.int64)
    x = torch.zeros(n, FEATURES.dim, requires_grad=True)
    y, basis = torch.zeros(e, HARMONICS.dim), torch.zeros(e, 6)
    out = module(x, y, basis, torch.zeros(e), Edges(nothing, nothing, n))
    assert out.shape == (n, OUT.dim)
    out.square().sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in module.parameters())


def test_variance_at_initialisation_is_of_order_one():
    """Twelve neighbours; the logits are not quite normal, and something goes to the sink."""
    square = []
    for _ in range(30):
        module = layer(features=Irreps("16x0e + 16x1o + 16x2e"), heads=4, mean_neighbours=12)
        n, e = 100, 1200
        edges = Edges(torch.randint(n, (e,)), torch.arange(n).repeat_interleave(12), n)
        y = spherical_harmonics(HARMONICS, torch.randn(e, 3))
        with torch.no_grad():
            x = module.irreps_in.randn(n, -1)
            out = module(x, y, torch.randn(e, 6), torch.ones(e), edges)
        square.append(torch.stack([out[:, s].square().mean() for s in OUT.slices()]))
    mean = torch.stack(square).mean(0)
    assert ((mean > 0.6) & (mean < 1.6)).all(), mean


def test_under_compile():
    module = layer()
    x, y, basis = FEATURES.randn(4, -1), HARMONICS.randn(6, -1), torch.randn(6, 6)
    edges = Edges(torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([1, 1, 2, 2, 3, 3]), 4)
    exported = torch.export.export(module, (x, y, basis, torch.rand(6), edges)).module()
    cutoff = torch.rand(6)
    torch.testing.assert_close(
        exported(x, y, basis, cutoff, edges), module(x, y, basis, cutoff, edges)
    )


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="3 heads do not divide the channels of 4x0e"):
        layer(heads=3)
    with pytest.raises(ValueError, match=r"Attention: 2x0e \(x\) 1x1o contains nothing of 2x0e"):
        Attention("2x0e", "1o", "1o", radial=[3], heads=1, mean_neighbours=1)
    with pytest.raises(ValueError, match=r"Attention: 2x0e \(x\) 1x0e contains nothing of 1x1o"):
        Attention("2x0e", "0e", "1o", radial=[3], heads=1, mean_neighbours=1)
    module = layer()
    nothing = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"Attention: x has 7 in its last dimension"):
        module(torch.zeros(3, 7), torch.zeros(0, 9), torch.zeros(0, 6), torch.zeros(0),
               Edges(nothing, nothing, 3))  # fmt: skip
