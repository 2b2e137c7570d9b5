"""LAMMPS as one of the engines: it agrees, and a missing reverse exchange is found."""

from pathlib import Path

import pytest

from clebsch.lammps import available
from clebsch.verify import Settings, built_in_cases, verify

from .conftest import small_potential

_REASON = available()

needs_lammps = pytest.mark.skipif(_REASON is not None, reason=str(_REASON))

#: Runs in the process beside every rank: owners no longer add what their ghosts have.
_FAULT = """\
import sys

if any("clebsch.lammps.worker" in word for word in sys.orig_argv):
    from clebsch.lammps.engine import Engine

    right = Engine.compute

    def wrong(self, n_local, *args, exchange, **options):
        exchange.reverse = lambda rows: rows[:n_local].clone()
        return right(self, n_local, *args, exchange=exchange, **options)

    Engine.compute = lambda self, n_local, **options: wrong(self, n_local, **options)
"""


@needs_lammps
@pytest.mark.slow
def test_lammps_agrees_on_one_two_and_four_ranks(model):
    report = verify(model, settings=Settings(quick=True, only=("lammps",)))
    assert report.passed, report.failures
    checks = {row.check for row in report.rows()} - {"finite numbers"}
    assert checks == {"LAMMPS on 1 rank", "LAMMPS on 2 ranks", "LAMMPS on 4 ranks"}
    quantities = {f.deviation.quantity for f in report.findings if f.check == "LAMMPS on 2 ranks"}
    assert {"energy", "atomic energy", "forces", "stress", "atomic stress, summed"} <= quantities


@needs_lammps
@pytest.mark.slow
def test_a_missing_reverse_exchange_between_ranks(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(_FAULT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings = Settings(quick=True, only=("lammps",), ranks=(2,))
    report = verify(small_potential(), settings=settings)
    assert {row.check for row in report.failures} == {"LAMMPS on 2 ranks"}
    wrong = {f.deviation.quantity for f in report.findings if f.status == "fail" and f.deviation}
    assert "forces" in wrong
    assert "energy" not in wrong  # which needs no reverse exchange


def test_without_lammps_it_is_not_run(model, monkeypatch):
    monkeypatch.setattr("clebsch.lammps.launch.available", lambda: "LAMMPS is not installed.")
    report = verify(model, settings=Settings(quick=True, only=("lammps",), ranks=(1,)))
    (row,) = [row for row in report.rows() if row.check == "LAMMPS on 1 rank"]
    assert (row.status, row.reason) == ("not run", "LAMMPS is not installed.")
    assert report.passed
    required = Settings(quick=True, only=("ase",), require=("lammps",), ranks=(1,))
    report = verify(model, settings=required)
    assert [row.check for row in report.failures] == ["LAMMPS on 1 rank"]
    assert not report.passed


def test_without_mpirun_one_rank_is_left(model, monkeypatch):
    monkeypatch.setattr("clebsch.lammps.launch.available", lambda: None)
    monkeypatch.setattr("clebsch.lammps.point.single_point", lambda *a, **kw: 1 / 0)
    monkeypatch.setattr("clebsch.lammps.launch.shutil.which", lambda name: None)
    monkeypatch.setattr("clebsch.lammps.launch.sys.executable", "/nowhere/python")
    report = verify(model, settings=Settings(quick=True, only=("lammps",), ranks=(1, 2)))
    found = {row.check: row for row in report.rows() if row.check.startswith("LAMMPS")}
    assert found["LAMMPS on 2 ranks"].status == "not run"
    assert "several ranks need mpirun" in found["LAMMPS on 2 ranks"].reason
    assert found["LAMMPS on 1 rank"].reason == "ZeroDivisionError: division by zero"
    failures = [row for row in report.failures if row.check == "LAMMPS on 1 rank"]
    assert len(failures) == len(built_in_cases(model, quick=True))  # not one per structure


def test_an_engine_that_stops_names_the_structure(model, monkeypatch):
    def stops(file: Path, structures: list, **options: object) -> list:
        if any(len(atoms) == 12 for atoms in structures):
            raise RuntimeError("ERROR: lost atoms\nmore")
        return right(file, structures)

    def right(file: Path, structures: list) -> list:
        from clebsch.verify.engines import Eager

        found = Eager(model, "x", "x").evaluate(structures)
        return [{**vars(one), "atomic_virial": [one.virial]} for one in found]

    monkeypatch.setattr("clebsch.lammps.launch.available", lambda: None)
    monkeypatch.setattr("clebsch.lammps.point.single_point", stops)
    report = verify(model, settings=Settings(quick=True, only=("lammps",), ranks=(1,)))
    (row,) = report.failures
    assert (row.case, row.reason) == ("slab", "RuntimeError: ERROR: lost atoms")
