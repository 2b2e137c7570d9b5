"""benchmarks/gpu.py runs from end to end in Triton's interpreter, and says what it lacks."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_gpu_one_sentence(tmp_path):
    done = run("--out", str(tmp_path), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert done.stderr.startswith("error: torch sees no GPU here; --interpret")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("more", [[], ["--tune"]])
def test_interpreted(tmp_path, more):
    done = run("--interpret", "--out", str(tmp_path), *more)
    assert done.returncode == 0, done.stderr
    page, data = sorted(tmp_path.iterdir(), key=lambda path: path.suffix, reverse=True)
    assert "not timings" in page.read_text()
    result = json.loads(data.read_text())
    assert result["interpreter"]
    assert result["correctness"]
    assert all(row["right"] for row in result["correctness"])
    assert result["edges outside are refused"]
    if more:
        assert {row["kernel"] for row in result["tuning"]} >= {"z", "xyw", "xyw along xyw"}
    else:
        assert [row["pass"] for row in result["times"]] == [
            "forward",
            "backward",
            "double backward",
        ]
        assert all("e3nn" in row["ms"] for row in result["times"])
