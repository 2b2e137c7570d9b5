"""Density archives of NumPy: arrays over molecules, coefficients in the order m = -l..l.

Fields: ``numbers``, ``positions`` (Å), ``atom_ptr``; ``coefficients`` (atomic units), ``coef_ptr``;
``energy`` (eV), ``forces``, ``dipole`` (e Å); ``basis_X_l`` and ``basis_X_exponent`` for each
element X, shells by l, then falling exponent; if there ``atom_X``, the free atom, ``split``,
``fit_error``, ``free_electrons``, ``seconds``, ``meta`` (JSON) and ``grid_*``.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ase.data import atomic_numbers

from clebsch.density.basis import AuxiliaryBasis
from clebsch.density.data import DensityDataset, DensityRecord, SampledDensity
from clebsch.density.order import from_quantum_chemistry
from clebsch.errors import UserError


def read_density_npz(path: Path) -> DensityDataset:
    """Read such an archive.

    Raises:
        UserError: broken, or fields are missing or do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            fields: dict[str, Any] = {name: archive[name] for name in archive.files}
        return _dataset(path, fields)
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        if isinstance(error, UserError):
            raise UserError(f"{path}: {error}") from error
        raise UserError(f"{path}: is no archive of densities, or broken ({error}).") from error


def _dataset(path: Path, fields: dict[str, Any]) -> DensityDataset:
    meta = json.loads(str(fields["meta"])) if "meta" in fields else {}
    basis = _basis(meta, fields)
    n = len(fields["atom_ptr"]) - 1
    grids = _grids(fields)
    seconds = fields.get("seconds", np.full((n, 3), np.nan))
    records = []
    for i in range(n):
        first, last = fields["atom_ptr"][i : i + 2]
        numbers = fields["numbers"][first:last].astype(np.int64)
        c = fields["coefficients"][fields["coef_ptr"][first] : fields["coef_ptr"][last]]
        records.append(
            DensityRecord(
                numbers=numbers,
                positions=fields["positions"][first:last].astype(np.float64),
                coefficients=_ours(c, basis, numbers),
                energy=float(fields["energy"][i]),
                forces=fields["forces"][first:last].astype(np.float64),
                dipole=fields["dipole"][i].astype(np.float64),
                fit_error_percent=100 * float(_or_nan(fields, "fit_error", n)[i]),
                free_electrons=float(_or_nan(fields, "free_electrons", n)[i]),
                scf_seconds=float(seconds[i][0]),
                seconds=float(seconds[i][-1]),
                source=f"{path}, molecule {i}",
                split=str(fields["split"][i]) if "split" in fields else "",
                grid=grids.get(i),
            )
        )
    free = {
        z: torch.from_numpy(_ours(fields[f"atom_{symbol}"], basis, np.array([z])))
        for symbol, z in atomic_numbers.items()
        if f"atom_{symbol}" in fields
    }
    level = {k: meta[k] for k in ("xc", "basis", "metric") if k in meta} | {"aux": basis.name}
    versions = {k: str(meta[k]) for k in ("pyscf", "numpy", "python") if k in meta}
    return DensityDataset(str(path), basis, level, records, free, versions)


def _basis(meta: dict[str, Any], fields: dict[str, Any]) -> AuxiliaryBasis:
    exponents = {}
    for symbol, z in atomic_numbers.items():
        if f"basis_{symbol}_l" in fields:
            l, a = fields[f"basis_{symbol}_l"], fields[f"basis_{symbol}_exponent"]
            if (np.diff(l) < 0).any():
                raise UserError(f"the shells of {symbol} are not in the order of l.")
            exponents[z] = tuple(tuple(a[l == degree].tolist()) for degree in range(l.max() + 1))
    name = str(meta.get("aux", "unnamed")).removesuffix(" (decontracted)")
    return AuxiliaryBasis(name, exponents)


def _ours(
    c: npt.NDArray[np.float64], basis: AuxiliaryBasis, numbers: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    given = torch.from_numpy(np.asarray(c, dtype=np.float64))
    return from_quantum_chemistry(given, basis, numbers, "m").numpy()


def _or_nan(fields: dict[str, Any], name: str, n: int) -> npt.NDArray[np.float64]:
    return fields.get(name, np.full(n, np.nan))


def _grids(fields: dict[str, Any]) -> dict[int, SampledDensity]:
    if "grid_cluster" not in fields:
        return {}
    found = {}
    for j, molecule in enumerate(fields["grid_cluster"].tolist()):
        part = slice(*fields["grid_ptr"][j : j + 2])
        found[molecule] = SampledDensity(
            *(
                fields[f"grid_{n}"][part].astype(np.float64)
                for n in ("points", "weights", "density")
            )
        )
    return found
