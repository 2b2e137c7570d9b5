"""An alloy over its composition: virtual crystals, supercells, comparisons, the command."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.data import atomic_masses, chemical_symbols
from ase.io import read, write
from scipy.stats import wasserstein_distance

from clebsch import cli
from clebsch.errors import UserError
from clebsch.models import PhononDosModel, load_dos_model
from clebsch.models.dos_configuration import DosConfig
from clebsch.phonons import published_target
from clebsch.phonons.alloy_formula import AlloyFormula
from clebsch.phonons.alloys import FormulaAlloy
from clebsch.phonons.reading import read_phonons
from clebsch.train.dos_config import DosTrainConfig
from clebsch.train.dos_run import train_dos
from clebsch.vibrations.alloy_comparison import compare_with, read_reference
from clebsch.vibrations.alloy_sweep import (
    Lattice,
    SweepSettings,
    compositions,
    end_member_mixture,
    predict_mixed,
    read_alloy,
    read_lattice,
    sweep,
)
from clebsch.vibrations.prediction import predict_phonons
from made_crystals import write_dfpt


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dfpt(tmp_path_factory.mktemp("alloy") / "made.jsonl")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the made crystals."""
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("alloy-model") / "run"
    settings = DosTrainConfig(
        model={"channels": 16, "cutoff": 4.0, "lmax": 1, "stop": 700},
        epochs=30,
        optimiser={"lr": 0.01},
    )
    train_dos(str(data), settings, out, progress=False)
    return out / "model.clebsch"


@pytest.fixture(scope="module")
def model(trained: Path) -> PhononDosModel:
    return load_dos_model(trained)


def salts() -> list[Lattice]:
    """KCl and KBr, of different size."""
    return [
        Lattice("KCl", bulk("KCl", "rocksalt", a=5.0)),
        Lattice("KBr", bulk("KBr", "rocksalt", a=5.6)),
    ]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of the command line."""
    monkeypatch.setattr("sys.argv", ["clebsch", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_ends_are_the_pure_crystals(model: PhononDosModel) -> None:
    model = load_like(model, torch.float64)
    lattices = salts()
    alloy = read_alloy("K(Cl{1-x}Br{x})", lattices)
    ends = sweep(model, alloy, [Fraction(0), Fraction(1)])
    pure = list(predict_phonons(model, [lattice.atoms for lattice in lattices]))
    for point, prediction in zip(ends, pure, strict=True):
        np.testing.assert_allclose(point.virtual.states, prediction.states / 2, atol=1e-12)
        facts, expected = point.virtual.thermodynamics(300.0), prediction.thermodynamics([300.0])
        for amount in ("mol of atoms", "kg"):
            assert facts.heat_capacity(300.0, amount).value == pytest.approx(
                expected.heat_capacity(300.0, amount).value, rel=1e-12
            )
        assert facts.mean_frequency().value == pytest.approx(expected.mean_frequency().value)


def load_like(model: PhononDosModel, dtype: torch.dtype) -> PhononDosModel:
    copy = PhononDosModel(model.config).to(dtype)
    copy.load_state_dict(model.state_dict())
    return copy.eval()


def test_no_order_matters(model: PhononDosModel) -> None:
    model = load_like(model, torch.float64)
    a, b = salts()
    half = Fraction(1, 2)
    states = []
    for text, lattices in (
        ("K(Cl0.5Br0.5)", [a, b]),
        ("(Br0.5Cl0.5)K", [b, a]),
        ("KCl0.5Br0.5", [Lattice("turned", a.atoms[::-1]), b]),
        (
            "K2(Cl{x}Br{1-x})2",
            [
                Lattice("doubled", a.atoms.repeat((1, 1, 2))),
                Lattice("b", b.atoms.repeat((1, 1, 2))),
            ],
        ),
    ):
        alloy = read_alloy(text, lattices)
        states.append(sweep(model, alloy, [half])[0].virtual.states)
    for other in states[1:]:
        np.testing.assert_allclose(other, states[0], atol=1e-11)
    # a mixture is neither of its ends nor their mean
    ends = [p.virtual.states for p in sweep(model, alloy, [Fraction(0), Fraction(1)])]
    for other in (*ends, sum(ends) / 2):
        assert np.abs(other - states[0]).max() > 1e-3


def test_batches_are_single_predictions(model: PhononDosModel) -> None:
    alloy = read_alloy("K(Cl{1-x}Br{x})", salts())
    crystals = [alloy.crystal(alloy.shares_at(x)) for x in compositions(alloy, 7)]
    together, apart = predict_mixed(model, crystals), predict_mixed(model, crystals, max_atoms=1)
    for a, b, crystal in zip(together, apart, crystals, strict=True):
        np.testing.assert_allclose(a.states, b.states, atol=2e-6)
        assert a.states.sum() == pytest.approx(3, abs=1e-12)
        assert a.mass == pytest.approx(crystal.mass / 2)


def test_mean_mass_is_what_a_kilogram_holds(model: PhononDosModel) -> None:
    alloy = read_alloy("K(Cl0.25Br0.75)", salts())
    point = sweep(model, alloy, [Fraction(0)])[0]
    k, cl, br = (atomic_masses[chemical_symbols.index(s)] for s in ("K", "Cl", "Br"))
    facts = point.virtual.thermodynamics(300.0)
    per_mol = facts.heat_capacity(300.0, "mol of atoms").value
    expected = 1000 * per_mol / ((k + 0.25 * cl + 0.75 * br) / 2)
    assert facts.heat_capacity(300.0, "kg").value == pytest.approx(expected)


def test_supercells_are_averaged_and_compared(model: PhononDosModel) -> None:
    alloy = read_alloy("K(Cl{1-x}Br{x})", salts())
    told: list[tuple[int, int]] = []
    points = sweep(
        model,
        alloy,
        [Fraction(0), Fraction(3, 10)],
        SweepSettings(supercells=("random", "sqs"), size=(2, 2, 2), number=4, seed=3),
        lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (18, 18)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    for average in points[0].averages.values():
        # nothing to average in a pure crystal
        assert len(average.predictions) == 1
        assert average.distance() < 1e-3
        assert average.mae() < 1e-5
    for kind, average in points[1].averages.items():
        # 0.3 of 8 sites
        assert average.text == "K(Cl0.75Br0.25)"
        assert average.x == 0.25
        assert len(average.supercells) == 4
        for cell in average.supercells:
            symbols = cell.atoms.get_chemical_symbols()
            assert [symbols.count(s) for s in ("K", "Cl", "Br")] == [8, 6, 2]
        every = np.stack([p.states for p in average.predictions])
        np.testing.assert_allclose(average.states, every.mean(0))
        np.testing.assert_allclose(average.spread, every.std(0, ddof=1))
        assert average.states.sum() == pytest.approx(3, abs=1e-12)
        figures = points[1].figures(300.0)[kind]
        means = [p.thermodynamics(300.0).mean_frequency().value for p in average.predictions]
        assert figures["mean_frequency_cm1"].value == pytest.approx(np.mean(means))
        assert figures["mean_frequency_cm1"].std == pytest.approx(np.std(means, ddof=1))
        # the virtual crystal of just what the supercells hold
        exact = read_alloy("K(Cl0.75Br0.25)", salts())
        expected = sweep(model, exact, [Fraction(0)])[0].virtual.states
        np.testing.assert_allclose(average.virtual.states, expected, atol=1e-6)
        w = np.arange(len(expected), dtype=float) * model.config.step
        apart = wasserstein_distance(w, w, average.states, expected)
        assert average.distance() == pytest.approx(apart, rel=1e-3)
        assert 0 < average.mae() < 0.2
    sqs, random = (points[1].averages[k] for k in ("sqs", "random"))
    assert np.mean([s.mismatch for s in sqs.supercells]) <= np.mean(
        [s.mismatch for s in random.supercells]
    )
    ordinary = next(predict_phonons(model, [sqs.supercells[0].atoms]))
    np.testing.assert_allclose(sqs.predictions[0].states, ordinary.states / 16, atol=2e-6)


def test_ensembles_give_the_virtual_crystal_an_uncertainty() -> None:
    torch.manual_seed(1)
    config = DosConfig(species=["K", "Cl", "Br"], channels=4, members=3, cutoff=4.0)
    alloy = read_alloy("K(Cl0.5Br0.5)", salts())
    point = sweep(PhononDosModel(config), alloy, [Fraction(0)])[0]
    assert point.virtual.member_states is not None
    assert point.virtual.member_states.shape == (3, len(config.grid) + 1)
    figure = point.figures(300.0)["virtual"]["mean_frequency_cm1"]
    assert figure.std is not None
    assert figure.std > 0


def test_end_members_mixed(model: PhononDosModel) -> None:
    alloy = read_alloy("K(Cl{1-x}Br{x})", salts())
    found = end_member_mixture(model, alloy, Fraction(1, 4))
    assert found is not None
    ends = [p.virtual.states for p in sweep(model, alloy, [Fraction(0), Fraction(1)])]
    assert found[0] == ["KCl", "KBr"]
    np.testing.assert_allclose(found[1], 0.75 * ends[0] + 0.25 * ends[1], atol=2e-6)
    both = read_alloy("(K0.5Na0.5)(Cl0.5Br0.5)", salts()[:1])
    assert end_member_mixture(model, both, Fraction(0)) is None


def test_comparison_with_a_known_curve(model: PhononDosModel, data: Path, tmp_path: Path) -> None:
    dataset = read_phonons(data)
    names = {
        dataset[i].get_chemical_formula("metal"): dataset.names[i]
        for i in range(len(dataset))
        if abs(dataset[i].get_volume() - 5.0**3 / 4) < 0.1
    }
    lattices = [read_lattice(f"{data}#{names[f]}") for f in ("KCl", "KBr")]
    w = np.arange(0.0, 1001.0, 20.0)
    curves = [lattice.dos for lattice in lattices]
    assert all(dos is not None for dos in curves)
    targets = [published_target(dos) for dos in curves if dos is not None]
    file = tmp_path / "known.csv"
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["phfreq", "phdos", "formula"])
        writer.writerow([w.tolist(), (0.5 * targets[0]).tolist(), "KCl0.5Br0.5"])
    reference = read_reference(file)
    np.testing.assert_allclose(reference.density, targets[0])
    alloy = read_alloy("K(Cl0.5Br0.5)", lattices)
    settings = SweepSettings(("sqs",), (2, 1, 1), 1)
    point = sweep(model, alloy, [Fraction(0)], settings)[0]
    found = {c.title: c for c in compare_with(reference, model, alloy, point, lattices)}
    known = found["linear mixture of KCl and KBr, known"]
    mixture = 0.5 * sum(
        np.interp(np.arange(801.0), dos.frequencies, dos.normalized(1).density)
        for dos in curves
        if dos is not None
    )
    from clebsch.phonons import PhononDos

    expected = published_target(PhononDos(np.arange(801.0), np.asarray(mixture)))
    np.testing.assert_allclose(known.density, expected, atol=1e-9)
    assert known.mae == pytest.approx(np.abs(expected - targets[0]).mean())
    virtual = found["virtual crystal"]
    density = point.virtual.states[:-1].copy() / np.diff(model.config.grid.edges)
    curve = np.interp(w, model.config.grid.centres, density, right=0.0)
    assert virtual.mae == pytest.approx(np.abs(curve / curve.max() - targets[0]).mean())
    assert virtual.wasserstein == pytest.approx(wasserstein_distance(w, w, curve, targets[0]))
    assert len(found) == 4
    alone = compare_with(
        reference, model, read_alloy(alloy.text, lattices[:1]), point, lattices[:1]
    )
    assert alone[-1].title == "KCl alone, known"
    assert alone[-1].mae == pytest.approx(0, abs=1e-9)


def test_from_the_command_line(
    trained: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for lattice in salts():
        write(tmp_path / f"{lattice.name}.cif", lattice.atoms)
    out = tmp_path / "out"
    arguments = [
        "phonons", "sweep", str(trained), "K(Cl{1-x}Br{x})",
        "--lattice", str(tmp_path / "KCl.cif"), "--lattice", str(tmp_path / "KBr.cif"),
        "--points", "3", "--supercells", "sqs", "--supercells", "random",
        "--size", "2", "2", "1", "--number", "2", "--seed", "5", "--out", str(out),
    ]  # fmt: skip
    assert run(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    assert "Vegard's law between KCl.cif and KBr.cif" in printed
    assert "not relaxed" in printed
    with (out / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert [row["x"] for row in rows[::3]] == ["0", "0.5", "1"]
    assert {row["treatment"] for row in rows} == {"virtual", "sqs", "random"}
    ends = [float(rows[i]["mean_frequency_cm1"]) for i in (0, 3, 6)]
    assert ends[0] > ends[1] > ends[2]
    content = json.loads((out / "sweep.json").read_text())
    assert content["settings"]["seed"] == 5
    assert content["rows"][4]["treatment"] == "sqs"
    assert content["rows"][4]["mean_frequency_cm1"] == pytest.approx(
        float(rows[4]["mean_frequency_cm1"]), rel=1e-6
    )
    spectra = np.genfromtxt(out / "spectra.csv", delimiter=",", skip_header=1)
    assert spectra[:, 1].sum() == pytest.approx(3, abs=1e-4)
    cells = read(out / "supercells.extxyz", index=":")
    assert len(cells) == 8
    assert cells[1].info["kind"] == "random"
    assert (out / "sweep.png").stat().st_size > 10_000
    # the same seed gives the same numbers
    assert run(monkeypatch, *arguments[:-1], str(tmp_path / "again"), "--quiet") == 0
    assert (tmp_path / "again" / "sweep.csv").read_text() == (out / "sweep.csv").read_text()
    # one composition beside a known curve
    known = tmp_path / "known.csv"
    w = np.arange(0.0, 700.0, 10.0)
    known.write_text(
        "frequency_cm-1,dos\n" + "\n".join(f"{a},{np.exp(-(((a - 180) / 60) ** 2))}" for a in w)
    )
    arguments[3] = "K(Cl0.5Br0.5)"
    single = tmp_path / "single"
    assert run(monkeypatch, *arguments[:-1], str(single), "--reference", str(known)) == 0
    assert "beside known.csv" in capsys.readouterr().out
    content = json.loads((single / "reference.json").read_text())
    assert [c["title"] for c in content["curves"]] == [
        "virtual crystal",
        "special quasi-random supercells",
        "random supercells",
        "linear mixture of KCl and KBr, predicted",
    ]
    assert (single / "reference.png").stat().st_size > 10_000


def test_an_ordered_file_is_no_alloy(tmp_path: Path) -> None:
    pytest.importorskip("pymatgen")
    write(tmp_path / "KCl.cif", salts()[0].atoms)
    with pytest.raises(UserError, match="is ordered, no site is shared; clebsch predict"):
        read_alloy(str(tmp_path / "KCl.cif"), [])


def test_a_file_with_occupancies(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("pymatgen")
    from pymatgen.core import Structure

    structure = Structure.from_spacegroup(
        "Fm-3m", [[5.3, 0, 0], [0, 5.3, 0], [0, 0, 5.3]], ["K", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    structure.replace_species({"Cl": {"Cl": 0.25, "Br": 0.75}})
    file = tmp_path / "salt.cif"
    structure.to(str(file))
    out = tmp_path / "out"
    arguments = [
        "phonons", "sweep", str(trained), str(file),
        "--supercells", "random", "--size", "1", "1", "1", "--number", "2",
    ]  # fmt: skip
    assert run(monkeypatch, *arguments, "--out", str(out)) == 0
    rows = json.loads((out / "sweep.json").read_text())["rows"]
    assert len(rows) == 2
    lattice = Lattice("KCl", bulk("KCl", "rocksalt", a=5.3))
    alloy = FormulaAlloy(AlloyFormula.parse("K(Cl0.25Br0.75)"), [lattice.atoms])
    shares = alloy.shares_at(Fraction(0))
    crystal = alloy.crystal(shares)
    crystal.atoms.set_cell(lattice.atoms.cell, scale_atoms=True)
    expected = predict_mixed(load_dos_model(trained), [crystal])[0].thermodynamics(300.0)
    assert rows[0]["mean_frequency_cm1"] == pytest.approx(expected.mean_frequency().value, rel=1e-5)
    assert rows[1]["structures"] == 2


def refuse(kind: str, tmp_path: Path, data: Path) -> tuple[list[str], str]:
    """Arguments behind the model, and what is said."""
    lattice = tmp_path / "KCl.cif"
    write(lattice, salts()[0].atoms)
    several = tmp_path / "several.xyz"
    write(several, [salts()[0].atoms] * 2, format="extxyz")
    molecule = tmp_path / "molecule.xyz"
    molecule.write_text("2\n\nK 0 0 0\nCl 0 0 2.8\n")
    known = tmp_path / "known.csv"
    known.write_text('phfreq,phdos,formula\n"[0.0, 20.0, 40.0]","[0.0, 1.0, 0.0]",KBr\n')
    empty = tmp_path / "empty.csv"
    empty.write_text('phfreq,phdos,formula\n"[0.0, 20.0]","[0.0, 0.0]",KCl0.5Br0.5\n')
    (tmp_path / "file").write_text("")
    on = ["--lattice", str(lattice)]
    half = ["K(Cl0.5Br0.5)", *on]
    return {
        "occupancies": (["K(Cl0.5Br0.4)", *on], "sum to 0.9, not to one"),
        "unknown element": (["K(Cl0.5I0.5)", *on], "the model does not know I"),
        "no fit": (["K2(Cl0.5Br0.5)", *on], "does not fit KCl.cif"),
        "no lattice": (["K(Cl0.5Br0.5)"], "needs a structure"),
        "nothing mixed": (["KCl", *on], "mixes nothing"),
        "no such file": (["K(Cl0.5Br0.5)", "--lattice", str(tmp_path / "no.cif")], "no.cif"),
        "several": (["K(Cl0.5Br0.5)", "--lattice", str(several)], "holds several structures"),
        "molecule": (["K(Cl0.5Br0.5)", "--lattice", str(molecule)], "has no cell"),
        "kind": ([*half, "--supercells", "clever"], "sqs or random"),
        "range": (["K(Cl{1-x}Br{x})", *on, "--from", "1", "--to", "0"], "range that ascends"),
        "number": (["K(Cl{1-x}Br{x})", *on, "--to", "all"], "from one number to another"),
        "outside": (["K(Cl{1-x}Br{x})", *on, "--to", "1.5"], "share of Cl is -0.05"),
        "temperature": ([*half, "--temperature", "0"], "above 0 K"),
        "no temperature": ([*half, "--temperature", "nan"], "above 0 K"),
        "another alloy": ([*half, "--reference", str(known)], "is of KBr, not of"),
        "no states": ([*half, "--reference", str(empty)], "no states"),
        "no reference": ([*half, "--reference", str(tmp_path / "no.csv")], "no such file"),
        "varies": (["K(Cl{1-x}Br{x})", *on, "--reference", str(known)], "no one composition"),
        "out": ([*half, "--out", str(tmp_path / "file")], "is a file"),
        "no record": (["K(Cl0.5Br0.5)", "--lattice", f"{data}#c-99"], "no record c-99"),
        "own lattice": ([str(lattice), *on], "has its own lattice"),
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [
        "occupancies", "unknown element", "no fit", "no lattice", "nothing mixed", "no such file",
        "several", "molecule", "kind", "range", "number", "outside", "temperature",
        "no temperature", "another alloy", "no states", "no reference", "varies", "out",
        "own lattice", "no record",
    ],
)  # fmt: skip
def test_sentences(
    kind: str,
    trained: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, message = refuse(kind, tmp_path, data)
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "out")]
    code = run(monkeypatch, "phonons", "sweep", str(trained), *arguments, *out, "--quiet")
    said = capsys.readouterr().err
    assert code == 2, said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said
    assert not (tmp_path / "out").exists()


def test_settings_that_are_none() -> None:
    for settings in ({"number": 0}, {"size": (0, 1, 1)}, {"seed": -1}):
        with pytest.raises(UserError, match="at least"):
            SweepSettings(**settings)


@pytest.mark.slow
def test_the_known_alloy(clebsch_data: Callable[[str], Path]) -> None:
    reference = read_reference(clebsch_data("phonon/data_alloy.csv"))
    assert reference.formula == "Mg3Bi1.5Sb0.5"
    assert len(reference.frequencies) == 51
    assert reference.density.max() == 1
    place = clebsch_data("phonon/petretto2018_dfpt.jsonl.xz")
    lattice = read_lattice(f"{place}#mp-2646")
    assert lattice.atoms.get_chemical_formula() == "Mg3Sb2"
    assert lattice.dos is not None
