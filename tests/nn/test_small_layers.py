"""What every small layer can do besides its own work: be exported, copied, kept, and described."""

import copy
import io
import pickle

import pytest
import torch

from clebsch.nn import (
    MLP,
    Activation,
    BatchNorm,
    BesselBasis,
    ChebyshevBasis,
    CosineBasis,
    Dropout,
    Extract,
    ExtractIr,
    FourierBasis,
    GaussianBasis,
    GeneralGate,
    Identity,
    LayerNorm,
    NormActivation,
    RMSNorm,
    SmoothFiniteBasis,
    XPLORCutoff,
)
from clebsch.o3 import Irreps

IRREPS = Irreps("4x0e + 2x0o + 3x1o")
SILU = torch.nn.functional.silu
LAYERS = {
    "activation": lambda: Activation(IRREPS, [SILU, torch.abs, None]),
    "gate": lambda: GeneralGate("4x0e", [SILU], "1x0o + 1x0o", [torch.tanh] * 2, "1x1o + 1x0o"),
    "norm activation": lambda: NormActivation(IRREPS, torch.sigmoid, bias=True),
    "batch norm": lambda: BatchNorm(IRREPS).eval(),
    "instance norm": lambda: BatchNorm(IRREPS, instance=True, reduce="max"),
    "layer norm": lambda: LayerNorm(IRREPS),
    "rms norm": lambda: RMSNorm(IRREPS),
    "dropout": lambda: Dropout(IRREPS, 0.5).eval(),
    "extract": lambda: Extract(IRREPS, ["3x1o", "4x0e"], [[2], [0]]),
    "extract ir": lambda: ExtractIr(IRREPS, "0o"),
    "identity": lambda: Identity("2x1o + 1x1o", "3x1o"),
    "mlp": lambda: MLP([8, 16, 5], out_act=True, variance_out=2.0),
    "bessel": lambda: BesselBasis(8, XPLORCutoff(0.7)),
    "gaussian": lambda: GaussianBasis(8),
    "cosine": lambda: CosineBasis(8),
    "fourier": lambda: FourierBasis(8),
    "smooth finite": lambda: SmoothFiniteBasis(8),
    "chebyshev": lambda: ChebyshevBasis(8),
}


def layer_and_input(name):
    layer = LAYERS[name]()
    irreps = getattr(layer, "irreps_in", None)
    x = torch.rand(6) if irreps is None else irreps.randn(6, -1)
    return layer, x


@pytest.mark.parametrize("name", LAYERS)
def test_layers_export_for_any_number_of_rows(name):
    layer, x = layer_and_input(name)
    rows = torch.export.Dim("rows")
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: rows},))
    for n in (2, 6):
        torch.testing.assert_close(program.module()(x[:n]), layer(x[:n]))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_copied_and_kept(name):
    layer, x = layer_and_input(name)
    expected = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(other) == repr(layer)
        torch.testing.assert_close(other(x), expected, atol=0, rtol=0)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = LAYERS[name]()
    other.load_state_dict(torch.load(file))
    torch.testing.assert_close(other(x), expected, atol=0, rtol=0)


@pytest.mark.parametrize("name", LAYERS)
def test_rows_do_not_see_each_other(name):
    layer, x = layer_and_input(name)
    whole, part = layer(x), layer(x[2:3])
    whole = whole if isinstance(whole, tuple) else (whole,)
    part = part if isinstance(part, tuple) else (part,)
    for a, b in zip(whole, part, strict=True):
        torch.testing.assert_close(a[2:3], b, atol=1e-6, rtol=1e-6)
