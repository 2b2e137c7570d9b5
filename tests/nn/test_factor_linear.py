"""FactorLinear: against e3nn's Linear with f_in and f_out, variance, species, errors."""

import doctest

import pytest
import torch

from clebsch.nn import FactorLinear, factor_linear
from clebsch.o3 import from_e3nn, to_e3nn

X = "6x0e + 5x1o + 0x1e + 2x0e + 3x1o + 2x2e"
Z = "4x0e + 2x0e + 3x1o + 1x3o + 2x0o + 4x1o + 0x2e"
SPARSE = [(1, 2), (0, 1), (4, 2), (3, 0), (0, 0)]


def test_examples_run():
    assert doctest.testmod(factor_linear).failed == 0


@pytest.mark.parametrize("instructions", [None, SPARSE])
@pytest.mark.parametrize("path_normalization", ["element", "path"])
def test_equals_e3nn(instructions, path_normalization, float64):
    o3 = pytest.importorskip("e3nn.o3")
    options = {"path_normalization": path_normalization, "instructions": instructions}
    ours = FactorLinear(X, Z, 3, 4, biases=True, **options)
    oracle = o3.Linear(X, Z, f_in=3, f_out=4, biases=True, **options)
    views = [ours.weight_view(i, k).permute(0, 2, 1, 3) for i, k in ours.linear.instructions]
    weight = torch.cat([view.reshape(3, 4, -1) for view in views], -1)
    bias = torch.randn(4, 6)
    with torch.no_grad():
        blocks = [bias[:, :4].flatten(), bias[:, 4:].flatten()]
        ours.linear.bias.copy_(torch.cat(blocks))
    x = ours.irreps_in.randn(5, 2, 3, -1)
    expected = from_e3nn(oracle(to_e3nn(x, X), weight, bias), Z)
    assert expected.shape == (5, 2, 4, ours.irreps_out.dim)
    torch.testing.assert_close(ours(x), expected, atol=1e-10, rtol=1e-10)


def test_weight_views_are_views_and_factors_do_not_mix_without():
    mix = FactorLinear("2x0e + 3x1o", "4x1o", 2, 2)
    x = mix.irreps_in.randn(5, 2, -1)
    with torch.no_grad():
        mix.weight_view(1, 0)[0, :, 1] = 0
        mix.weight_view(1, 0)[1, :, 0] = 0
    changed = x.clone()
    changed[:, 1] += 1
    assert torch.equal(mix(changed)[:, 0], mix(x)[:, 0])
    assert not torch.allclose(mix(changed)[:, 1], mix(x)[:, 1])


def test_unit_variance_and_species():
    mix = FactorLinear("8x0e + 8x1o", "50x0e + 50x1o", 8, 8, n_species=2)
    x = mix.irreps_in.randn(400, 8, -1)
    species = torch.arange(400) % 2
    out = mix(x, species)
    assert out.var().item() == pytest.approx(1, abs=0.15)
    assert torch.equal(mix(x[:3], species[1:4])[1:2], mix(x[1:2], species[2:3]))
    assert not torch.allclose(out[:1], mix(x[:1], species[1:2]))


def test_wrong_shapes_are_refused():
    mix = FactorLinear("2x0e + 3x1o", "4x1o", 2, 5)
    with pytest.raises(ValueError, match=r"x is \(7, 3, 11\); it must be \(..., 2, 11\)"):
        mix(torch.ones(7, 3, 11))
    with pytest.raises(ValueError, match="FactorLinear: x has 10 in its last dimension"):
        mix(torch.ones(7, 2, 10))
    with pytest.raises(ValueError, match="at least 1, not 0 and 3"):
        FactorLinear("0e", "0e", 0, 3)
    assert mix(torch.ones(0, 2, 11)).shape == (0, 5, 12)
    assert FactorLinear("0e", "", 2, 3)(torch.ones(4, 2, 1)).shape == (4, 3, 0)
