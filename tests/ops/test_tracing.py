"""The operator under torch.compile, make_fx, torch.export and AOTInductor, with derivatives."""

import subprocess
import sys

import pytest
import torch
from torch.autograd import grad
from torch.fx.experimental.proxy_tensor import make_fx

from clebsch.models import Potential, PotentialConfig
from clebsch.o3 import spherical_harmonics
from clebsch.ops import Edges, Specification, convolve, tensor_product

SPEC = Specification.convolution("4x0e + 4x1o", "0e + 1o", "0e + 1o")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # inductor's own
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def problem(n, e):
    """Node features, vectors, weights, sources, destinations."""
    return (
        torch.randn(n, SPEC.x.dim, dtype=torch.float64, requires_grad=True),
        torch.randn(e, 3, dtype=torch.float64, requires_grad=True),
        torch.randn(e, SPEC.weight_numel, dtype=torch.float64, requires_grad=True),
        torch.randint(n, (e,)),
        torch.randint(n, (e,)).sort().values,
    )


def energy(x, vectors, w, src, dst):
    y = spherical_harmonics("0e + 1o", vectors, normalize=True)
    return convolve(SPEC, x, y, w, Edges(src, dst, x.shape[0])).square().tanh().sum()


def energy_and_slope(x, vectors, w, src, dst):
    value = energy(x, vectors, w, src, dst)
    (slope,) = grad(value, vectors, create_graph=True)
    return value, slope


def loss_gradients(function, inputs):
    """A training step: derivatives of a loss on the slope, so second ones of the operator."""
    value, slope = function(*inputs)
    return grad(value + slope.square().sum(), inputs[:3])


@pytest.mark.slow
def test_compiled_energy_and_its_derivative():
    """One graph, sizes dynamic, the derivative taken outside."""
    compiled = torch.compile(energy, fullgraph=True, dynamic=True)
    for inputs in (problem(5, 17), problem(9, 40)):
        got, expected = (grad(f(*inputs), inputs[:3]) for f in (compiled, energy))
        torch.testing.assert_close(got, expected)


@pytest.mark.slow
def test_compiled_slopes_and_their_derivatives():
    """The derivative inside the compiled function, second derivatives outside and inside."""
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        inside = torch.compile(energy_and_slope, fullgraph=True, dynamic=True, backend="aot_eager")
        step = torch.compile(
            lambda *inputs: loss_gradients(energy_and_slope, inputs),
            fullgraph=True,
            dynamic=True,
            backend="aot_eager",
        )
        for inputs in (problem(5, 17), problem(9, 40)):
            expected = loss_gradients(energy_and_slope, inputs)
            torch.testing.assert_close(loss_gradients(inside, inputs), expected)
            torch.testing.assert_close(step(*inputs), expected)


def test_compiled_edge_free_product_with_shared_weights():
    spec = Specification.fully_connected("3x0e + 2x1o", "2x0e + 1x1o", "2x0e + 2x1o")
    compiled = torch.compile(
        lambda *f: tensor_product(spec, *f), fullgraph=True, dynamic=True, backend="aot_eager"
    )
    for rows in (2, 5):
        shapes = (rows, spec.x.dim), (rows, spec.y.dim), (spec.weight_numel,)
        factors = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
        value, expected = compiled(*factors), tensor_product(spec, *factors)
        torch.testing.assert_close(value, expected)
        for cotangent in (value, expected):
            cotangent.square().sum().backward(inputs=factors, retain_graph=True)
        by = grad(expected.square().sum(), factors)
        for factor, slope in zip(factors, by, strict=True):
            torch.testing.assert_close(factor.grad, 2 * slope)


def test_a_specification_made_inside_the_compiled_function():
    """No method of a specification has to have run before."""
    spec = Specification.convolution("1x0e + 1x1o", "0e + 1o", "0e + 1o")
    x, y, w = (torch.randn(4, width) for width in (spec.x.dim, spec.y.dim, spec.weight_numel))
    compiled = torch.compile(tensor_product, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(spec, x, y, w), tensor_product(spec, x, y, w))


def test_autocast_inside_and_around_the_compiled_function():
    x, vectors, w, src, dst = problem(5, 17)
    y = torch.cat([torch.ones(17, 1), vectors.detach().float()], 1)
    x, w = x.detach().bfloat16(), w.detach().bfloat16()

    def inside(x, y, w):
        with torch.autocast("cpu", torch.bfloat16):
            return convolve(SPEC, x, y, w, Edges(src, dst, 5))

    expected = convolve(SPEC, x.float(), y, w.float(), Edges(src, dst, 5))
    compiled = torch.compile(inside, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, y, w), expected)
    with torch.autocast("cpu", torch.bfloat16):
        around = torch.compile(
            lambda x, y, w: convolve(SPEC, x, y, w, Edges(src, dst, 5)),
            fullgraph=True,
            backend="aot_eager",
        )
        torch.testing.assert_close(around(x, y, w), expected)


def traced_energy_and_slope():
    """Energy and slope as one graph of plain operators, with sizes left open.

    make_fx detaches what a backward formula saved; without that the graph can be differentiated
    once more.
    """
    graph = make_fx(energy_and_slope, tracing_mode="symbolic")(*problem(5, 17))
    for node in list(graph.graph.nodes):
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


def test_make_fx_with_second_derivatives():
    graph = traced_energy_and_slope()
    assert "clebsch.contract" in graph.code
    for inputs in (problem(5, 17), problem(9, 40)):
        expected = loss_gradients(energy_and_slope, inputs)
        torch.testing.assert_close(loss_gradients(graph, inputs), expected)


class Exported(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, vectors, w, src, dst):
        return self.function(x, vectors, w, src, dst)


def exported():
    n, e = torch.export.Dim("atoms", min=2), torch.export.Dim("edges", min=2)
    graph, inputs = Exported(traced_energy_and_slope()), [t.detach() for t in problem(5, 17)]
    sizes = ({0: n}, {0: e}, {0: e}, {0: e}, {0: e})
    with torch.no_grad():
        return torch.export.export(graph, tuple(inputs), dynamic_shapes=sizes)


def test_export_with_dynamic_atoms_and_edges():
    program = exported()
    inputs = problem(9, 40)
    torch.testing.assert_close(program.module()(*inputs), energy_and_slope(*inputs))


_LOAD = """
import sys, torch
import clebsch.ops  # registers the operator
model = torch._inductor.aoti_load_package(sys.argv[1])
for inputs, expected in torch.load(sys.argv[2]):
    torch.testing.assert_close(list(model(*inputs)), expected)
"""


@pytest.mark.slow
def test_aotinductor_package_in_a_fresh_process(tmp_path):
    """Compiled ahead of time, with sizes left open; the operator stays a call."""
    package, data = tmp_path / "energy.pt2", tmp_path / "data.pt"
    torch._inductor.aoti_compile_and_package(exported(), package_path=str(package))
    cases = []
    for inputs in (problem(5, 17), problem(9, 40), problem(33, 500)):
        expected = [value.detach() for value in energy_and_slope(*inputs)]
        cases.append(([t.detach() for t in inputs], expected))
    torch.save(cases, data)
    run = subprocess.run(
        [sys.executable, "-c", _LOAD, str(package), str(data)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_atomic_energies_of_a_potential_export_with_dynamic_sizes():
    model = Potential(
        PotentialConfig(species=["H", "C"], cutoff=4.0, layers=2, channels=4, lmax=1)
    ).double()

    class AtomicEnergies(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, vectors, species, src, dst):
            return self.model.atomic_energies(vectors, species, Edges(src, dst, species.shape[0]))

    def atoms(n, e):
        return (
            torch.randn(e, 3, dtype=torch.float64),
            torch.randint(2, (n,)),
            torch.randint(n, (e,)),
            torch.randint(n, (e,)).sort().values,
        )

    n, e = torch.export.Dim("atoms", min=2), torch.export.Dim("edges", min=2)
    program = torch.export.export(
        AtomicEnergies(), atoms(5, 17), dynamic_shapes=({0: e}, {0: n}, {0: e}, {0: e})
    )
    for n, e in ((5, 17), (9, 40)):
        inputs = atoms(n, e)
        expected = AtomicEnergies()(*inputs)
        torch.testing.assert_close(program.module()(*inputs), expected)
