"""Predicted phonon spectra and thermodynamics as CSV, JSON or HDF5, with units everywhere."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from clebsch.errors import UserError
from clebsch.files import atomic_path
from clebsch.phonons import convert_frequency
from clebsch.phonons.properties import Quantity
from clebsch.vibrations.prediction import Normalisation, PhononPrediction, Spectrum

_CHUNK = 256  # crystals that are written to HDF5 at once
_ONE_NETWORK = "none: the model is one network"
_ENSEMBLE = "standard deviation over the {} networks of the model"


@dataclass(frozen=True)
class PhononOutput:
    """What is written of every prediction.

    Attributes:
        temperatures: K, of the thermodynamics.
        unit: of frequencies, ``"cm^-1"``, ``"THz"`` or ``"meV"``.
        normalise: the integral of a spectrum is ``"3N"`` or ``"1"``, or its ``"maximum"`` is 1.
        model: what the file says of the model.
    """

    temperatures: tuple[float, ...] = (300.0,)
    unit: str = "cm^-1"
    normalise: Normalisation = "3N"
    model: str = ""


def write_phonons(
    predictions: Iterable[PhononPrediction],
    path: str | os.PathLike[str],
    output: PhononOutput | None = None,
) -> int:
    """Write predictions to a file whose suffix says the format; returns how many.

    ``.csv``: a row per crystal, each column with its unit in the name; ``.json``, ``.h5``: also
    the part of each element. Energies stay in the units of their names, frequencies and spectra
    are in ``output.unit``. The file appears when it is whole; memory does not grow with it.

    Raises:
        UserError: another suffix, no prediction at all, an unknown unit.
    """
    target = Path(path)
    write = _writer(target)
    remaining = iter(predictions)
    first = next(remaining, None)
    if first is None:
        raise UserError(f"{target}: there is no crystal to write; give structures.")
    with atomic_path(target) as temporary:
        return write(itertools.chain([first], remaining), temporary, output or PhononOutput())


def check_phonon_suffix(path: str | os.PathLike[str]) -> None:
    """Raise UserError if predictions of phonons cannot be written to a file of this name."""
    _writer(Path(path))


Writer = Callable[[Iterator[PhononPrediction], Path, PhononOutput], int]


def _writer(path: Path) -> Writer:
    writers: dict[str, Writer] = {
        ".csv": _write_csv,
        ".json": _write_json,
        ".h5": _write_hdf5,
        ".hdf5": _write_hdf5,
    }
    if path.suffix.lower() not in writers:
        raise UserError(
            f"{path}: phonon spectra are written as {', '.join(writers)}; choose one of these."
        )
    return writers[path.suffix.lower()]


def _facts(prediction: PhononPrediction) -> dict[str, Any]:
    atoms = prediction.atoms
    return {
        "name": prediction.name,
        "where": prediction.where,
        "formula": atoms.get_chemical_formula("metal"),
        "n_atoms": len(atoms),
        "mass_u": float(atoms.get_masses().sum()),
    }


def _quantities(prediction: PhononPrediction, output: PhononOutput) -> list[Quantity]:
    """All figures, frequencies in the unit that is asked for."""
    found = []
    for quantity in prediction.thermodynamics(output.temperatures).quantities():
        if quantity.unit == "cm^-1" and output.unit != "cm^-1":
            factor = float(convert_frequency(1.0, "cm^-1", output.unit))
            quantity = Quantity(
                quantity.column.replace("cm1", output.unit),
                quantity.value * factor,
                None if quantity.std is None else quantity.std * factor,
                output.unit,
            )
        found.append(quantity)
    return found


def _written(unit: str) -> str:
    """A unit as part of a column's name."""
    return unit.replace("^-1", "1")


def _beyond(prediction: PhononPrediction, output: PhononOutput) -> str:
    """Name of the states above the grid."""
    end = float(convert_frequency(prediction.grid.edges[-1], "cm^-1", output.unit))
    return f"states_above_{end:.6g}_{_written(output.unit)}"


def _write_csv(predictions: Iterator[PhononPrediction], path: Path, output: PhononOutput) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        for count, prediction in enumerate(predictions, 1):
            facts = _facts(prediction)
            quantities = _quantities(prediction, output)
            spectrum = prediction.spectrum(output.unit, output.normalise)
            if count == 1:
                writer.writerow(_csv_header(prediction, facts, quantities, spectrum, output))
            row: list[Any] = list(facts.values())
            for quantity in quantities:
                row.append(_digits(quantity.value))
                if quantity.std is not None:
                    row.append(_digits(quantity.std))
            row += map(_digits, spectrum.total.tolist())
            row.append(_digits(float(prediction.states[-1])))
            if spectrum.std is not None:
                row += map(_digits, spectrum.std.tolist())
            writer.writerow(row)
    return count


def _csv_header(
    prediction: PhononPrediction,
    facts: dict[str, Any],
    quantities: list[Quantity],
    spectrum: Spectrum,
    output: PhononOutput,
) -> list[str]:
    names = list(facts)
    for quantity in quantities:
        names.append(quantity.column)
        if quantity.std is not None:
            names.append(f"{quantity.column}_std")
    unit = _written(output.unit)
    density = {"3N": f"states_per_{unit}", "1": f"per_{unit}", "maximum": "of_maximum"}
    bins = [f"dos_at_{w:.6g}_{unit}_{density[output.normalise]}" for w in spectrum.frequencies]
    names += [*bins, _beyond(prediction, output)]
    if spectrum.std is not None:
        names += [f"{name}_std" for name in bins]
    return names


def _digits(value: float) -> str:
    return f"{value:.9g}"


def _header(
    prediction: PhononPrediction, spectrum: Spectrum, output: PhononOutput
) -> dict[str, Any]:
    """What is common to all crystals of a file."""
    uncertainty = _ENSEMBLE.format(prediction.members) if prediction.members > 1 else _ONE_NETWORK
    widths = convert_frequency(prediction.widths, "cm^-1", output.unit)
    return {
        "model": output.model,
        "uncertainty": uncertainty,
        "temperatures_K": list(output.temperatures),
        "frequency_unit": output.unit,
        "dos_unit": spectrum.density_unit,
        "dos_normalised_to": output.normalise,
        "frequencies": spectrum.frequencies.tolist(),
        "bin_widths": widths.tolist(),
        "grid_end": float(convert_frequency(prediction.grid.edges[-1], "cm^-1", output.unit)),
    }


def _write_json(predictions: Iterator[PhononPrediction], path: Path, output: PhononOutput) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as handle:
        for count, prediction in enumerate(predictions, 1):
            spectrum = prediction.spectrum(output.unit, output.normalise)
            if count == 1:
                for name, value in _header(prediction, spectrum, output).items():
                    handle.write(
                        f'{"{" if name == "model" else ","}\n"{name}": {json.dumps(value)}'
                    )
                handle.write(',\n"crystals": [')
            record = _facts(prediction)
            for quantity in _quantities(prediction, output):
                record[quantity.column] = quantity.value
                if quantity.std is not None:
                    record[f"{quantity.column}_std"] = quantity.std
            record["states_above_grid"] = float(prediction.states[-1])
            record["dos"] = _rounded(spectrum.total)
            if spectrum.std is not None:
                record["dos_std"] = _rounded(spectrum.std)
            record["partial_dos"] = {s: _rounded(g) for s, g in spectrum.elements.items()}
            handle.write(("," if count > 1 else "") + "\n" + json.dumps(record))
        handle.write("\n]}\n")
    return count


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.9g}") for value in values.tolist()]


def _write_hdf5(predictions: Iterator[PhononPrediction], path: Path, output: PhononOutput) -> int:
    count = 0
    with h5py.File(path, "w") as file:
        while chunk := list(itertools.islice(predictions, _CHUNK)):
            if count == 0:
                spectrum = chunk[0].spectrum(output.unit, output.normalise)
                header = _header(chunk[0], spectrum, output)
                for name in ("frequencies", "bin_widths"):
                    file[name] = np.array(header.pop(name))
                    file[name].attrs["unit"] = output.unit
                file.attrs.update(header)
            _append_chunk(file, chunk, count, output)
            count += len(chunk)
    return count


def _append_chunk(
    file: Any, chunk: list[PhononPrediction], before: int, output: PhononOutput
) -> None:
    facts = [_facts(p) for p in chunk]
    for name in ("name", "where", "formula"):
        _append(file, name, [f[name] for f in facts])
    _append(file, "n_atoms", np.array([f["n_atoms"] for f in facts]))
    _append(file, "mass", np.array([f["mass_u"] for f in facts]), "u")
    spectra = [p.spectrum(output.unit, output.normalise) for p in chunk]
    density = spectra[0].density_unit
    _append(file, "dos", np.stack([s.total for s in spectra]), density)
    _append(file, "states_above_grid", np.array([p.states[-1] for p in chunk]), "states")
    if spectra[0].std is not None:
        _append(file, "dos_std", np.stack([s.std for s in spectra if s.std is not None]), density)
    parts = [
        (before + i, symbol, g)
        for i, spectrum in enumerate(spectra)
        for symbol, g in spectrum.elements.items()
    ]
    _append(file, "partial/crystal", np.array([i for i, _, _ in parts]))
    _append(file, "partial/element", [symbol for _, symbol, _ in parts])
    _append(file, "partial/dos", np.stack([g for _, _, g in parts]), density)
    columns = list(zip(*(_quantities(p, output) for p in chunk), strict=True))
    for column in columns:
        name, unit = f"thermodynamics/{column[0].column}", column[0].unit
        _append(file, name, np.array([q.value for q in column]), unit)
        if column[0].std is not None:
            _append(file, f"{name}_std", np.array([q.std for q in column]), unit)


def _append(file: Any, name: str, values: Any, unit: str | None = None) -> None:
    """Rows at the end of a data set, which is made with the first of them."""
    if name not in file:
        text = isinstance(values, list)
        file.create_dataset(
            name,
            shape=(0, *np.shape(values)[1:]),
            maxshape=(None, *np.shape(values)[1:]),
            dtype=h5py.string_dtype() if text else values.dtype,
            compression="gzip" if np.ndim(values) > 1 else None,
        )
        if unit is not None:
            file[name].attrs["unit"] = unit
    data = file[name]
    data.resize(len(data) + len(values), axis=0)
    data[-len(values) :] = values
