"""The specification: printing, keys, errors."""

import copy
import doctest
import itertools
import pickle
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError
from math import prod

import pytest
import torch

from clebsch.o3 import Irrep, Irreps, wigner_3j
from clebsch.ops import Path, Specification, specification, tensor_product
from clebsch.ops.specification import CHANNELS


def mixed_modes(shared_weights: bool) -> Specification:
    """A path of every mode, one without weights, two that share a block."""
    return Specification(
        "2x1o + 3x0e + 2x2e",
        "4x1e + 1x0e + 2x1o",
        "5x2o + 2x1o + 4x1e + 3x1e + 2x0e + 6x1o",
        (
            Path(0, 0, 0, "uvw", 0.5),
            Path(0, 1, 1, "uvu", 1.5),
            Path(1, 0, 2, "uvv", 2.0),
            Path(2, 2, 1, "uuw", 0.7),
            Path(0, 2, 4, "uuu", 1.1, weighted=False),
            Path(1, 2, 5, "uvuv", 0.3),
            Path(1, 0, 3, "uvu", 1.0),
        ),
        shared_weights,
    )


def test_examples_run():
    assert doctest.testmod(specification).failed == 0


def test_key_round_trip_and_hash():
    spec = Specification.convolution("8x0e + 4x1o + 2x2e", "0e + 1o + 2e", "0e + 1o + 2e")
    again = Specification.from_key(spec.key)
    assert again == spec
    assert hash(again) == hash(spec)
    assert Specification.from_key(spec.key) is again


def test_frozen_and_copied_as_itself():
    spec = Specification.convolution("8x0e + 4x1o", "0e + 1o", "0e + 1o")
    with pytest.raises(FrozenInstanceError):
        spec.shared_weights = True
    twin = Specification("8x0e+4x1o", "0e + 1o", spec.z, list(spec.paths))
    assert twin == spec
    assert {spec: 1}[twin] == 1
    for again in (copy.copy(spec), copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))):
        assert again == spec
        assert again is Specification.from_key(spec.key)


def test_pickle_is_found_in_dictionaries_of_another_process():
    """Hashes of strings differ between processes: none may travel with the pickle."""
    spec = Specification.convolution("2x0e", "0e + 1o", "0e + 1o")
    assert hash(spec)
    program = (
        "import pickle, sys\n"
        "from clebsch.ops import Specification\n"
        "spec = pickle.load(sys.stdin.buffer)\n"
        "assert spec in {Specification.convolution('2x0e', '0e + 1o', '0e + 1o')}\n"
    )
    subprocess.run([sys.executable, "-c", program], input=pickle.dumps(spec), check=True)


def test_formula_can_be_computed_as_it_is_printed():
    """Each line of the formula, read by einsum, is the product."""
    spec = mixed_modes(shared_weights=False)
    factors = {s: torch.randn(3, n, dtype=torch.float64) for s, n in spec.widths.items()}
    parts = {}
    for n, (line, path) in enumerate(
        zip(spec.formula(edges=False).splitlines(), spec.paths, strict=True)
    ):
        left, right = line.split(" += ")
        letters = {}
        for name, inside in re.findall(r"(\S+?(?:\(.*?\))?)\[(.*?)\]", left + " " + right):
            letters[name] = inside.replace(",", "").split()
        sizes = dict(zip("uvw", (mul for mul, _ in spec.blocks(path)), strict=True))
        operands, equation = [], []
        for name, inside in letters.items():
            if name.startswith("z"):
                continue
            equation.append("".join(inside))
            if name.startswith("3j"):
                irreps = name[3:-1].split()
                operands.append(wigner_3j(*(Irrep(ir).l for ir in irreps), dtype=torch.float64))
                continue
            block = spec.weight_slices[n] if name[0] == "w" else None
            if block is None:
                irreps = getattr(spec, name[0])
                block = irreps.slices()[int(name[1:])]
                sizes |= dict(zip("ijk", (2 * b[1].l + 1 for b in spec.blocks(path)), strict=True))
            shape = [sizes[letter] for letter in inside[1:]]
            operands.append(factors[name[0]][:, block].reshape(3, *shape))
        (z,) = (name for name in letters if name.startswith("z"))
        value = torch.einsum(",".join(equation) + "->" + "".join(letters[z]), operands)
        value = path.coefficient * value.reshape(3, -1)
        parts[path.z] = parts.get(path.z, 0) + value
    got = torch.cat([parts[block] for block in range(len(spec.z))], dim=1)
    expected = tensor_product(spec, *(factors[s] for s in "xyw"))
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)  # coefficients: 4 digits


def test_natural_parity_path_counts():
    """11 paths at l <= 2 and 23 at l <= 3, the counts of the published NequIP settings."""
    for lmax, count in ((2, 11), (3, 23)):
        x = Irreps([(4, (l, (-1) ** l)) for l in range(lmax + 1)])
        assert len(Specification.convolution(x, Irreps.spherical_harmonics(lmax), x).paths) == count


def test_terms_are_the_symbol():
    spec = Specification.convolution("1o", "1o", "2e")
    (path,) = spec.paths
    symbol = spec.symbol(path)
    for term in spec.terms(path):
        assert symbol[term.i, term.j, term.k].item() == term.value
    assert sum(t.value**2 for t in spec.terms(path)) == pytest.approx(5.0)  # |3j| = 1, sqrt(2l+1)


@pytest.mark.parametrize("mode", CHANNELS)
@pytest.mark.parametrize("weighted", [True, False])
def test_multiply_adds_are_the_products_of_the_best_order(mode, weighted):
    """Counted one by one: M = C y over its terms, then x, M and w pairwise in either order."""
    mul = {"u": 3, "v": 2, "w": 5}
    letters = CHANNELS[mode]
    z = prod(mul[c] for c in letters[3])
    spec = Specification(
        f"{mul[letters[0]]}x1o",
        f"{mul[letters[1]]}x2e",
        f"{z}x1o",
        (Path(0, 0, 0, mode, 1.0, weighted),),
    )
    entries = {(t.i, t.j, t.k) for t in spec.terms(spec.paths[0])}
    on_x, on_y, on_w, on_z = letters
    on_w = on_w if weighted else ""

    def loops(components, some):
        """Multiply-adds of loops over these components and channels."""
        return sum(1 for _ in itertools.product(components, *(range(mul[c]) for c in set(some))))

    matrix = {(i, k) for i, _, k in entries}
    first = loops({i for i, _ in matrix}, on_x + on_w) if weighted else 0
    left = {c for c in on_x + on_w if c in on_y + on_z}
    orders = [first + loops(matrix, [*left, *on_y])]
    left = {c for c in on_x + on_y if c in on_w + on_z}
    last = loops({k for _, k in matrix}, [*left, *on_w]) if weighted else 0
    orders.append(loops(matrix, on_x + on_y) + last)
    (cost,) = spec.costs.paths
    assert cost.symbol_multiply_adds == loops(entries, on_y)
    assert cost.channel_multiply_adds == min(orders)


def test_costs_of_the_usual_convolution():
    """64 channels, l <= 2: per path and channel, the entries of M and the components of x or z."""
    x = Irreps([(64, (l, (-1) ** l)) for l in range(3)])
    costs = Specification.convolution(x, Irreps.spherical_harmonics(2), x).costs
    assert [path.terms for path in costs.paths] == [1, 3, 5, 3, 3, 11, 11, 5, 11, 5, 25]
    entries = [1, 3, 5, 3, 3, 9, 11, 5, 11, 5, 23]
    scaled = [1, 1, 1, 1, 3, 3, 3, 1, 3, 5, 5]
    assert [path.per_channel for path in costs.paths] == [
        a + b for a, b in zip(entries, scaled, strict=True)
    ]
    assert costs.multiply_adds == 83 + 64 * (sum(entries) + sum(scaled))
    assert costs.bytes_per_edge() == 4 * (64 * 9 + 9 + 64 * 11) + 16
    assert costs.bytes_per_edge(8) == 8 * (64 * 9 + 9 + 64 * 11) + 16


def test_table_is_aligned_and_sums():
    lines = mixed_modes(shared_weights=True).table(torch.float64).splitlines()
    *rows, total, last = lines
    assert len({len(line) for line in lines[:-1]}) == 1
    assert total.startswith("sum")
    assert int(total.split()[3]) == sum(int(row.split()[-3]) for row in rows[1:])
    assert "0 w" in last  # shared weights are read once, not per edge


@pytest.mark.parametrize(
    ("irreps", "path", "words"),
    [
        (("1o", "1o", "3e"), Path(0, 0, 0), "does not contain"),
        (("2x1o", "1o", "3x0e"), Path(0, 0, 0, "uvu"), "does not fit"),
        (("2x1o", "3x1o", "2x0e"), Path(0, 0, 0, "uuu"), "does not fit"),
        (("2x1o", "1o", "2x0e"), Path(1, 0, 0), "x = 2x1o has no block 1"),
        (("2x1o", "1o", "2x0e"), Path(0, 0, -1), "z = 2x0e has no block -1"),
        (("2x1o", "1o", "2x0e"), Path(0, 0, 0, "uvx"), "no mode 'uvx'"),
    ],
)
def test_wrong_paths_are_refused(irreps, path, words):
    with pytest.raises(ValueError, match=words):
        Specification(*map(Irreps, irreps), (path,))


def test_elementwise_needs_equal_channels():
    with pytest.raises(ValueError, match="differ in their channels"):
        Specification.elementwise("2x0e", "3x0e")


def test_new_specification_is_ready_for_compilers():
    """A compiler cannot trace the first reading of a cached property, which takes a lock."""
    spec = Specification.convolution("2x0e + 2x1o", "0e + 1o", "0e + 1o")
    assert {"key", "widths", "_hash"} <= vars(spec).keys()
