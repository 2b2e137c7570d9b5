"""Finite displacements against lattices whose phonons are known exactly, and against ASE's own."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from typer.testing import CliRunner

from clebsch.cli.phonons import app
from clebsch.errors import UserError
from clebsch.models import DosConfig, PhononDosModel
from clebsch.phonons import PhononDos, convert_frequency, heat_capacity
from clebsch.phonons.dataset import PhononDataset, PhononRecord
from clebsch.simulate.named_potentials import check_potential, potential_calculator
from clebsch.vibrations.displacement_output import write_lattice_dynamics
from clebsch.vibrations.finite_displacements import (
    DisplacementSettings,
    finite_displacements,
    import_phonopy,
    relax,
    smeared,
)
from clebsch.vibrations.measured_phonons import MEASURED, against_measured
from clebsch.vibrations.symmetrised_cell import choose_supercell, symmetrised

pytest.importorskip("phonopy", reason="phonopy is not installed (extra phonons)")

K, A = 3.0, 2.8  # eV/A^2, A
#: sqrt(eV/(A^2 u)) in cm^-1.
WAVENUMBER = units._hbar * 1e10 * np.sqrt(units._e / units._amu) / units._e / units.invcm


class Springs(Calculator):
    """Nearest neighbours of a simple cubic lattice joined by springs that pull every way alike.

    E = K/2 sum over pairs |u_i - u_j|^2, u being the displacement from the nearest site of a
    lattice with the spacing ``a``: each Cartesian direction is a scalar lattice.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]

    def __init__(self, a: float = A, noise: float = 0.0) -> None:
        super().__init__()
        self.a, self.noise, self.rng = a, noise, np.random.default_rng(0)
        self.calls = 0

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: object = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        super().calculate(atoms, ["energy"], system_changes)
        self.calls += 1
        atoms = self.atoms
        site = np.round(atoms.positions / self.a)
        u = atoms.positions - self.a * site
        fractions = np.linalg.solve(atoms.cell.array.T, self.a * site.T).T
        forces = np.zeros_like(u)
        for step in np.vstack([np.eye(3), -np.eye(3)]) * self.a:
            there = fractions + np.linalg.solve(atoms.cell.array.T, step)
            difference = there[:, None] - fractions[None]
            difference -= np.round(difference)
            forces += K * (u[np.abs(difference).sum(-1).argmin(1)] - u)
        energy = -0.5 * float((forces * u).sum())
        forces = forces + self.noise * self.rng.standard_normal(forces.shape)
        self.results = {"energy": energy, "forces": forces, "stress": np.zeros(6)}


def rocksalt(numbers: tuple[int, int] = (11, 17), a: float = A) -> Atoms:
    """Two elements on the simple cubic lattice with spacing ``a``."""
    return Atoms(
        numbers=numbers,
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
        cell=a * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
        pbc=True,
    )


def exact(masses: tuple[float, float], n: int = 60) -> np.ndarray:
    """Wavenumbers of one direction of the springs, on a fine mesh of the simple cubic zone.

    w^2 = 3K (1/m + 1/M) +- sqrt(9 K^2 (1/m - 1/M)^2 + 4 K^2 (sum cos)^2 / (m M)).
    """
    c = np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)
    total = (c[:, None, None] + c[None, :, None] + c[None, None, :]).ravel()
    m, M = masses
    root = np.sqrt(9 * K**2 * (1 / m - 1 / M) ** 2 + 4 * K**2 * total**2 / (m * M))
    middle = 3 * K * (1 / m + 1 / M)
    squares = np.concatenate([middle - root, middle + root]).clip(min=0.0)
    return np.asarray(WAVENUMBER * np.sqrt(squares))


SETTINGS = DisplacementSettings(relax="positions", least_side=8.0, smearing=2.0)


def moment(dos: PhononDos, power: int) -> float:
    """Mean of w^power over the states, cm^-power."""
    states = dos.states_at()
    return float((states @ dos.frequencies**power) / states.sum())


def test_lattice_of_springs_has_its_exact_spectrum() -> None:
    atoms = rocksalt()
    result = finite_displacements(atoms, Springs(), SETTINGS)
    assert result.displacements == 2  # symmetry leaves one for each element
    assert result.imaginary == 0
    modes = exact(tuple(atoms.get_masses()))
    # states below every wavenumber, smeared as the curve is
    w = np.arange(0.0, result.largest + 20, 5.0)
    below = np.searchsorted(np.sort(modes), w) / len(modes)
    cumulative = result.dos.cumulative(w) / 6
    assert np.abs(cumulative - below).mean() < 4e-3
    # acoustic modes at zero, optical ones K (6/m + 6/M)
    optical = WAVENUMBER * np.sqrt(6 * K * (1 / atoms.get_masses()).sum())
    np.testing.assert_allclose(result.gamma[:3], 0, atol=1e-3)
    np.testing.assert_allclose(result.gamma[3:], optical, rtol=1e-6)
    assert modes.max() < result.largest < optical * (1 + 1e-6)  # the branch falls from there


def test_partial_spectra_obey_the_sum_rule_of_their_atoms() -> None:
    # sum over modes of |e_i|^2 w^2 is the diagonal of the dynamical matrix, 6K/m_i
    atoms = rocksalt()
    result = finite_displacements(atoms, Springs(), SETTINGS)
    np.testing.assert_allclose(result.projected.states(), 3.0, rtol=1e-12)
    for density, mass in zip(result.projected.density, atoms.get_masses(), strict=True):
        square = moment(PhononDos(result.projected.frequencies, density), 2)
        expected = WAVENUMBER**2 * 6 * K / mass + SETTINGS.smearing**2
        assert square == pytest.approx(expected, rel=2e-3)
    parts = result.by_element
    assert list(parts) == ["Na", "Cl"]
    np.testing.assert_allclose(
        sum(p.density for p in parts.values()), result.dos.density, rtol=1e-9, atol=1e-12
    )


def test_other_cells_of_a_crystal_have_the_same_spectrum() -> None:
    primitive = finite_displacements(rocksalt(), Springs(), SETTINGS)
    cube = bulk("NaCl", "rocksalt", a=2 * A, cubic=True)
    order = np.random.default_rng(1).permutation(len(cube))
    result = finite_displacements(cube[order], Springs(), SETTINGS)
    assert result.displacements == 2
    assert result.atoms.get_chemical_symbols() == cube[order].get_chemical_symbols()
    np.testing.assert_allclose(result.projected.states(), 3.0, rtol=1e-12)
    assert result.dos.states() == pytest.approx(24, abs=1e-10)
    for symbol, part in result.by_element.items():
        mine, theirs = part.normalized(3.0), primitive.by_element[symbol].normalized(3.0)
        w = np.linspace(0, result.largest, 50)
        np.testing.assert_allclose(mine.cumulative(w), theirs.cumulative(w), atol=0.03)
    assert moment(result.dos, 2) == pytest.approx(moment(primitive.dos, 2), rel=1e-3)


def test_remaining_forces_and_noise_do_not_matter_much() -> None:
    exactly = finite_displacements(rocksalt(), Springs(), SETTINGS)
    noisy = finite_displacements(rocksalt(), Springs(noise=1e-5), SETTINGS)
    assert noisy.imaginary == 0
    assert noisy.largest == pytest.approx(exactly.largest, rel=1e-3)


def test_unstable_lattice_is_told() -> None:
    class Pushing(Springs):
        def calculate(self, *args: object, **kwargs: object) -> None:
            super().calculate(*args, **kwargs)
            self.results["forces"] = -self.results["forces"]

    result = finite_displacements(rocksalt(), Pushing(), SETTINGS)
    assert result.imaginary > 0.99
    assert result.dos.imaginary_states() > 0.98
    assert result.dos.states() == pytest.approx(6, abs=1e-10)
    assert result.largest < 1e-3


def energy_of(atoms: Atoms) -> float:
    atoms.calc = EMT()
    return float(atoms.get_potential_energy())


def test_copper_agrees_with_ase(tmp_path: Path) -> None:
    from ase.phonons import Phonons

    atoms = bulk("Cu", a=3.6)
    settings = DisplacementSettings(least_side=11.0, mesh=50.0, max_atoms=200)
    result = finite_displacements(atoms, EMT(), settings)
    lattice = np.linspace(3.56, 3.62, 13)
    energies = [energy_of(bulk("Cu", a=a)) for a in lattice]
    best = np.polynomial.Polynomial.fit(lattice, energies, 3).deriv().roots().real
    best = best[np.abs(best - 3.59).argmin()]
    assert result.volume_change == pytest.approx((best / 3.6) ** 3 - 1, abs=2e-4)
    assert result.supercell.image_distance >= 11.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = Phonons(result.atoms, EMT(), supercell=(5, 5, 5), delta=0.02, name=tmp_path / "p")
        theirs.run()
        theirs.read(acoustic=True)
        n = 14
        mesh = (np.stack(np.meshgrid(*[np.arange(n)] * 3), -1).reshape(-1, 3) + 0.5) / n - 0.5
        energies = np.asarray(theirs.band_structure(mesh, verbose=False))
    modes = np.sort(energies.real.ravel()) / units.invcm
    assert result.dos.states() == pytest.approx(3, abs=1e-12)
    assert moment(result.dos, 1) == pytest.approx(modes.mean(), rel=3e-3)
    assert moment(result.dos, 2) == pytest.approx((modes**2).mean(), rel=6e-3)
    assert result.largest == pytest.approx(modes.max(), rel=0.01)
    capacity = result.thermodynamics([300.0])["heat_capacity_J_per_K_mol_atoms"][0]
    x = modes * units.invcm / (2 * units.kB * 300)
    assert capacity == pytest.approx(3 * 8.314463 * np.mean((x / np.sinh(x)) ** 2), rel=1e-3)


def test_relaxation_keeps_symmetry_and_reaches_the_minimum() -> None:
    rng = np.random.default_rng(3)
    cell = bulk("Cu", a=3.7, cubic=True)
    shaken = cell.copy()
    shaken.positions += rng.normal(scale=1e-4, size=shaken.positions.shape)
    shaken.cell[:] += rng.normal(scale=1e-4, size=(3, 3))
    relaxed, steps = relax(shaken, EMT(), DisplacementSettings())
    assert steps > 0
    np.testing.assert_allclose(relaxed.cell.cellpar()[3:], 90, atol=1e-9)
    np.testing.assert_allclose(np.ptp(relaxed.cell.lengths()), 0, atol=1e-9)
    relaxed.calc = EMT()
    assert abs(relaxed.get_stress()[:3].mean()) * relaxed.get_volume() < 2e-3
    kept, _ = relax(shaken, EMT(), DisplacementSettings(relax="positions"))
    assert kept.get_volume() == pytest.approx(shaken.get_volume(), rel=1e-5)
    assert relax(shaken, EMT(), DisplacementSettings(relax="none"))[1] == 0


def test_symmetrised_cell_is_exact() -> None:
    import spglib

    quartz = Atoms(
        "Si3O6",
        cell=[4.9134, 4.9134, 5.4052, 90, 90, 120],
        scaled_positions=[
            [0.4699, 0, 0.6667], [0, 0.4699, 0.3333], [0.5301, 0.5301, 0],
            [0.4141, 0.2681, 0.7854], [0.7319, 0.146, 0.4521], [0.854, 0.5859, 0.1187],
            [0.2681, 0.4141, 0.2146], [0.146, 0.7319, 0.5479], [0.5859, 0.854, 0.8813],
        ],
        pbc=True,
    )  # fmt: skip
    quartz.rotate(40, (1, 2, 3), rotate_cell=True)
    rough = (quartz.cell.array, quartz.get_scaled_positions(), quartz.numbers)
    assert spglib.get_symmetry_dataset(rough, symprec=1e-6).number < 154
    ideal = symmetrised(quartz)
    exact_cell = (ideal.cell.array, ideal.get_scaled_positions(), ideal.numbers)
    assert spglib.get_symmetry_dataset(exact_cell, symprec=1e-9).number == 154
    assert np.abs(ideal.positions - quartz.positions).max() < 1e-3
    np.testing.assert_allclose(symmetrised(ideal).positions, ideal.positions, atol=1e-12)


@pytest.mark.parametrize(
    ("atoms", "n_atoms"),
    [
        (bulk("Si"), 54),
        (bulk("NaCl", "rocksalt", a=5.64), 54),
        (bulk("NaCl", "rocksalt", a=5.64, cubic=True), 64),
        (bulk("Mg", "hcp", a=3.2, c=5.2), 64),
        (rocksalt(a=20.0), 2),
    ],
)
def test_supercells_are_large_enough_and_symmetric(atoms: Atoms, n_atoms: int) -> None:
    chosen = choose_supercell(atoms, 10.0, 128)
    assert chosen.n_atoms == n_atoms
    assert chosen.image_distance >= 9.5
    assert round(abs(np.linalg.det(chosen.matrix))) * len(atoms) == n_atoms


def test_supercell_stays_within_its_bound() -> None:
    small = choose_supercell(bulk("Si"), 30.0, 60)
    assert small.n_atoms <= 60
    assert small.image_distance < 30
    large = bulk("Si", cubic=True) * (2, 2, 2)
    assert choose_supercell(large, 10.0, 10).n_atoms == 64  # the cell itself is always allowed


@pytest.mark.parametrize("width", [0.0, 3.0])
@pytest.mark.parametrize("imaginary", [False, True])
def test_smearing_loses_no_state(width: float, imaginary: bool) -> None:
    rng = np.random.default_rng(0)
    modes = rng.uniform(-80 if imaginary else -0.5, 300, 400)
    weights = rng.uniform(size=(3, 400))
    dos = smeared(modes, weights, width, 0.7)
    np.testing.assert_allclose(dos.states(), weights.sum(1), rtol=1e-9)
    assert dos.density.min() >= 0
    if not imaginary:
        assert dos.frequencies[0] == 0
    far = weights[:, modes < -30].sum(1)
    np.testing.assert_allclose(dos.states() - [
        np.trapezoid(g[dos.frequencies > -30], dos.frequencies[dos.frequencies > -30])
        for g in dos.density
    ], far, atol=3 + 0.02 * far.max())  # fmt: skip


def test_files_hold_the_phonons(tmp_path: Path) -> None:
    result = finite_displacements(rocksalt(), Springs(), SETTINGS)
    written = write_lattice_dynamics(result, tmp_path, "salt", SETTINGS, [300.0])
    content = json.loads((tmp_path / "salt.json").read_text())
    assert content == json.loads(json.dumps(written))
    assert content["states"] == pytest.approx(6, abs=1e-9)
    assert content["thermodynamics"]["temperature_K"] == [300.0]
    header, *lines = (tmp_path / "salt.csv").read_text().splitlines()
    assert header == "wavenumber_cm1,states_per_cm1,Na,Cl"
    table = np.array([[float(x) for x in line.split(",")] for line in lines])
    assert np.trapezoid(table[:, 1], table[:, 0]) == pytest.approx(6, rel=1e-6)
    np.testing.assert_allclose(table[:, 2:].sum(1), table[:, 1], atol=1e-7)
    assert (tmp_path / "salt.png").stat().st_size > 10_000


def test_every_evaluation_is_told() -> None:
    told: list[tuple[int, int]] = []
    finite_displacements(rocksalt(), Springs(), SETTINGS, on_force=lambda *x: told.append(x))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^water: phonons need a crystal"):
        finite_displacements(Atoms("H2O", positions=np.eye(3)), EMT(), where="water")
    with pytest.raises(UserError, match="no atoms"):
        finite_displacements(Atoms(cell=np.eye(3), pbc=True), EMT())
    with pytest.raises(UserError, match=r"copper: the relaxation did not converge in 1 steps"):
        finite_displacements(
            bulk("Cu", a=3.9), EMT(), DisplacementSettings(max_steps=1), where="copper"
        )
    with pytest.raises(UserError, match="atoms lie on each other"):
        finite_displacements(
            Atoms("Cu2", positions=np.zeros((2, 3)), cell=np.eye(3) * 3, pbc=True), EMT()
        )
    with pytest.raises(UserError, match="not 'everything'"):
        DisplacementSettings(relax="everything")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="distance must be above 0"):
        DisplacementSettings(distance=0.0)
    with pytest.raises(UserError, match="smearing cannot be negative"):
        DisplacementSettings(smearing=-1.0)


def test_forces_that_are_no_numbers_are_refused() -> None:
    settings = DisplacementSettings(relax="none", least_side=5.0)
    with pytest.raises(UserError, match="salt: the potential's forces are not finite"):
        finite_displacements(rocksalt(), Springs(noise=float("nan")), settings, where="salt")


def test_unknown_elements_are_told_with_the_structures_name() -> None:
    class Narrow(EMT):
        def calculate(self, *args: object, **kwargs: object) -> None:
            raise ValueError("only hydrogen is known here")

    for relax_what in ("none", "positions"):
        settings = DisplacementSettings(relax=relax_what)
        with pytest.raises(UserError, match=r"^cu\.cif: the potential refuses it \(only hydrogen"):
            finite_displacements(bulk("Cu"), Narrow(), settings, "cu.cif")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "phonopy", None)
    with pytest.raises(UserError, match=r"pip install 'clebsch\[phonons\]'"):
        import_phonopy()
    monkeypatch.setitem(__import__("sys").modules, "sevenn.calculator", None)
    with pytest.raises(UserError, match=r"pip install 'clebsch\[foundation\]'"):
        potential_calculator("sevennet-0")


def test_unknown_potential_is_named() -> None:
    with pytest.raises(UserError, match=r"sevennet-9: is neither a model file .* \(sevennet-0"):
        check_potential("sevennet-9")


def test_measured_heat_capacities_are_at_constant_volume() -> None:
    values = {crystal.name: crystal.c_v for crystal in MEASURED}
    # C_p - C_v per atom: 1.4 in NaCl, 0.3 in MgO, little elsewhere
    assert values["Si"] == pytest.approx(20.00 - 0.02, abs=0.01)
    assert values["C"] == pytest.approx(6.1, abs=0.01)
    assert values["NaCl"] == pytest.approx(25.26 - 1.4, abs=0.1)
    assert values["MgO"] == pytest.approx(18.50 - 0.26, abs=0.02)
    assert all(value < 24.95 for value in values.values())


def test_measured_crystals_beside_a_network_and_a_reference(tmp_path: Path) -> None:
    # copper's potential stands in for each: the rows' bookkeeping is what is tested
    class Anything(EMT):
        def calculate(
            self, atoms: Atoms | None = None, properties: object = None, changes: object = None
        ) -> None:
            scaled = Atoms("Cu" * len(atoms), cell=atoms.cell, pbc=True)
            scaled.positions = atoms.positions
            scaled.calc = EMT()
            self.results = {
                "energy": scaled.get_potential_energy(),
                "forces": scaled.get_forces(),
                "stress": scaled.get_stress(),
            }

    config = DosConfig(species=["Si", "C", "Ga", "As", "Na", "Cl", "Mg", "O"], cutoff=4.0)
    network = PhononDosModel(config.model_copy(update={"channels": 4, "layers": 1})).eval()
    w = np.arange(0.0, 601.0)
    debye = PhononDos(w, w**2).normalized(1.0)  # arbitrary units: made 3N
    reference = PhononDataset(
        "made", [PhononRecord(c.database, "made", c.structure(), debye) for c in MEASURED[:2]]
    )
    told: list[str] = []
    settings = DisplacementSettings(relax="none", least_side=4.0, mesh=15.0)
    rows = against_measured(
        Anything(), network, reference, settings, lambda name, _: told.append(name)
    )
    assert told == [row["crystal"] for row in rows] == [c.name for c in MEASURED]
    assert ["c_v_dfpt" in row for row in rows] == [True, True, False, False, False]
    cv = heat_capacity(w, debye.normalized(3.0).states_at(), 298.15)
    assert rows[0]["c_v_dfpt"] == pytest.approx(float(cv) * units._e * units._Nav, rel=1e-9)
    assert rows[0]["peak_dfpt"] == pytest.approx(convert_frequency(600, "cm^-1", "THz"))
    for row, crystal in zip(rows, MEASURED, strict=True):
        assert row["lattice_potential"] == pytest.approx(crystal.lattice[1])
        assert 0 < row["c_v_direct"] < 24.95


def test_command_writes_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clebsch.simulate.named_potentials.potential_calculator", lambda *_: EMT())
    bulk("Cu", a=3.6).write(tmp_path / "copper.cif")
    bulk("Al", a=4.0).write(tmp_path / "copper.vasp", format="vasp")
    files = [str(tmp_path / name) for name in ("copper.cif", "copper.vasp")]
    options = ["--out", str(tmp_path / "out"), "--least-side", "6", "--mesh", "20", "--quiet"]
    done = CliRunner().invoke(app, ["dos", *files, *options])
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "out").glob("*.csv")) == [
        "copper-2.csv",
        "copper.csv",
    ]
    content = json.loads((tmp_path / "out" / "copper.json").read_text())
    assert content["formula"] == "Cu"
    assert content["states"] == pytest.approx(3)
    assert "Cu" in done.output


def test_command_refuses_before_it_computes(tmp_path: Path) -> None:
    Atoms("H2O", positions=np.eye(3)).write(tmp_path / "water.xyz")
    done = CliRunner().invoke(app, ["dos", str(tmp_path / "water.xyz"), "--quiet"])
    assert isinstance(done.exception, UserError)
    assert "has no cell" in str(done.exception)
    bulk("Cu").write(tmp_path / "copper.cif")
    done = CliRunner().invoke(
        app, ["dos", str(tmp_path / "copper.cif"), "-m", "no-such", "--quiet"]
    )
    assert isinstance(done.exception, UserError)
    assert "no-such: is neither" in str(done.exception)
    copper = ["dos", str(tmp_path / "copper.cif"), "--quiet", "--temperature"]
    done = CliRunner().invoke(app, [*copper, "300", "--temperature", "-5"])
    assert "--temperature -5: a temperature must be above 0 K" in str(done.exception)


def test_sevennet_silicon_is_stable_and_soft() -> None:
    pytest.importorskip("sevenn", reason="sevenn is not installed (extra foundation)")
    calculator = potential_calculator("sevennet-0")
    settings = DisplacementSettings(least_side=7.0, mesh=30.0)
    result = finite_displacements(bulk("Si"), calculator, settings)
    assert result.imaginary == 0
    assert result.dos.states() == pytest.approx(6, abs=1e-10)
    np.testing.assert_allclose(result.gamma[:3], 0, atol=0.05)
    # 15.5 THz measured; the potential is known to be too soft
    assert 12.0 < convert_frequency(result.gamma[-1], "cm^-1", "THz") < 15.0
