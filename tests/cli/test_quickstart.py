"""The main job, shortened: every step and every file, and what a second call does."""

import json

import pytest
from typer.testing import CliRunner

from clebsch import load
from clebsch.cli import app
from clebsch.cli.quickstart import quickstart_command


def test_no_time_is_no_run(tmp_path):
    for option in ("--minutes", "--md-ps"):
        done = CliRunner().invoke(app, ["quickstart", option, "-1", "--out", str(tmp_path / "run")])
        assert done.exit_code == 2
        assert f"'{option}'" in done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_quickstart_leaves_everything_and_can_be_repeated(tmp_path, capsys):
    out = tmp_path / "quickstart"
    quickstart_command(out, minutes=0.1, md_ps=0.05, quiet=True)
    first = capsys.readouterr().out
    metrics = json.loads((out / "metrics.json").read_text())
    for key in (
        "test_forces_mae_meV_per_A",
        "test_energy_mae_meV_per_atom",
        "nve_drift_meV_per_atom_ps",
        "wall_s",
    ):
        assert isinstance(metrics[key], float), key
    assert metrics["nve_drift_meV_per_atom_ps"] != 0.0  # a molecule moved
    report = (out / "report.html").read_text()
    assert "Molecular dynamics" in report
    assert "Held-out" in first
    assert 'src="http' not in report
    assert load(out / "model.clebsch").species == ["H", "C", "O"]

    before = (out / "metrics.json").stat().st_mtime_ns
    quickstart_command(out, minutes=0.1, md_ps=0.05, quiet=True)
    again = capsys.readouterr().out
    assert "Step 1" not in again
    assert str(out / "report.html") in again
    assert (out / "metrics.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_an_interrupted_quickstart_goes_on(tmp_path, capsys, monkeypatch):
    """The training is done, the dynamics are not: only they are run."""
    import clebsch.cli.quickstart as module

    out = tmp_path / "quickstart"
    with monkeypatch.context() as patch:
        patch.setattr(module, "_dynamics", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            quickstart_command(out, minutes=0.05, md_ps=0.02, quiet=True)
    history = (out / "metrics.csv").read_text()
    quickstart_command(out, minutes=0.05, md_ps=0.02, quiet=True)
    assert (out / "metrics.csv").read_text() == history
    assert "nve_drift_meV_per_atom_ps" in json.loads((out / "metrics.json").read_text())
