"""Alloys: formulas, sites on lattices, Vegard's law, files with occupancies, supercells."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_masses, chemical_symbols, covalent_radii
from hypothesis import given, settings
from hypothesis import strategies as st

from clebsch.errors import UserError
from clebsch.phonons.alloy_formula import AlloyFormula, Linear
from clebsch.phonons.alloys import (
    FormulaAlloy,
    MixedCrystal,
    radius_scale,
    read_disordered,
)
from clebsch.phonons.special_quasirandom import (
    ClusterStatistics,
    anneal,
    occupation_counts,
    random_supercell,
    special_quasirandom,
)

HALF, QUARTER = Fraction(1, 2), Fraction(1, 4)
parse = AlloyFormula.parse


def antimonide(
    symbol: str = "Sb", a: float = 4.5525, c: float = 7.1816, z: float = 0.2242
) -> Atoms:
    """Mg3Sb2 and its kind, P-3m1."""
    third = [1 / 3, 2 / 3]
    sites = [
        [0, 0, 0],
        [*third, 0.6329],
        [*third[::-1], 0.3671],
        [*third, z],
        [*third[::-1], 1 - z],
    ]
    return Atoms(
        ["Mg"] * 3 + [symbol] * 2, cell=[a, a, c, 90, 90, 120], scaled_positions=sites, pbc=True
    )


# formulas


def flat(formula: AlloyFormula, x: Fraction = Fraction(0)) -> dict[str, Fraction]:
    """Atoms of every element."""
    found: dict[str, Fraction] = {}
    for group, shares in zip(formula.groups, formula.at(x), strict=True):
        for symbol, share in shares.items():
            found[symbol] = found.get(symbol, Fraction(0)) + share * group.amount
    return {s: n for s, n in found.items() if n}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mg3(Bi0.5Sb0.5)2", {"Mg": 3, "Bi": 1, "Sb": 1}),
        ("Mg3Bi1.5Sb0.5", {"Mg": 3, "Bi": Fraction(3, 2), "Sb": HALF}),
        ("Ca3(PO4)2", {"Ca": 3, "P": 2, "O": 8}),
        ("[Si.5 Ge0.5]2", {"Si": 1, "Ge": 1}),
        ("((Bi0.5Sb0.5)0.5As0.5)2Mg3", {"Bi": HALF, "Sb": HALF, "As": 1, "Mg": 3}),
        ("CH3CH2OH", {"C": 2, "H": 6, "O": 1}),
        ("((Na0.1K0.9)2(Ca0.25Mg0.75))3", {"Na": 0.6, "K": 5.4, "Ca": 0.75, "Mg": 2.25}),
        ("Mg3(Bi1Sb0)2", {"Mg": 3, "Bi": 2}),
        ("(Ti0.1V0.2Cr0.7){3/4*4}", {"Ti": 0.3, "V": 0.6, "Cr": 2.1}),
    ],
)
def test_formulas_are_exact(text: str, expected: dict[str, float]) -> None:
    assert flat(parse(text)) == {s: Fraction(str(n)) for s, n in expected.items()}


@pytest.mark.parametrize(
    "text",
    [
        "(Bi{1-x}Sb{x})2Mg3",
        "Mg3Bi{2-2x}Sb{2*x}",
        "Mg3(Sb{x}Bi{-x+1})2",
        "Mg3(Bi{(2-2x)/2}Sb{x/1})2",
    ],
)
def test_every_way_to_write_x(text: str) -> None:
    formula = parse(text)
    assert formula.varies
    for x in (Fraction(0), Fraction(3, 10), Fraction(1)):
        expected = {"Mg": Fraction(3), "Bi": 2 - 2 * x, "Sb": 2 * x}
        assert flat(formula, x) == {s: n for s, n in expected.items() if n}


SYMBOLS = st.sampled_from(chemical_symbols[1:95])


@st.composite
def mixtures(draw: st.DrawFn) -> dict[str, Fraction]:
    """Shares in hundredths that sum to one, at least two of them above zero."""
    symbols = draw(st.lists(SYMBOLS, min_size=2, max_size=5, unique=True))
    cuts = draw(
        st.lists(
            st.integers(1, 99), min_size=len(symbols) - 1, max_size=len(symbols) - 1, unique=True
        )
    )
    ends = [0, *sorted(cuts), 100]
    return {s: Fraction(b - a, 100) for s, a, b in zip(symbols, ends[:-1], ends[1:], strict=True)}


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(mixtures(), st.integers(1, 12)), min_size=1, max_size=3), st.data())
def test_what_is_written_is_read_again(groups: list, data: st.DataObject) -> None:
    text = ""
    expected: dict[str, Fraction] = {}
    for shares, amount in groups:
        inside = "".join(f"{s}{float(n):g}" for s, n in shares.items())
        brackets = data.draw(st.sampled_from(["()", "[]"]))
        text += f"{brackets[0]}{inside}{brackets[1]}{amount}"
        for s, n in shares.items():
            expected[s] = expected.get(s, Fraction(0)) + n * amount
    formula = parse(text)
    assert flat(formula) == expected
    assert flat(parse(formula.written(Fraction(0)))) == expected
    assert formula.sites == sum(amount for _, amount in groups)
    # the order in which elements are written does not matter
    turned = parse(
        "".join(
            f"({''.join(f'{s}{float(n):g}' for s, n in reversed(g.items()))}){k}" for g, k in groups
        )
    )
    assert flat(turned) == expected


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="MgSbBiOx0123456789.(){}[]+-*/ %é", max_size=14))
def test_any_text_is_a_formula_or_a_sentence(text: str) -> None:
    try:
        formula = parse(text)
    except UserError:
        return
    assert formula.sites > 0
    for group in formula.groups:
        assert sum(s.constant for s in group.shares.values()) == 1
        assert sum(s.slope for s in group.shares.values()) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mg3(Bi0.5Sb0.4)2", r"Bi, Sb sum to 0\.9, not to one"),
        ("Mg3(Bi{1-x}Sb{2x})2", r"sum to 1 \+1 x, not to one"),
        ("Mg3Bi1.5Sb0.4", r"amounts of Bi, Sb sum to 1\.9"),
        ("Mg3Qq2", "Qq is no chemical element"),
        ("Mg3(Bi0.5Sb0.5", "a bracket is not closed"),
        ("Mg3Bi0.5Sb0.5)2", r"missing before '\)'"),
        ("Mg3(Bi{x*x}Sb{1-x})2", "x is multiplied by x"),
        ("Mg{1/0}", "other than zero"),
        ("Mg{y}", "no expression of x"),
        ("", "nothing in it"),
        ("Mg3()2", "empty brackets"),
        ("Mg0", "an amount is zero"),
        ("(Na0.5K0.5)0.5Cl", "fractional number"),
    ],
)
def test_wrong_formulas(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(text)


def test_shares_stay_between_zero_and_one() -> None:
    with pytest.raises(UserError, match=r"share of Bi is -0\.5 at x = 1\.5"):
        parse("Mg3(Bi{1-x}Sb{x})2").at(Fraction(3, 2))
    assert Linear(HALF, QUARTER).at(HALF) == Fraction(5, 8)


# virtual crystals


def test_end_members_are_the_given_crystals() -> None:
    a, b = antimonide("Bi", 4.67, 7.37, 0.2235), antimonide("Sb")
    alloy = FormulaAlloy(parse("Mg3(Bi{1-x}Sb{x})2"), [a, b])
    for x, atoms in ((0, a), (1, b)):
        crystal = alloy.crystal(alloy.shares_at(Fraction(x)))
        np.testing.assert_allclose(crystal.atoms.cell.array, atoms.cell.array, atol=1e-12)
        apart = crystal.atoms.get_scaled_positions() - atoms.get_scaled_positions()
        np.testing.assert_allclose(apart - apart.round(), 0, atol=1e-12)
        assert crystal.atoms.get_chemical_symbols() == atoms.get_chemical_symbols()
        assert not crystal.mixed.any()
        assert crystal.mass == pytest.approx(atoms.get_masses().sum(), rel=1e-14)
    middle = alloy.crystal(alloy.shares_at(QUARTER))
    np.testing.assert_allclose(
        middle.atoms.cell.cellpar()[:3], 0.75 * a.cell.cellpar()[:3] + 0.25 * b.cell.cellpar()[:3]
    )
    assert middle.atoms.get_scaled_positions()[3, 2] == pytest.approx(0.75 * 0.2235 + 0.25 * 0.2242)
    heavy, light = (atomic_masses[chemical_symbols.index(s)] for s in ("Bi", "Sb"))
    assert middle.atoms.get_masses()[3] == pytest.approx(0.75 * heavy + 0.25 * light)
    assert middle.text == "Mg3(Bi0.75Sb0.25)2"
    assert middle.mixed.tolist() == [False] * 3 + [True] * 2


def test_lattices_in_any_order_frame_and_origin() -> None:
    a, b = antimonide("Bi", 4.67, 7.37), antimonide("Sb")
    turned = b[[4, 2, 0, 3, 1]]
    turned.positions += turned.cell.array.T @ [0.1, 0.3, 0.45]
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    turned.wrap()
    for x in (Fraction(0), QUARTER, Fraction(1)):
        distances = []
        for lattices in ([a, b], [b, a], [a, turned]):
            alloy = FormulaAlloy(parse("Mg3(Bi{1-x}Sb{x})2"), lattices)
            atoms = alloy.crystal(alloy.shares_at(x)).atoms.repeat(2)
            distances.append(np.sort(atoms.get_all_distances(mic=True).ravel()))
        np.testing.assert_allclose(distances[1], distances[0], atol=1e-9)
        np.testing.assert_allclose(distances[2], distances[0], atol=1e-9)


def test_one_lattice_is_scaled_by_radii() -> None:
    lattice = antimonide()
    alloy = FormulaAlloy(parse("Mg3(Bi{1-x}Sb{x})2"), [lattice], ["Mg3Sb2.cif"])
    assert "covalent radii" in alloy.lattice_rule
    same = alloy.crystal(alloy.shares_at(Fraction(1)))
    np.testing.assert_array_equal(same.atoms.cell.array, lattice.cell.array)
    np.testing.assert_array_equal(same.atoms.positions, lattice.positions)
    # zinc blende has one kind of bond
    blende = bulk("ZnS", "zincblende", a=5.41)
    zn, sulphur, se = (covalent_radii[chemical_symbols.index(s)] for s in ("Zn", "S", "Se"))
    alloy = FormulaAlloy(parse("Zn(S0.5Se0.5)"), [blende])
    half = alloy.crystal(alloy.shares_at(Fraction(0)))
    ratio = half.atoms.cell.lengths() / blende.cell.lengths()
    np.testing.assert_allclose(ratio, (zn + (sulphur + se) / 2) / (zn + sulphur))
    assert radius_scale(blende, half) == pytest.approx(ratio[0])


def test_three_end_members_span_a_triangle() -> None:
    salts = [bulk(f"Na{s}", "rocksalt", a=a) for s, a in (("Cl", 5.6), ("Br", 5.9), ("I", 6.4))]
    alloy = FormulaAlloy(parse("Na(Cl0.2Br0.3I0.5)"), salts)
    crystal = alloy.crystal(alloy.shares_at(Fraction(0)))
    expected = 0.2 * 5.6 + 0.3 * 5.9 + 0.5 * 6.4
    assert crystal.atoms.cell.lengths()[0] * 2**0.5 == pytest.approx(expected)
    # an ordered intermediate serves as well as an end member
    between = bulk("NaCl", "rocksalt", a=5.75).repeat((2, 1, 1))
    between.symbols[[3]] = "Br"
    doubled = [salts[0].repeat((2, 1, 1)), between]
    pair = FormulaAlloy(parse("Na(Cl0.25Br0.75)"), doubled)
    assert pair.weights(pair.shares_at(Fraction(0))) == pytest.approx([-0.5, 1.5])


@pytest.mark.parametrize(
    ("formula", "lattices", "message"),
    [
        ("Mg3(As0.5P0.5)2", ["Mg"], "does not fit lattice 1 .*Mg3Sb2"),
        ("Mg2(Bi0.5Sb0.5)2", ["Mg"], "does not fit"),
        ("Mg2.5Ca0.5Bi1.5Sb0.5", ["Mg"], "write each mixture in brackets"),
        ("Mg3(As0.5Sb0.25Bi0.25)2", ["Mg", "As"], "no mixture of lattice 1 and lattice 2"),
        ("Mg3(As0.5Sb0.5)2", ["Mg", "supercell"], "5 and 10 atoms"),
        ("Mg3(As0.5Sb0.5)2", ["Mg", "long"], "same structure in the same setting"),
        ("Mg3(As0.5Sb0.5)2", ["Mg", "moved"], "same structure in the same setting"),
        ("Mg3(As0.5Sb0.5)2", [], "no lattice"),
    ],
)  # fmt: skip
def test_lattices_that_do_not_fit(formula: str, lattices: list[str], message: str) -> None:
    moved = antimonide("As")
    moved.positions[4] += [0.0, 0.0, 1.6]
    known = {
        "Mg": antimonide(),
        "As": antimonide("As", 4.26, 6.69),
        "supercell": antimonide("As").repeat((2, 1, 1)),
        "long": antimonide("As", 4.26, 10.0),
        "moved": moved,
    }

    def build() -> MixedCrystal:
        alloy = FormulaAlloy(parse(formula), [known[name] for name in lattices])
        return alloy.crystal(alloy.shares_at(Fraction(0)))

    with pytest.raises(UserError, match=message):
        build()


def test_elements_that_a_model_does_not_know_matter_only_where_they_are() -> None:
    alloy = FormulaAlloy(parse("Mg3(Bi{1-x}Sb{x})2"), [antimonide()])
    species = ["Sb", "Mg", "O"]
    pure = alloy.crystal(alloy.shares_at(Fraction(1))).shares_of(species)
    np.testing.assert_array_equal(pure, [[0, 1, 0]] * 3 + [[1, 0, 0]] * 2)
    with pytest.raises(UserError, match="does not know Bi"):
        alloy.crystal(alloy.shares_at(HALF)).shares_of(species)


def test_shares_must_sum_to_one() -> None:
    atoms, group = bulk("NaCl", "rocksalt", a=5.6), np.zeros(2, dtype=np.int64)
    for row in ([0.5, 0.4], [1.5, -0.5]):
        with pytest.raises(UserError, match="must sum to one"):
            MixedCrystal(atoms, ("Na", "Cl"), np.array([row, [0.0, 1.0]]), group, "NaCl")


# files

CIF = """data_salt
_cell_length_a 6.0
_cell_length_b 6.0
_cell_length_c 6.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_symmetry_equiv_pos_as_xyz
 'x, y, z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na1+ 0 0 0 {}
K1 K1+ 0 0 0 {}
Na2 Na1+ 0.5 0.5 0 1
Cl1 Cl1- 0.5 0 0 1
Cl2 Cl1- 0 0.5 0 1
"""


def write_cif(path: Path, sodium: float, potassium: float) -> Path:
    path.write_text(CIF.format(sodium, potassium))
    return path


def test_partial_occupancies(tmp_path: Path) -> None:
    pytest.importorskip("pymatgen")
    alloy = read_disordered(write_cif(tmp_path / "a.cif", 0.25, 0.75))
    crystal = alloy.found
    assert crystal.shares_of(["K", "Na", "Cl"]).tolist() == [
        [0.75, 0.25, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 0, 1],
    ]
    assert not alloy.varies
    again = alloy.crystal(alloy.shares_at(HALF))
    np.testing.assert_allclose(
        again.shares_of(["K", "Na", "Cl"]), crystal.shares_of(["K", "Na", "Cl"])
    )
    np.testing.assert_allclose(crystal.atoms.cell.lengths(), 6.0)
    # thirds are rounded in files
    thirds = read_disordered(write_cif(tmp_path / "b.cif", 0.333, 0.667)).found
    np.testing.assert_allclose(thirds.shares.sum(-1), 1, atol=1e-12)
    np.testing.assert_allclose(thirds.shares_of(["Na", "K", "Cl"])[0], [1 / 3, 2 / 3, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("sodium", "potassium", "message"),
    [
        (0.5, 0.4, "Na 0.5, K 0.4 and sum to 0.9"),
        (0.7, 0.6, "more than one"),
        (1, 1, "more than one"),
    ],
)
def test_wrong_occupancies(tmp_path: Path, sodium: float, potassium: float, message: str) -> None:
    pytest.importorskip("pymatgen")
    with pytest.raises(UserError, match=message):
        read_disordered(write_cif(tmp_path / "a.cif", sodium, potassium))


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_disordered(tmp_path / "none.cif")
    file = write_cif(tmp_path / "a.cif", 0.5, 0.5)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pymatgen.core.structure", None)
        with pytest.raises(UserError, match=r"pip install 'clebsch\[crystals\]'"):
            read_disordered(file)
    pytest.importorskip("pymatgen")
    (tmp_path / "text.cif").write_text("hello\n")
    with pytest.raises(UserError, match="cannot be read"):
        read_disordered(tmp_path / "text.cif")


# supercells


def binary(x: Fraction = QUARTER) -> MixedCrystal:
    copper = FormulaAlloy(parse("Cu{1-x}Au{x}"), [bulk("Cu", "fcc", a=3.8)])
    return copper.crystal(copper.shares_at(x))


@settings(deadline=None)
@given(mixtures(), st.integers(1, 500))
def test_counts_are_the_nearest_whole_numbers(shares: dict[str, Fraction], n: int) -> None:
    counts = occupation_counts({s: float(x) for s, x in shares.items()}, n)
    assert counts.sum() == n
    assert np.abs(counts - [float(x * n) for x in shares.values()]).max() < 1
    whole = occupation_counts({s: float(x) for s, x in shares.items()}, 100 * n)
    assert whole.tolist() == [x * 100 * n for x in shares.values()]


def test_supercells_hold_the_composition_exactly() -> None:
    alloy = FormulaAlloy(parse("(Mg0.5Ca0.5)3(Bi0.75Sb0.25)2"), [antimonide()])
    crystal = alloy.crystal(alloy.shares_at(Fraction(0)))
    for made in (
        special_quasirandom(crystal, (2, 2, 2), 1, 5),
        random_supercell(crystal, (2, 2, 2)),
    ):
        symbols = made.atoms.get_chemical_symbols()
        assert {s: symbols.count(s) for s in set(symbols)} == {
            "Mg": 12,
            "Ca": 12,
            "Bi": 12,
            "Sb": 4,
        }
        assert made.atoms.cell.lengths() == pytest.approx(2 * crystal.atoms.cell.lengths())
        # no element leaves its sites
        metals = np.tile(crystal.group == 0, 8)
        assert set(np.array(symbols)[metals]) == {"Mg", "Ca"}
    # a cell too small for the composition says what it holds
    rough = ClusterStatistics(crystal, (1, 1, 1)).realised()
    assert rough[0] in [{"Mg": Fraction(a, 3), "Ca": Fraction(3 - a, 3)} for a in (1, 2)]
    assert rough[1] in [{"Bi": HALF, "Sb": HALF}, {"Bi": Fraction(1)}]


def neighbour_pairs(atoms: Atoms, reach: float) -> float:
    """Share of unlike atoms among the pairs closer than ``reach``, by ASE's neighbour list."""
    from ase.neighborlist import neighbor_list

    i, j = neighbor_list("ij", atoms, reach)
    return float((atoms.numbers[i] != atoms.numbers[j]).mean())


def test_pair_shares_agree_with_plain_counting(rng: np.random.Generator) -> None:
    statistics = ClusterStatistics(binary(), (3, 3, 3))
    elements = statistics.draw(rng)
    cell = statistics.supercell(elements)
    distance, found, target = statistics.pair_shares(elements)[0]
    assert distance == pytest.approx(cell.atoms.get_all_distances(mic=True)[0, 1:].min())
    unlike = found[0, 1] + found[1, 0]
    assert unlike == pytest.approx(neighbour_pairs(cell.atoms, distance + 0.01))
    n = statistics.counts[0] / 27
    np.testing.assert_allclose(target, np.outer(n, n), atol=1e-12)
    assert sum(a.sum() for _, a, _ in statistics.pair_shares(elements)) == pytest.approx(4)


def test_special_quasirandom_is_closer_to_random_than_random_is() -> None:
    size = (3, 3, 4)
    statistics = ClusterStatistics(binary(), size)
    drawn = [statistics.mismatch(statistics.draw(np.random.default_rng(k))) for k in range(30)]
    made = anneal(statistics, np.random.default_rng(0), 30)
    assert made.mismatch < min(drawn)
    assert made.mismatch < 0.5 * np.mean(drawn)
    # and so are its nearest neighbours, counted plainly
    expected = 2 * 0.75 * 0.25
    reach = 3.85 / 2**0.5 + 0.02
    off = [
        abs(neighbour_pairs(random_supercell(binary(), size, k).atoms, reach) - expected)
        for k in range(20)
    ]
    assert abs(neighbour_pairs(made.atoms, reach) - expected) < 0.5 * np.mean(off)
    assert anneal(statistics, np.random.default_rng(0), 30).atoms == made.atoms


def test_mismatch_of_extremes() -> None:
    # whatever is all of one element is its own random alloy
    pure = ClusterStatistics(binary(Fraction(1, 1000)), (2, 2, 2))
    assert pure.mismatch(pure.draw(np.random.default_rng(0))) == pytest.approx(0, abs=1e-12)
    # clustered atoms are farther from random than any drawing
    statistics = ClusterStatistics(binary(HALF), (2, 2, 4))
    height = statistics.atoms.get_scaled_positions()[:, 2]
    slabs = (height >= 0.5).astype(np.int64)
    drawn = [statistics.mismatch(statistics.draw(np.random.default_rng(k))) for k in range(20)]
    assert statistics.mismatch(slabs) > max(drawn)


def test_supercells_that_cannot_be() -> None:
    alloy = FormulaAlloy(parse("Mg3(Bi{1-x}Sb{x})2"), [antimonide()])
    with pytest.raises(UserError, match="no site is shared"):
        special_quasirandom(alloy.crystal(alloy.shares_at(Fraction(1))), (2, 2, 2))
    with pytest.raises(UserError, match="at least one cell"):
        random_supercell(binary(), (0, 1, 1))
    with pytest.raises(UserError, match="too large"):
        random_supercell(binary(), (40, 40, 40))
