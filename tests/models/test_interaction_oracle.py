"""NequIP's interaction block from e3nn's parts, with equal weights."""

import pytest
import torch
from ase.build import molecule

from clebsch.models import Potential, PotentialConfig
from clebsch.o3 import from_e3nn, to_e3nn
from clebsch.ops import Edges
from clebsch.structures.graph import AtomGraph
from e3nn_weights import e3nn_linear


@pytest.mark.parametrize("parity", [False, True])
def test_full_interaction_block_equals_e3nn(parity, float64):
    o3 = pytest.importorskip("e3nn.o3")
    e3nn = pytest.importorskip("e3nn.nn")
    species = ["H", "C", "O"]
    config = PotentialConfig(
        species=species, cutoff=3.0, layers=3, lmax=2, channels=4, mean_neighbours=5, parity=parity
    )
    model = Potential(config)
    layer = model.layers[1]  # its input has every irrep
    conv, gate = layer.convolution, layer.gate
    spec = conv.specification

    graph = AtomGraph.from_atoms(molecule("CH3CH2OH"), 3.0)
    vectors = graph.vectors()
    kinds = model.species_of(graph.numbers)
    x = conv.irreps_in.randn(graph.n_atoms, -1)
    basis = model.basis(vectors.norm(dim=-1) / 3.0)

    # e3nn's side
    harmonics = o3.spherical_harmonics(
        o3.Irreps.spherical_harmonics(2), vectors, True, normalization="component"
    )
    net = e3nn.FullyConnectedNet(list(conv.radial.widths), torch.nn.functional.silu)
    with torch.no_grad():
        for weight, part in zip(conv.radial.weights, net, strict=True):
            part.weight.copy_(weight)
            if part.act is not None:
                part.act.cst = conv.radial.activation.scale
    product = o3.TensorProduct(
        str(spec.x),
        str(spec.y),
        str(spec.z),
        [(p.x, p.y, p.z, "uvu", True) for p in spec.paths],
        shared_weights=False,
        internal_weights=False,
    )
    own = o3.FullyConnectedTensorProduct(
        str(conv.irreps_in), "3x0e", str(gate.irreps_in)
    )  # nequip's self-connection with one-hot species
    self_connection = layer.self_connection
    with torch.no_grad():
        start = 0
        matrices = {}
        for (ir, _, results), (fan_in, out) in zip(
            self_connection.plan, self_connection.shapes, strict=True
        ):
            count = 3 * fan_in * out
            matrices[ir] = (
                self_connection.weight[start : start + count].view(3, fan_in, out),
                results,
            )
            start += count
        for number, ins in enumerate(own.instructions):
            ir = gate.irreps_in[ins.i_out].ir
            matrix, results = matrices[ir]
            before = [k for k in results if k < ins.i_out]
            column = sum(gate.irreps_in[k].mul for k in before)
            block = matrix[:, :, column : column + gate.irreps_in[ins.i_out].mul]
            # e3nn divides by the number of species too: one-hot is not of unit variance.
            own.weight_view_for_instruction(number).copy_(block.transpose(0, 1) * 3**0.5)

    xe = to_e3nn(x, conv.irreps_in)
    mixed = e3nn_linear(o3, conv.mix_in)(xe)
    messages = product(mixed[graph.src], harmonics, net(basis))
    gathered = torch.zeros(graph.n_atoms, messages.shape[1]).index_add(0, graph.dst, messages)
    y = e3nn_linear(o3, conv.mix_out)(gathered / 5**0.5)
    y = y + own(xe, torch.nn.functional.one_hot(kinds, 3).to(x.dtype))
    expected = gate(from_e3nn(y, gate.irreps_in))

    got = layer(
        x,
        kinds,
        harmonics,
        basis,
        Edges(graph.src, graph.dst, graph.n_atoms),
    )
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)
