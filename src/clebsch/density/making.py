"""Many reference densities: worker processes, kept results, one file at the end.

Each finished molecule is a file of its own in the folder ``OUT.parts`` at once, so that nothing is
computed twice after an interruption; the data set is written as a whole from these, by replacing
the old file.
"""

from __future__ import annotations

import importlib.metadata
import json
import multiprocessing
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch
from ase import Atoms
from ase.data import chemical_symbols

from clebsch.density.basis import AuxiliaryBasis
from clebsch.density.data import (
    DensityDataset,
    DensityRecord,
    SampledDensity,
    read_density,
    structure_key,
    write_density,
)
from clebsch.density.free_atoms import free_atom
from clebsch.density.level import Level
from clebsch.density.molecule import import_pyscf
from clebsch.density.reference import check_structure, compute_reference
from clebsch.errors import UserError
from clebsch.files import atomic_path, write_text
from clebsch.structures.dataset import Dataset

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_GROWTH = 2.65  # exponent of the time in the number of electrons, measured on water clusters


@dataclass(frozen=True)
class Made:
    """What `make_data` did.

    Attributes:
        data: the data set as it was written.
        computed: how many molecules were computed now.
        kept: how many were there before.
        failed: (where, reason) of molecules that are left out.
    """

    data: DensityDataset
    computed: int
    kept: int
    failed: list[tuple[str, str]]


@dataclass(frozen=True)
class Progress:
    """How far `make_data` is; ``done`` and ``total`` are estimates of work, not counts."""

    done: float
    total: float
    finished: int
    molecules: int
    failed: int


@dataclass(frozen=True)
class _Job:
    numbers: npt.NDArray[np.int64]
    positions: npt.NDArray[np.float64]
    where: str
    split: str

    @property
    def key(self) -> str:
        return structure_key(self.numbers, self.positions)

    @property
    def cost(self) -> float:
        return float(max(10, self.numbers.sum())) ** _GROWTH


def make_data(
    structures: Dataset | Sequence[Atoms],
    out: str | os.PathLike[str],
    level: Level | None = None,
    workers: int = 1,
    keep_grid: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Made:
    """Compute and fit the densities of structures, and write them to an HDF5 file.

    What the file, or the folder ``OUT.parts`` of an interrupted run, already has of the same level
    is kept; other molecules in the file stay there. ``info["split"]`` of a structure becomes the
    record's. Molecules whose SCF does not converge are
    left out and reported.

    Args:
        structures: neutral closed-shell molecules.
        out: ``.h5`` file to make or to add to.
        level: of theory; default PBE0/def2-TZVP.
        workers: processes, of one thread each.
        keep_grid: keep the Kohn-Sham density on a coarse grid too (some 5000 points per atom).
        on_progress: called at the start and after each molecule.

    Raises:
        UserError: a structure that cannot be treated, an unknown basis or functional, a file of
            another level or basis, PySCF missing, a worker that died.
    """
    level = level or Level()
    target = Path(out).expanduser()
    if workers < 1:
        raise UserError(f"the number of workers must be at least 1, not {workers}")
    jobs, order = _jobs(structures)
    elements = sorted({int(z) for job in jobs.values() for z in job.numbers})
    level.check(elements)
    basis = AuxiliaryBasis.from_pyscf(elements, level.aux)
    old = _existing(target, level, basis)
    if old is not None:
        basis = AuxiliaryBasis(level.aux, {**old.basis.exponents, **basis.exponents})
    parts = _Parts(target.with_name(f"{target.name}.parts"), level)
    records = {} if old is None else {r.key: r for r in old.records}
    free = {} if old is None else dict(old.free_atoms)
    for key in order:
        if key not in records and (record := parts.record(key)) is not None:
            records[key] = record
    for key in order:
        if key in records and jobs[key].split:
            records[key] = replace(records[key], split=jobs[key].split)
    for z in elements:
        if z not in free and (values := parts.atom(z)) is not None:
            free[z] = values
    kept = sum(key in records for key in order)
    failed: list[tuple[str, str]] = []
    missing = [jobs[key] for key in order if key not in records]
    missing.sort(key=lambda job: -job.cost)  # the longest first, so that none is left at the end
    progress = Progress(0.0, sum(job.cost for job in missing), kept, len(order), 0)
    if on_progress:
        on_progress(progress)
    atoms = [z for z in elements if z not in free]
    try:
        for task, result in _run(missing, atoms, level, basis, workers, keep_grid):
            if isinstance(task, int):
                if isinstance(result, str):
                    raise UserError(
                        f"{chemical_symbols[task]}: {result}, so that there is nothing to subtract;"
                        " choose another orbital basis or functional."
                    )
                free[task] = torch.from_numpy(result)
                parts.keep_atom(task, result)
                continue
            if isinstance(result, str):
                failed.append((task.where, result))
            else:
                records[task.key] = replace(result, source=task.where, split=task.split)
                parts.keep(records[task.key])
            progress = replace(
                progress,
                done=progress.done + task.cost,
                finished=sum(key in records for key in order),
                failed=len(failed),
            )
            if on_progress:
                on_progress(progress)
    finally:
        # an interrupted run leaves a whole file as well, and the parts for the next one
        before = {} if old is None else {r.key: r.split for r in old.records}
        keys = [*before, *(k for k in order if k in records and k not in before)]
        data = DensityDataset(
            str(target), basis, json.loads(level.to_json()), [records[k] for k in keys], free,
            _versions(),
        )  # fmt: skip
        if {k: records[k].split for k in keys} != before:
            write_density(data, target)
    if not keys:
        reasons = "; ".join(f"{where}: {why}" for where, why in failed[:3])
        raise UserError(f"{target}: not written, as no molecule could be computed ({reasons}).")
    parts.remove()
    return Made(data, len(missing) - len(failed), kept, failed)


def _jobs(structures: Dataset | Sequence[Atoms]) -> tuple[dict[str, _Job], list[str]]:
    """The structures by key, and their order without repetitions."""
    if len(structures) == 0:
        raise UserError("there are no structures to compute densities of.")
    jobs: dict[str, _Job] = {}
    for i in range(len(structures)):
        atoms = structures[i]
        where = structures.where(i) if isinstance(structures, Dataset) else f"structure {i}"
        check_structure(atoms, where)
        split = str(atoms.info.get("split", ""))
        job = _Job(atoms.numbers.astype(np.int64), atoms.positions.copy(), where, split)
        jobs.setdefault(job.key, job)
    return jobs, list(jobs)


def _existing(target: Path, level: Level, basis: AuxiliaryBasis) -> DensityDataset | None:
    """The data set that is there, made sure that it can be added to."""
    if target.suffix not in (".h5", ".hdf5"):
        raise UserError(f"{target}: the data set is an HDF5 file; let its name end with .h5.")
    if not target.exists():
        return None
    old = read_density(target)
    level.check_same(Level.from_json(json.dumps(dict(old.level))), str(target))
    common = [z for z in basis.elements if z in old.basis.exponents]
    if common:
        basis.restricted(np.array(common)).check_same(
            old.basis.restricted(np.array(common)), str(target)
        )
    return old


class _Parts:
    """The folder of finished molecules of a run that is not."""

    def __init__(self, folder: Path, level: Level) -> None:
        self.folder = folder
        note = folder / "level.json"
        if note.exists():
            level.check_same(Level.from_json(note.read_text()), str(folder))
            return
        write_text(note, level.to_json() + "\n")

    def keep(self, record: DensityRecord) -> None:
        plain = {
            f.name: getattr(record, f.name)
            for f in fields(record)
            if f.name not in ("grid", "split", "cell")
        }
        if record.grid is not None:
            for name in ("points", "weights", "density"):
                plain[f"grid_{name}"] = getattr(record.grid, name).astype(np.float32)
        self._save(record.key, plain)

    def keep_atom(self, z: int, values: npt.NDArray[np.float64]) -> None:
        self._save(chemical_symbols[z], {"coefficients": values})

    def record(self, key: str) -> DensityRecord | None:
        found = self._load(key)
        if found is None:
            return None
        grid = None
        if "grid_points" in found:
            names = ("grid_points", "grid_weights", "grid_density")
            grid = SampledDensity(*(found.pop(name).astype(np.float64) for name in names))
        plain: dict[str, Any] = {k: v.item() if v.ndim == 0 else v for k, v in found.items()}
        return DensityRecord(**plain, grid=grid)

    def atom(self, z: int) -> torch.Tensor | None:
        found = self._load(chemical_symbols[z])
        return None if found is None else torch.from_numpy(found["coefficients"])

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _save(self, name: str, arrays: dict[str, Any]) -> None:
        with atomic_path(self.folder / f"{name}.npz") as temporary:
            np.savez(temporary, **arrays)

    def _load(self, name: str) -> dict[str, npt.NDArray[Any]] | None:
        path = self.folder / f"{name}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}


def _run(
    jobs: list[_Job],
    atoms: list[int],
    level: Level,
    basis: AuxiliaryBasis,
    workers: int,
    keep_grid: bool,
) -> Iterator[tuple[_Job | int, Any]]:
    """(task, result or the reason why there is none) as they finish; a task is a job or an atom."""
    if not jobs and not atoms:
        return
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with _one_thread_each():
        pool = ProcessPoolExecutor(min(workers, len(jobs) + len(atoms)), mp_context=context)
        try:
            tasks: dict[Future[Any], _Job | int] = {
                pool.submit(_atom, z, level, basis): z for z in atoms
            }
            tasks |= {pool.submit(_molecule, job, level, basis, keep_grid): job for job in jobs}
            for future in as_completed(tasks):
                yield tasks[future], future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process died, most likely for want of memory; what is finished is kept: "
                "run again with fewer --workers."
            ) from error
        except BaseException:
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _molecule(job: _Job, level: Level, basis: AuxiliaryBasis, keep_grid: bool) -> Any:
    torch.set_num_threads(1)
    try:
        return compute_reference(job.numbers, job.positions, level, basis, keep_grid)
    except (ValueError, RuntimeError, np.linalg.LinAlgError, MemoryError) as error:
        return str(error) or type(error).__name__


def _atom(z: int, level: Level, basis: AuxiliaryBasis) -> Any:
    torch.set_num_threads(1)
    try:
        return free_atom(z, level, basis).numpy()
    except (ValueError, RuntimeError, np.linalg.LinAlgError) as error:
        return str(error) or type(error).__name__


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile use one thread."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _versions() -> dict[str, str]:
    return {
        "clebsch": importlib.metadata.version("clebsch"),
        "pyscf": import_pyscf().__version__,
        "numpy": np.__version__,
        "h5py": h5py.__version__,
        "python": platform.python_version(),
    }
