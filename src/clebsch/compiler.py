"""Building C++ kernels once with the system's compiler, and keeping them on disk."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path

from clebsch.errors import UserError

FLAGS = (
    "-O3",
    "-march=native",
    "-mprefer-vector-width=512",
    # Not -ffast-math: linked in, it would flush denormals in the whole process.
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-ffp-contract=fast",
    "-fopenmp",
    "-shared",
    "-fPIC",
    "-std=c++17",
)


class NoCompiler(UserError):
    """Kernels cannot be built here; the message says why."""


def cache_folder() -> Path:
    """Where kernels are kept: ``$CLEBSCH_CACHE``, else the user's cache folder."""
    if "CLEBSCH_CACHE" in os.environ:
        return Path(os.environ["CLEBSCH_CACHE"]) / "kernels"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "clebsch" / "kernels"


@cache
def compiler() -> str:
    """Path of the C++ compiler: ``$CXX``, else g++, else c++.

    Raises:
        NoCompiler: there is none.
    """
    for name in (os.environ.get("CXX"), "g++", "c++"):
        if name and (found := shutil.which(name)):
            return found
    raise NoCompiler("there is no C++ compiler; install g++")


@cache
def _host() -> str:
    """The compiler and the instruction set: a kernel built elsewhere is not used here."""
    version = subprocess.run(
        [compiler(), "-dumpfullversion"], capture_output=True, text=True, check=False
    ).stdout
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return f"{compiler()} {version} {cpu}"


def load(code: str) -> ctypes.CDLL:
    """The shared library of ``code``, from the cache or built now.

    Several processes may build the same code at once: each builds a file of its own and moves
    it into place. A damaged file is built again.

    Raises:
        NoCompiler: no compiler, a compiler that fails, or nowhere to write.
    """
    key = hashlib.sha256("\n".join([code, *FLAGS, _host()]).encode()).hexdigest()[:32]
    library = cache_folder() / f"{key}.so"
    if not _intact(library):
        _build(code, library)
    return ctypes.CDLL(str(library))


def _intact(library: Path) -> bool:
    """Whether the file is there and is what the compiler wrote (a cut one would crash)."""
    try:
        digest = hashlib.sha256(library.read_bytes()).hexdigest()
        return library.with_suffix(".sha256").read_text(encoding="ascii") == digest
    except (OSError, UnicodeDecodeError):
        return False


def _build(code: str, library: Path) -> None:
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            written, built = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
            written.write_text(code, encoding="ascii")
            run = subprocess.run(
                [compiler(), *FLAGS, str(written), "-o", str(built)],
                capture_output=True,
                text=True,
                check=False,
            )
            if run.returncode:
                lines = (run.stderr.strip() or "no message").splitlines()
                first = next((line for line in lines if "error" in line), lines[0])
                raise NoCompiler(f"{compiler()} failed ({first})")
            digest = built.with_suffix(".sha256")
            digest.write_text(hashlib.sha256(built.read_bytes()).hexdigest(), encoding="ascii")
            os.replace(built, library)
            os.replace(digest, library.with_suffix(".sha256"))
    except OSError as error:
        raise NoCompiler(_unwritable(library.parent, error)) from error


PROBE = """\
typedef float V __attribute__((vector_size(16)));
extern "C" int probe() { V v{}; v = 2.0f * v + v; return v[0] == 0.0f; }
"""


@cache
def usable() -> bool:
    """Whether kernels can be built and kept here; one warning says why not."""
    try:
        load(PROBE)
        with tempfile.TemporaryFile(dir=cache_folder()):
            pass
    except NoCompiler as error:
        warn_once(str(error))
    except OSError as error:
        warn_once(_unwritable(cache_folder(), error))
    else:
        return True
    return False


def _unwritable(folder: Path, error: OSError) -> str:
    return f"{folder} cannot be written ({error.strerror}); set CLEBSCH_CACHE to a folder that can"


@cache
def warn_once(reason: str) -> None:
    """Say that the slow reference is used, and why, one time."""
    warnings.warn(
        f"clebsch computes without its fast CPU kernels: {reason}.", RuntimeWarning, stacklevel=2
    )
