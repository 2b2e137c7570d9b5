"""Point convolution: e3nn's with its weights, equivariance, attributes, ghosts."""

import pytest
import torch

from clebsch.nn import PointConvolution
from clebsch.o3 import Irrep, Irreps, from_e3nn, rand_matrix, spherical_harmonics, to_e3nn
from clebsch.ops import Edges
from clebsch.ops.exchange import GhostMap

pytestmark = pytest.mark.filterwarnings("ignore:.*fast CPU kernels.*")
FEATURES = Irreps("4x0e + 3x0o + 3x1o + 2x1e + 2x2e")
ATTRIBUTES = Irreps("3x0e + 1x1o")
OUT = Irreps("3x0e + 2x0o + 2x1o + 1x2e + 1x3o")
HARMONICS = Irreps.spherical_harmonics(2)


def layer(features=FEATURES, attributes=ATTRIBUTES, out=OUT) -> PointConvolution:
    made = PointConvolution(
        features, attributes, HARMONICS, out, radial=[5, 16], mean_neighbours=4.0
    )
    torch.nn.init.normal_(made.alpha.weight)
    return made


def inputs(module, n=6, e=24, dtype=None):
    edges = Edges(torch.randint(n, (e,)), torch.randint(n, (e,)).sort().values, n)
    x = module.irreps_in.randn(n, -1, dtype=dtype)
    attributes = module.irreps_attributes.randn(n, -1, dtype=dtype)
    vectors, basis = torch.randn(e, 3, dtype=dtype), torch.randn(e, 5, dtype=dtype)
    return x, attributes, vectors, basis, edges


def run(module, x, attributes, vectors, basis, edges):
    return module(x, attributes, spherical_harmonics(HARMONICS, vectors), basis, edges)


@pytest.mark.parametrize("attributes", ["1x0e", "3x0e", "3x0e + 1x1o", "2x0e + 1x0o + 1x2e"])
def test_equals_e3nn_with_its_weights(attributes, float64):
    models = pytest.importorskip("e3nn.nn.models.v2106.points_convolution")
    module = layer(attributes=Irreps(attributes))
    oracle = models.Convolution(
        str(FEATURES), attributes, str(HARMONICS), str(OUT), [5, 16], num_neighbors=4.0
    )
    spec = module.specification
    with torch.no_grad():
        for ours, theirs in (
            (module.self_connection, oracle.sc),
            (module.mix_in, oracle.lin1),
            (module.mix_out, oracle.lin2),
            (module.alpha, oracle.alpha),
        ):
            assert ours.weight.shape == theirs.weight.shape
            theirs.weight.copy_(ours.weight)
        first, last = module.radial.weights
        oracle.fc[0].weight.copy_(first)
        oracle.fc[0].act.cst = module.radial.activation.scale  # e3nn's is a Monte Carlo estimate
        places, start = {}, 0
        for path, place in zip(spec.paths, spec.weight_slices, strict=True):
            places[path.x, path.y, spec.z[path.z].ir] = place
        for ins in oracle.tp.instructions:
            ir = oracle.tp.irreps_out[ins.i_out].ir
            width = ins.path_shape[0] * ins.path_shape[1]
            place = places[ins.i_in1, ins.i_in2, Irrep(str(ir))]
            oracle.fc[1].weight[:, start : start + width] = last[:, place]
            start += width
        assert start == spec.weight_numel
    x, a, vectors, basis, edges = inputs(module)
    y = spherical_harmonics(HARMONICS, vectors)
    expected = oracle(to_e3nn(x, FEATURES), to_e3nn(a, attributes), edges.src, edges.dst, y, basis)
    found = module(x, a, y, basis, edges)
    assert found.abs().max() > 0.1
    torch.testing.assert_close(found, from_e3nn(expected, OUT), atol=1e-10, rtol=0)


@pytest.mark.parametrize("improper", [False, True])
def test_equivariance_after_a_cast(improper):
    module = layer().double()
    x, a, vectors, basis, edges = inputs(module, dtype=torch.float64)
    rotation = rand_matrix(dtype=torch.float64) * (-1 if improper else 1)
    expected = run(module, x, a, vectors, basis, edges) @ OUT.D_from_matrix(rotation).T
    turned = run(
        module,
        x @ FEATURES.D_from_matrix(rotation).T,
        a @ ATTRIBUTES.D_from_matrix(rotation).T,
        vectors @ rotation.T,
        basis,
        edges,
    )
    torch.testing.assert_close(turned, expected, atol=1e-12, rtol=1e-12)


def test_float32_is_float64_rounded():
    module = layer()
    x, a, vectors, basis, edges = inputs(module)
    single = run(module, x, a, vectors, basis, edges)
    double = run(module.double(), *(t.double() for t in (x, a, vectors, basis)), edges)
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=1e-4)


def test_a_new_layer_is_its_self_connection_where_that_reaches(float64):
    module = layer(attributes=Irreps("3x0e"))
    torch.nn.init.zeros_(module.alpha.weight)
    x, a, vectors, basis, edges = inputs(module)
    out, own = run(module, x, a, vectors, basis, edges), module.self_connection(x, a)
    *reached, last = OUT.slices()  # 3o is in no product of features and attributes
    for place in reached:
        assert torch.equal(out[:, place], own[:, place])
    assert torch.equal(own[:, last], torch.zeros_like(own[:, last]))
    assert out[:, last].abs().max() > 0.1


def test_derivatives(float64):
    module = PointConvolution(
        "2x0e + 1x1o", "1x0e", "0e + 1o", "0e + 1o", radial=[2, 3], mean_neighbours=2
    )
    torch.nn.init.normal_(module.alpha.weight)
    edges = Edges(torch.tensor([1, 2, 0]), torch.tensor([0, 0, 1]), 3)
    factors = [torch.randn(3, n, requires_grad=True) for n in (5, 1, 4, 2)]
    assert torch.autograd.gradcheck(lambda *f: module(*f, edges), factors)
    assert torch.autograd.gradgradcheck(lambda *f: module(*f, edges), factors)


def test_ghosts_give_the_same(float64):
    module = layer()
    x, a, vectors, basis, edges = inputs(module)
    src = edges.src.clone()
    src[edges.src == 2] = 6
    expected = run(module, x, a, vectors, basis, edges)
    y = spherical_harmonics(HARMONICS, vectors)
    ghosts = GhostMap(torch.tensor([2]), 6)
    found = module(x, a, y, basis, Edges(src, edges.dst, 6), ghosts)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_in(n):
    module = layer()
    x, a, vectors, basis, _ = inputs(module, n=max(n, 1), e=0)
    nothing = torch.zeros(0, dtype=torch.int64)
    out = run(module, x[:n], a[:n], vectors, basis, Edges(nothing, nothing, n))
    assert out.shape == (n, OUT.dim)
    out.square().sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in module.parameters())


def test_what_cannot_be_is_refused():
    def make(*irreps):
        return PointConvolution(*irreps, radial=[3], mean_neighbours=1)

    with pytest.raises(ValueError, match=r"2x1o \(x\) 1x0e \(x\) 1x0e contains no 0e"):
        make("2x1o", "1x0e", "0e", "1o")
    with pytest.raises(ValueError, match=r"contains nothing of 1x3e"):
        make("2x0e", "1x0e", "0e", "1x3e")
    module = layer()
    x, a, vectors, basis, edges = inputs(module)
    with pytest.raises(ValueError, match="PointConvolution: attributes has 5"):
        run(module, x, a[:, :5], vectors, basis, edges)
