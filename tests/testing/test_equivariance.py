"""Faulty modules are caught, and the sentence names the irreps, the operation and the input."""

import pytest
import torch
from torch import nn

from clebsch.nn import FullyConnectedTensorProduct, Gate, Linear, Norm
from clebsch.o3 import Irreps, spherical_harmonics
from clebsch.testing import (
    TOLERANCE,
    assert_equivariant,
    equivariance_error,
    random_irreps,
)

FEATURES = Irreps("4x0e + 2x0o + 3x1o + 2x1e + 2x2e")


class Faulty(nn.Module):
    """A linear map and then a mistake."""

    def __init__(self, mistake):
        super().__init__()
        self.irreps_in = self.irreps_out = Irreps("2x0e + 2x1o + 1x2e")
        self.linear = Linear(self.irreps_in, self.irreps_out)
        self.mistake = mistake

    def forward(self, x):
        return self.mistake(self.linear(x))


def bias_on_a_vector(y):
    return y + torch.cat([y.new_zeros(2), y.new_full((6,), 0.1), y.new_zeros(5)])


def swapped_components(y):
    return y[..., [0, 1, 4, 5, 2, 3, *range(6, 13)]]


def absolute_value(y):
    return torch.cat([y[..., :8], y[..., 8:].abs()], dim=-1)


def broken(function, *arguments, **options):
    with pytest.raises(AssertionError) as caught:
        assert_equivariant(function, *arguments, **options)
    first, *rest = str(caught.value).splitlines()
    return first, rest


def test_right_modules_pass():
    product = FullyConnectedTensorProduct(FEATURES, "1x0e + 1x1o", "4x0e + 3x1o")
    for module in (Linear(FEATURES, FEATURES), Gate("4x0e + 2x0o + 3x1o"), Norm(FEATURES), product):
        kinds = {"irreps_in": [FEATURES, "1x0e + 1x1o"]} if module is product else {}
        kinds |= {"irreps_out": "4x0e + 3x1o"} if module is product else {}
        table = assert_equivariant(module, **kinds, tolerance=1e-12)
        assert {row.operation for row in table} == {"rotation", "inversion", "permutation"}
        assert 0 < table.largest < 1e-12


def test_a_bias_on_a_vector_is_named():
    first, rest = broken(Faulty(bias_on_a_vector))
    assert first == "Faulty is not equivariant (float64, tolerance 1e-10):"
    assert [line.split(":")[0].strip() for line in rest] == ["2x1o (output, 2"] * 2
    assert "2x1o (output, 2:8) under rotation" in rest[0]
    assert "2x1o (output, 2:8) under inversion: off by 0.2 " in rest[1]
    assert all(line.endswith("whatever the input") for line in rest)


def test_swapped_components_are_named_with_the_input_they_come_from():
    _, rest = broken(Faulty(swapped_components))
    assert len(rest) == 1  # the inversion and the other irreps hold
    assert "2x1o (output, 2:8) under rotation" in rest[0]
    assert rest[0].endswith("not without 2x1o")


def test_nonlinearity_on_components():
    _, rest = broken(Faulty(absolute_value))
    assert "1x2e (output, 8:13) under rotation" in rest[0]
    assert rest[0].endswith("not without 1x2e")


def test_a_wrong_parity_breaks_under_inversion_alone():
    def cross(x, y):
        return torch.linalg.cross(x, y)

    assert_equivariant(cross, ["1o", "1o"], "1e", tolerance=1e-13)
    _, rest = broken(cross, ["1o", "1o"], "1o")
    assert len(rest) == 1
    assert "1x1o (output, 0:3) under inversion" in rest[0]
    assert rest[0].endswith("not without 1x1o of input 0 or 1x1o of input 1")


def test_positions_move_and_the_centre_moves_with_them():
    def centre_and_spread(positions, masses):
        centre = (positions * masses).sum(0, keepdim=True) / masses.sum()
        return centre, (positions - centre).square().sum(-1, keepdim=True)

    kinds = (["cartesian_points", "0e"], ["cartesian_points", "0e"])
    inputs = [torch.randn(5, 3), torch.rand(5, 1) + 1]
    table = assert_equivariant(centre_and_spread, *kinds, inputs=inputs)
    assert {row.operation for row in table} == {
        "rotation",
        "inversion",
        "translation",
        "permutation",
    }

    def anchored(positions):
        return spherical_harmonics("2e", positions)

    _, rest = broken(anchored, "cartesian_points", "2e")
    assert len(rest) == 1
    assert "1x2e (output, 0:5) under translation" in rest[0]
    assert rest[0].endswith("not without positions")


def test_an_order_of_rows_that_matters():
    def running_sum(x):
        return x.cumsum(0)

    _, rest = broken(running_sum, "0e + 1o", "0e + 1o")
    assert [line.split(" under ")[1].split(":")[0] for line in rest] == ["permutation"] * 2


def test_sums_over_rows_must_not_change():
    table = assert_equivariant(lambda x: x.sum(0, keepdim=True), "2x1o", "2x1o")
    assert table.error("permutation") < 1e-14


def test_several_outputs_and_invariant_inputs():
    linear = Linear("2x0e + 2x1o", "2x0e + 2x1o", n_species=3).double()

    def two(x, species):
        return {"all": linear(x, species), "norm": Norm("2x0e + 2x1o")(x) + 0.3 * x[:, 2:6]}

    outputs = {"all": "2x0e + 2x1o", "norm": "4x0e"}
    inputs = [torch.randn(6, 8), torch.tensor([0, 2, 1, 1, 0, 2])]
    operations = ["rotation", "inversion", "permutation"]
    _, rest = broken(two, ["2x0e + 2x1o", None], outputs, inputs=inputs, operations=operations)
    assert [line.split(" under ")[0].strip() for line in rest] == ["4x0e (output norm, 0:4)"] * 2


def test_constants_rounded_to_float32_show():
    class Rounded(nn.Module):
        irreps_in, irreps_out = "1o", "2e"

        def __init__(self):
            super().__init__()
            from clebsch.o3 import wigner_3j

            self.register_buffer("C", wigner_3j(1, 1, 2))

        def forward(self, x):
            return torch.einsum("...i,...j,ijk->...k", x, x, self.C)

    _, rest = broken(Rounded())
    assert "1x2e (output, 0:5) under rotation: off by" in rest[0]
    assert_equivariant(Rounded(), dtype=torch.float32)


def test_the_module_itself_is_left_alone():
    module = nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert_equivariant(module, "3x0e", "3x0e", operations=["rotation"])
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module.training


def test_modules_of_e3nn(float64):
    e3nn = pytest.importorskip("e3nn.o3")
    product = e3nn.FullyConnectedTensorProduct("2x0e + 3x1o", "1o + 2e", "2x0e + 2x1o + 2x2e")
    assert_equivariant(product, layout="mul_ir")
    with pytest.raises(AssertionError, match="2x1o"):
        assert_equivariant(product, layout="ir_mul")


def test_nan_is_an_error():
    _, rest = broken(lambda x: x / 0.0 * 0.0, "1o", "1o")
    assert "off by nan" in rest[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((lambda x: x, "1o", "spherical"), r"output 0 is 'spherical': give irreps"),
        ((lambda x: x, "1o", "2e"), r"output 0 has shape \(4, 3\), but 1x2e needs .* of 5"),
        ((lambda x: (x, x), "1o", "1o"), "returns 2 outputs, but irreps_out declares 1"),
        ((lambda x: x, None, "1o"), "has no attribute irreps_in"),
        ((nn.Identity(), "1o"), "Identity has no attribute irreps_out"),
        ((lambda x, s: x, ["1o", None], "1o"), "input 1 is declared None"),
        ((lambda x: 3.0, "1o", "1o"), "output 0 is a float, not a tensor"),
    ],
)
def test_what_can_not_be_tested_is_said(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        equivariance_error(*arguments)


def test_an_unknown_operation():
    with pytest.raises(ValueError, match="there is no operation 'parity'"):
        equivariance_error(Norm("1o"), operations=["parity"])


def test_the_table_prints_a_row_per_block():
    text = str(equivariance_error(Faulty(bias_on_a_vector)))
    lines = text.splitlines()
    assert lines[0].split() == ["output", "irreps", "rotation", "inversion", "permutation"]
    assert [line.split()[1] for line in lines[1:]] == ["2x0e", "2x1o", "1x2e"]


def test_agrees_with_e3nns_own_assertion(float64):
    """Both find the same error of the same faulty function."""
    theirs = pytest.importorskip("e3nn.util.test")
    o3 = pytest.importorskip("e3nn.o3")

    def shifted(x):
        return x + 0.25

    x = torch.randn(4, 3)
    found = theirs.equivariance_error(shifted, [x], [o3.Irreps("1o")], [o3.Irreps("1o")])
    ours = equivariance_error(shifted, "1o", "1o", inputs=[x], layout="mul_ir", trials=20)
    # 1 - R applied to the same constant: at most twice its length
    assert 0 < ours.error("rotation") * max(1.0, ours[0].size) <= 0.5 * 3**0.5
    assert 0 < found[(0, False)].max() <= 0.5 * 3**0.5
    assert TOLERANCE[torch.float64] <= theirs.FLOAT_TOLERANCE[torch.float64]
    with pytest.raises(AssertionError):
        theirs.assert_equivariant(shifted, [x], [o3.Irreps("1o")], [o3.Irreps("1o")])
    with pytest.raises(AssertionError):
        assert_equivariant(shifted, "1o", "1o", inputs=[x])


def test_random_irreps_keep_their_bounds():
    import random

    rng = random.Random(3)
    drawn = [
        random_irreps(lmax=2, mul_max=3, len_max=3, allow_empty=False, rng=rng) for _ in range(200)
    ]
    assert all(irreps.dim > 0 and len(irreps) <= 3 for irreps in drawn)
    assert all(mul <= 3 and ir.l <= 2 for irreps in drawn for mul, ir in irreps)
    assert {ir for irreps in drawn for _, ir in irreps} == {
        ir for _, ir in Irreps("0e + 0o + 1e + 1o + 2e + 2o")
    }
    assert any(random_irreps(rng=rng).dim == 0 for _ in range(200))
    with pytest.raises(ValueError, match="no irreps have"):
        random_irreps(mul_min=3, mul_max=2)
    with pytest.raises(ValueError, match="not empty"):
        random_irreps(mul_max=0, allow_empty=False)
