"""``clebsch bench``: options, exit codes, output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import clebsch.cli as cli
from clebsch.bench import operator, settings


def clebsch(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clebsch.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [("modell",), ("operator", "--fast"), ("operator", "--threads", "many"), ()],
)
def test_wrong_use_exits_with_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = clebsch("bench", *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Run ``clebsch bench operator`` on one small case; returns the exit code."""
    short = partial(operator.run, chosen=[(1, 2, "forward")], sizes={"atoms": 5, "edges": 20})
    monkeypatch.setattr(operator, "run", short)
    monkeypatch.setattr(settings, "QUICK_SECONDS", 1e6)  # a busy machine is no failure
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["clebsch", "bench", "operator", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0)

    return call


def test_json_alone_on_standard_output(bench, capsys, tmp_path: Path) -> None:
    assert bench("--json", "--quick", "--threads", "1") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["operator/l1/c2/forward"]["ours_ms"] > 0
    assert content["machine"]["quick"] is True
    written = tmp_path / "results" / "bench"
    assert json.loads((written / "operator.json").read_text()) == content
    assert {p.name for p in written.iterdir()} == {"operator.json", "operator.png"}


def test_a_case_that_is_not_there_is_refused(bench, capsys, tmp_path: Path) -> None:
    assert bench("--quick", "--case", "l9/c3") == 2
    assert "no case contains l9/c3" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_table_in_one_process(bench, capsys, tmp_path: Path) -> None:
    assert bench("--quick", "--same-process", "--threads", "1", "--out", "here") == 0
    assert "l1/c2/forward" in capsys.readouterr().out  # the common beginning is cut
    assert (tmp_path / "here" / "operator.json").exists()
