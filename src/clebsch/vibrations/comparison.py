"""Two ways to a phonon density of states, direct network and potential, against a reference."""

from __future__ import annotations

import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator as ASECalculator
from numpy.typing import NDArray

from clebsch import __version__, machine
from clebsch.errors import UserError
from clebsch.files import write_text
from clebsch.models import PhononDosModel
from clebsch.phonons import FrequencyGrid, PhononDos, published_target
from clebsch.phonons.dataset import PhononDataset
from clebsch.train.dos_metrics import DosPredictions, dos_metrics
from clebsch.vibrations.crystals import Crystal
from clebsch.vibrations.displacement_output import file_names
from clebsch.vibrations.finite_displacements import DisplacementSettings, finite_displacements
from clebsch.vibrations.prediction import PhononPrediction, predict_phonons

Array = NDArray[np.float64]

GRID = FrequencyGrid(0.0, 1000.0, 20.0)
#: What is compared, by name.
MEASURES = {
    "dos_mae": "mean of |g - g_DFPT| over 51 values at 0, 20, ..., 1000 cm^-1, each with maximum 1",
    "dos_wasserstein_cm1": "1-Wasserstein distance of the 51 values as distributions, cm^-1",
    "mean_frequency_mae_cm1": "|w - w_DFPT|, w = sum(g w) / sum(g) over the 51 values, cm^-1",
    "heat_capacity_mae_J_per_K_mol_atoms": (
        "|C_v - C_v,DFPT| at 300 K of 3 modes per atom shared out as the 51 values, "
        "J/(K mol of atoms)"
    ),
    "heat_capacity_mae_J_per_K_mol": (
        "the same per mol of cells (of atoms for elements), by the trapezoidal rule without the "
        "value at zero, as Chen et al. (2021) define it, J/(K mol)"
    ),
}
TITLES = {0.1: "an easy one", 0.5: "a middling one", 0.9: "a hard one"}
TARGET = (
    "51 values of the curve: Savitzky-Golay smoothing (101 points of 1 cm^-1, order 3), linear "
    "interpolation, negative values cut off, maximum 1 (Chen et al., Adv. Sci. 8, 2004214 (2021))"
)


@dataclass(frozen=True)
class Row:
    """One crystal: what each way says and how far it is from the reference.

    Attributes:
        name, formula, n_atoms: of the crystal.
        reference: (51,) values of the reference, maximum 1.
        values: way -> (51,).
        errors: way -> measure -> error.
        mean_frequencies: cm^-1, of ``reference`` and every way.
        seconds: way -> wall time; ``WAY processor`` -> processor time.
        facts: of the finite displacements.
    """

    name: str
    formula: str
    n_atoms: int
    reference: Array
    values: Mapping[str, Array]
    errors: Mapping[str, Mapping[str, float]]
    mean_frequencies: Mapping[str, float]
    seconds: Mapping[str, float]
    facts: Mapping[str, Any]


def choose_crystals(indices: Sequence[int], number: int | None, seed: int) -> list[int]:
    """The first ``number`` of the indices in a random order; more of them keep the first ones."""
    order = np.random.default_rng(seed).permutation(np.sort(np.asarray(indices, dtype=np.int64)))
    return [int(i) for i in order[:number]]


def compute_by_displacements(
    dataset: PhononDataset,
    indices: Sequence[int],
    calculator: Callable[[], ASECalculator],
    potential: str,
    out: Path,
    settings: DisplacementSettings,
    on_crystal: Callable[[str], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Phonons through a potential, one file for each crystal in ``out/crystals``.

    A crystal whose file is there is not computed again. One that fails (a relaxation that does
    not converge, an element that the potential does not know) is kept with its reason.

    Args:
        dataset, indices: which crystals.
        calculator: called once, when the first crystal must be computed.
        potential: name that is written down.
        out: folder of the comparison.
        settings: of the displacements.
        on_crystal: called with the name of every crystal, before it is computed.

    Raises:
        UserError: the folder holds crystals of another potential or other settings.
    """
    made_by = {"potential": potential, "settings": asdict(settings)}
    engine: ASECalculator | None = None
    found = {}
    for index in indices:
        record = dataset.records[index]
        if on_crystal is not None:
            on_crystal(record.name)
        path = out / "crystals" / f"{file_names([record.name])[0]}.json"
        if path.exists():
            content = _read(path, made_by)
        else:
            engine = engine or calculator()
            content = made_by | {"name": record.name} | _compute(record, engine, settings)
            write_text(path, json.dumps(content))
        found[record.name] = content
    return found


def compare(
    dataset: PhononDataset,
    indices: Sequence[int],
    direct: PhononDosModel,
    computed: Mapping[str, Mapping[str, Any]],
    repeats: int = 3,
) -> list[Row]:
    """Both ways against the reference, for the crystals whose displacements succeeded.

    Args:
        dataset, indices: which crystals.
        direct: network that predicts the density of states; each crystal is timed alone, the
            fastest of ``repeats`` on a warm model, from the structure to the states.
        computed: of `compute_by_displacements`.
    """
    rows = []
    for index in indices:
        record = dataset.records[index]
        content = computed[record.name]
        if "error" in content:
            continue
        prediction, seconds = _predict(direct, record.name, record.where, record.atoms, repeats)
        density = np.array(content["density"])
        w = content["start"] + content["step"] * np.arange(len(density))
        values = {
            "direct": direct_target(prediction, direct),
            "potential": published_target(PhononDos(w, density)),
        }
        reference = published_target(record.dos)
        elemental = len(set(record.atoms.numbers.tolist())) == 1
        errors = {
            way: _errors(value, reference, len(record.atoms), elemental)
            for way, value in values.items()
        }
        means = {
            way: float(g @ GRID.centres / g.sum())
            for way, g in {"reference": reference, **values}.items()
        }
        rows.append(
            Row(
                record.name,
                record.atoms.get_chemical_formula(empirical=True),
                len(record.atoms),
                reference,
                values,
                errors,
                means,
                {
                    **seconds,
                    "potential": sum(
                        content["seconds"][part] for part in ("relaxation", "forces", "phonons")
                    ),
                    "potential processor": content["seconds"]["processor"],
                },
                content["facts"],
            )
        )
    return rows


def direct_target(prediction: PhononPrediction, model: PhononDosModel) -> Array:
    """The 51 values of a prediction, maximum 1.

    A model of the published target predicts them; the curve of another is smoothed as the
    reference is.
    """
    if model.header.get("target", {}).get("kind") == "published" and prediction.grid == GRID:
        values = prediction.states[:-1]
        return np.asarray(values / values.max())
    w = np.arange(0.0, prediction.grid.stop + 1.0)
    density = np.interp(w, prediction.grid.centres, prediction.states[:-1] / prediction.widths)
    return published_target(PhononDos(w, density))


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Way -> mean of every measure, signed mean difference of the frequency, times."""
    found: dict[str, dict[str, float]] = {}
    for way in ("direct", "potential"):
        figures = {m: float(np.mean([r.errors[way][m] for r in rows])) for m in MEASURES}
        figures |= {
            f"{m}_median": float(np.median([r.errors[way][m] for r in rows])) for m in MEASURES
        }
        means = np.array([[r.mean_frequencies["reference"], r.mean_frequencies[way]] for r in rows])
        figures["mean_frequency_shift_cm1"] = float((means[:, 1] - means[:, 0]).mean())
        figures["mean_frequency_ratio_median"] = float(np.median(means[:, 1] / means[:, 0]))
        seconds = [r.seconds[way] for r in rows]
        figures["seconds_per_crystal_mean"] = float(np.mean(seconds))
        figures["seconds_per_crystal_median"] = float(np.median(seconds))
        processor = [r.seconds[f"{way} processor"] for r in rows]
        figures["processor_seconds_per_crystal_mean"] = float(np.mean(processor))
        figures["processor_seconds_per_crystal_median"] = float(np.median(processor))
        found[way] = figures
    return found


def write_comparison(
    rows: Sequence[Row],
    computed: Mapping[str, Mapping[str, Any]],
    out: Path,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """``comparison.json``, ``comparison.csv`` (crystals) and ``comparison.png`` in ``out``.

    Args:
        rows: of `compare`.
        computed: of `compute_by_displacements`; those that failed are named with their reason.
        about: what else is to be known: data, models, selection.

    Raises:
        UserError: no crystal succeeded.
    """
    if not rows:
        reasons = "; ".join(str(c.get("error")).rstrip(".") for c in computed.values())
        raise UserError(f"{out}: no crystal could be computed ({reasons[:300]}).")
    content: dict[str, Any] = {
        "title": "Phonon DoS both ways: direct network, and potential + finite displacements",
        **about,
        "crystals": len(rows),
        "failed": {name: c["error"] for name, c in computed.items() if "error" in c},
        "direct_is_nearer_in": sum(
            r.errors["direct"]["dos_mae"] < r.errors["potential"]["dos_mae"] for r in rows
        ),
        "displacements": {
            "with_imaginary_modes": sum(r.facts["imaginary"] > 1e-3 for r in rows),
            "median": {
                key: float(np.median([r.facts[key] for r in rows]))
                for key in ("supercell_atoms", "displacements", "volume_change")
            },
        },
        "definitions": {"target": TARGET, **MEASURES},
        "ways": summary(rows),
        "versions": _versions(),
        "machine": {"processor": machine.processor(), "cores": os.cpu_count()},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    write_text(out / "comparison.json", json.dumps(content, indent=1) + "\n")
    write_text(out / "comparison.csv", "\n".join(_csv(rows)) + "\n")
    draw_comparison(rows, out / "comparison.png")
    return content


def draw_comparison(rows: Sequence[Row], path: Path) -> None:
    """Errors of both ways side by side, mean frequencies, and three spectra."""
    from clebsch.figures import COLOURS, figure

    colours = {"direct": COLOURS[0], "potential": COLOURS[1]}
    mae = {way: np.array([r.errors[way]["dos_mae"] for r in rows]) for way in colours}
    with figure(path, 10.5, 6.2) as canvas:
        panels = canvas.subplots(2, 3)
        share = (np.arange(len(rows)) + 1) / len(rows)
        for way, colour in colours.items():
            label = f"{way}: mean {mae[way].mean():.3f}"
            panels[0, 0].step(np.sort(mae[way]), share, where="post", color=colour, label=label)
        panels[0, 0].set(
            xlabel="MAE of the DoS, maximum 1", ylabel="share of crystals", title="Errors"
        )
        panels[0, 0].legend()
        top = 1.05 * max(max(r.mean_frequencies.values()) for r in rows)
        panels[0, 1].plot([0, top], [0, top], color="#999999", lw=0.8)
        for way, colour in colours.items():
            panels[0, 1].scatter(
                [r.mean_frequencies["reference"] for r in rows],
                [r.mean_frequencies[way] for r in rows],
                s=9, color=colour, alpha=0.6, lw=0, label=way,
            )  # fmt: skip
        panels[0, 1].set(xlabel="DFPT (cm⁻¹)", ylabel="each way (cm⁻¹)", title="Mean frequency")
        panels[0, 1].legend()
        ends = [0.0, 1.05 * max(x.max() for x in mae.values())]
        panels[0, 2].plot(ends, ends, color="#999999", lw=0.8)
        panels[0, 2].scatter(mae["direct"], mae["potential"], s=9, color=COLOURS[2], lw=0)
        panels[0, 2].set(xlabel="MAE, direct", ylabel="MAE, potential", title="Crystal by crystal")
        order = np.argsort(mae["direct"] + mae["potential"])
        for panel, quantile in zip(panels[1], TITLES, strict=True):
            row = rows[int(order[round(quantile * (len(rows) - 1))])]
            panel.fill_between(GRID.centres, row.reference, color="#bbbbbb", lw=0, label="DFPT")
            for way, colour in colours.items():
                panel.plot(GRID.centres, row.values[way], color=colour, label=way)
            last = max(
                np.flatnonzero(g > 0.01).max() for g in (row.reference, *row.values.values())
            )
            panel.set_xlim(0, GRID.centres[min(last + 2, len(GRID) - 1)])
            panel.set(
                xlabel="wavenumber (cm⁻¹)",
                yticks=[],
                title=f"{row.formula}: {TITLES[quantile]}",
            )
        panels[1, 0].legend()


def _read(path: Path, made_by: Mapping[str, Any]) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it.") from error
    for key, value in made_by.items():
        if content.get(key) != value:
            raise UserError(
                f"{path}: was computed with other {_NAMES[key]} "
                f"({_differs(content.get(key), value)}); choose another folder with --out."
            )
    return content


def _differs(old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        changed = [k for k in new if old.get(k) != new[k]]
        return ", ".join(f"{k} {old.get(k)} there, {new[k]} here" for k in changed)
    return f"{old} there, {new} here"


_NAMES = {"potential": "forces", "settings": "settings"}


def _compute(record: Any, engine: ASECalculator, settings: DisplacementSettings) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        result = finite_displacements(record.atoms, engine, settings, record.where)
    except (UserError, ValueError) as error:
        return {"error": str(error), "seconds": {"all": time.perf_counter() - start}}
    dos = result.dos
    return {
        "start": float(dos.frequencies[0]),
        "step": settings.step,
        "density": [float(f"{x:.6g}") for x in dos.density],
        "seconds": dict(result.seconds),
        "facts": {
            "supercell_atoms": result.supercell.n_atoms,
            "image_distance_A": result.supercell.image_distance,
            "displacements": result.displacements,
            "relaxation_steps": result.relaxation_steps,
            "volume_change": result.volume_change,
            "imaginary": result.imaginary,
            "largest_cm1": result.largest,
        },
    }


def _predict(
    model: PhononDosModel, name: str, where: str, atoms: Any, repeats: int
) -> tuple[PhononPrediction, dict[str, float]]:
    times = []
    for _ in range(repeats + 1):  # the first warms up
        start = time.perf_counter(), time.process_time()
        prediction = next(predict_phonons(model, [Crystal(name, where, atoms)]))
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall, processor = np.min(times[1:], axis=0)
    return prediction, {"direct": float(wall), "direct processor": float(processor)}


def _errors(values: Array, reference: Array, n_atoms: int, elemental: bool) -> dict[str, float]:
    def with_beyond(g: Array) -> Array:
        return np.append(g, 0.0)[None]

    metrics = dos_metrics(
        DosPredictions(
            with_beyond(values),
            with_beyond(reference),
            np.zeros((1, len(GRID) + 1)),
            np.array([n_atoms]),
            np.array([elemental]),
            np.zeros(1, dtype=np.int64),
        ),
        GRID,
    )
    return {measure: metrics[measure] for measure in MEASURES}


def _csv(rows: Sequence[Row]) -> Iterator[str]:
    columns = [f"{way}_{measure}" for way in ("direct", "potential") for measure in MEASURES]
    columns += [f"{way}_mean_frequency_cm1" for way in rows[0].mean_frequencies]
    columns += [f"{way.replace(' ', '_')}_s" for way in rows[0].seconds]
    yield ",".join(["name", "formula", "n_atoms", *columns, *rows[0].facts])
    for r in rows:
        figures = [r.errors[way][m] for way in ("direct", "potential") for m in MEASURES]
        figures += [*r.mean_frequencies.values(), *r.seconds.values(), *r.facts.values()]
        yield ",".join([r.name, r.formula, str(r.n_atoms), *(f"{x:.6g}" for x in figures)])


def _versions() -> dict[str, str]:
    found = {"clebsch": __version__, "python": platform.python_version()}
    for package in ("torch", "phonopy", "ase", "sevenn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
