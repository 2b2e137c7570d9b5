"""Benchmarks measure real code at small sizes, say what they left out, and write whole files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from clebsch.bench import build, check_name, framework, model, operator, report, result, run
from clebsch.bench.pair import Clock, NotMeasured, Worker
from clebsch.bench.settings import SIDES, Settings
from clebsch.errors import UserError

TINY = {**model.CASE, "repeat": 1, "layers": 2, "lmax": 1, "channels": 4, "radial_width": 8}
has_nequip = importlib.util.find_spec("nequip") is not None


@pytest.fixture(scope="module")
def small_operator() -> dict[str, dict]:
    """A whole run of the operator's benchmark on a few edges."""
    chosen = [(1, 4, "forward"), (1, 4, "double_backward"), (1, 4, "memory")]
    return operator.run(Settings(quick=True, threads=1), chosen, {"atoms": 10, "edges": 100})


def test_operator_measures_both_sides_and_they_agree(small_operator) -> None:
    for task in ("forward", "double_backward"):
        entry = small_operator[f"operator/l1/c4/{task}"]
        assert entry["ours_ms"] > 0
        assert entry["peer_ms"] > 0
        assert entry["ratio"] == pytest.approx(entry["peer_ms"] / entry["ours_ms"], rel=1e-2)
        assert entry["peer"].startswith("e3nn 0.6")
    memory = small_operator["operator/l1/c4/memory"]
    assert memory["ours_MB"] is not None
    assert memory["peer_MB"] is not None
    assert small_operator["agreement"]["l1/c4"] < 1e-4
    machine = small_operator["machine"]
    assert machine["processor"]
    assert machine["cores"] >= machine["threads"] == 1
    assert machine["torch"]


def test_table_and_figure(small_operator, tmp_path: Path) -> None:
    assert report.table("operator", small_operator).row_count == 3
    assert any("threads" in line for line in report.notes("operator", small_operator))
    report.draw("operator", small_operator, tmp_path / "operator.png")
    assert (tmp_path / "operator.png").read_bytes().startswith(b"\x89PNG")


def test_full_run_covers_the_grid_and_quick_starts_with_the_bars() -> None:
    full = {f"operator/l{l}/c{c}/{task}" for l, c, task in operator.cases(quick=False)}
    for l in (1, 2, 3, 4):
        for c in (16, 32, 64, 128):
            assert {f"operator/l{l}/c{c}/{task}" for task in operator.TASKS} <= full
    bars = [key for key in result.RATIO_BARS if key.startswith("operator/")]
    first = [f"operator/l{l}/c{c}/{task}" for l, c, task in operator.cases(quick=True)]
    assert set(first[: len(bars)]) == set(bars)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """e3nn and nequip cannot be imported by any process that starts now."""
    for name in ("e3nn", "nequip"):
        (tmp_path / f"{name}.py").write_text(
            f"raise ModuleNotFoundError('it is not there', name='{name}')\n"
        )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_operator_without_its_peer(nowhere) -> None:
    content = operator.run(
        Settings(quick=True, threads=1), [(1, 4, "forward")], {"atoms": 10, "edges": 100}
    )
    entry = content["operator/l1/c4/forward"]
    assert entry["ours_ms"] > 0
    assert entry["peer_ms"] is entry["ratio"] is None
    assert "e3nn is not installed (pip install e3nn==0.6.0)" in entry["not_measured"]


def test_model_without_its_peer(nowhere) -> None:
    content = model.run(Settings(quick=True, threads=1), TINY)
    entry = content["model/si8/training_step"]
    assert entry["ours_ms"] > 0
    assert entry["peer_ms"] is None
    assert "nequip is not installed (pip install nequip==0.19.0)" in entry["not_measured"]
    assert content["parameters"]["clebsch"] > 0


def test_build_without_its_peer(nowhere) -> None:
    content = build.run(Settings(quick=True, threads=1), TINY, rounds=1)
    assert content["build/construct"]["ours_s"] > 0
    assert content["build/construct"]["met"] in (True, False)
    assert "pip install nequip" in content["build/construct"]["not_measured"]
    imports = content["build/import/clebsch.models"]
    assert imports["above_torch_s"] == pytest.approx(
        imports["ours_s"] - imports["peer_s"], abs=1e-2
    )


@pytest.mark.slow
@pytest.mark.skipif(not has_nequip, reason="nequip is not installed")
def test_model_beside_nequip(tmp_path: Path) -> None:
    content = model.run(Settings(quick=True, threads=1), TINY, compiled_folder=tmp_path)
    assert content["model/si8/energy+forces"]["ratio"] > 0
    assert content["model/si8/training_step"]["ratio"] > 0
    late = content["model/si8/energy+forces_vs_compiled"]
    assert "compiling takes longer than --quick" in late["not_measured"]


def test_no_time_left_is_said_and_ends_the_worker() -> None:
    with Worker([SIDES / "ours_operator.py"], 1, Clock(0.05)) as worker:
        with pytest.raises(NotMeasured, match="no time left"):
            worker.ask("versions", side=0)
        with pytest.raises(NotMeasured):
            worker.ask("versions", side=0)
    content = operator.run(Settings(quick=True, threads=1, clock=Clock(0.0)))
    assert all(e["ours_ms"] is None for k, e in content.items() if k.endswith("/forward"))


def test_a_side_that_fails_is_reported_not_raised() -> None:
    with Worker([SIDES / "ours_operator.py"], 1, Clock()) as worker:
        with pytest.raises(NotMeasured, match="KeyError"):
            worker.ask("prepare", side=0, case={})
        assert worker.alive


def test_result_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    content = {"operator/x": {"ours_ms": 1.0}, "machine": result.surroundings(1, "2.0", True)}
    monkeypatch.setattr(operator, "run", lambda settings: content)
    run("operator", Settings(), tmp_path)
    assert json.loads((tmp_path / "operator.json").read_text()) == content
    before = (tmp_path / "operator.json").read_bytes()
    content["operator/y"] = {"ours_ms": object()}
    with pytest.raises(TypeError):
        run("operator", Settings(), tmp_path)
    assert (tmp_path / "operator.json").read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"operator.json", "operator.png"}
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        result.write(tmp_path / "file" / "operator.json", {})


def test_bars_are_judged() -> None:
    key = "operator/l2/c64/forward"
    assert result.comparison(key, "e3nn", [0.001], [0.061])["met"] is True
    assert result.comparison(key, "e3nn", [0.001], [0.059])["met"] is False
    assert result.comparison(key, "e3nn", [0.001], NotMeasured("late"))["met"] is None
    entry = result.with_seconds_bar("build/construct", {}, 0.3)
    assert entry == {"bar_s": 0.2, "met": False}


def test_notes_name_what_is_missing_once() -> None:
    late = NotMeasured("no time left")
    content = {
        f"operator/{case}": result.comparison(case, "e3nn", [1.0], late) for case in ("a", "b")
    }
    content["machine"] = result.surroundings(1, "2.0", True)
    lines = report.notes("operator", content)
    assert "not measured, e3nn: no time left: a, b" in lines


def test_unknown_name() -> None:
    with pytest.raises(UserError, match="did you mean model"):
        check_name("modell")


@pytest.mark.slow
def test_framework_measures_both_sides_and_they_agree(tmp_path: Path) -> None:
    cases = [
        "framework/product130/build",
        "framework/elasticity/warm",
        "framework/wigner_D/l8/n10000/float64",
        "framework/harmonics/l8/n100000/forward+backward",
    ]
    content = framework.run(Settings(quick=True, threads=1), cases, n=100)
    for key in cases:
        entry = content[key]
        assert entry["ratio"] is not None, entry
        assert entry["peer"].startswith("e3nn 0.6")
    assert content["framework/product130/build"]["bar_s"] == 0.1
    assert set(content["agreement"]) == {"wigner_D", "harmonics"}
    assert max(content["agreement"].values()) < 1e-10
    assert report.table("framework", content).row_count == len(cases)
    report.draw("framework", content, tmp_path / "framework.png")


def test_framework_starts_with_its_bars_and_names_every_case() -> None:
    names = framework.names()
    bars = [key for key in result.RATIO_BARS | result.SECONDS_BARS if key.startswith("framework/")]
    assert set(names[: len(bars)]) == set(bars)
    assert len(names) == len(framework.COLD) + len(framework.STEADY)
    with pytest.raises(UserError, match="no case contains cubes"):
        framework.run(Settings(quick=True, only=("cubes",)))


def test_framework_without_its_peer(nowhere) -> None:
    content = framework.run(Settings(quick=True, threads=1), ["framework/cube/cold"])
    entry = content["framework/cube/cold"]
    assert entry["ours_s"] > 0
    assert entry["peer_s"] is entry["ratio"] is None
    assert "e3nn is not installed (pip install e3nn==0.6.0)" in entry["not_measured"]
    assert "agreement" not in content
