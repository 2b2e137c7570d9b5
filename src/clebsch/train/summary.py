"""What a training run shows at its end: its figures and the sections of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clebsch.train.config import format_time
from clebsch.train.data import Part, Parts
from clebsch.train.figures import plot_force_errors, plot_learning_curves, plot_parity
from clebsch.train.metrics import Predictions
from clebsch.train.report import Picture, Section, Table, format_number

if TYPE_CHECKING:
    from clebsch.train.fit import RunResult

ERRORS = (
    ("energy", "meV_per_atom", "energy (meV/atom)"),
    ("forces", "meV_per_A", "forces (meV/Å)"),
    ("stress", "meV_per_A3", "stress (meV/Å³)"),
)
PARTS = {"test": "test", "valid": "validation", "train": "training"}


def draw_figures(
    predictions: Mapping[str, Predictions],
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    folder: Path,
) -> dict[str, Path]:
    """Draw every figure into ``folder``; returns their paths by name."""
    judged = predictions.get("test") or predictions.get("valid") or predictions["train"]
    pictures = {"parity": folder / "parity.png"}
    plot_parity(judged, pictures["parity"])
    if np.isfinite(judged.forces_label).any():
        pictures["forces"] = folder / "force_errors.png"
        plot_force_errors(judged, metrics["by_element"], pictures["forces"])
    if history:
        pictures["learning"] = folder / "learning_curves.png"
        plot_learning_curves(history, pictures["learning"])
    return pictures


def report_sections(
    result: RunResult,
    parts: Parts,
    sources: Mapping[str, Mapping[str, str]],
    pictures: Mapping[str, Path],
    machine: Mapping[str, str],
) -> list[Section]:
    """The sections of a training run's report, the errors first."""
    judged = next(name for name in PARTS if len(parts.named()[name]))
    return [
        _errors(result.metrics, pictures, PARTS[judged]),
        training_section(result.metrics, pictures, machine),
        data_section(parts, sources),
        _model(result),
        configuration_section(result),
    ]


def _errors(metrics: Mapping[str, Any], pictures: Mapping[str, Path], judged: str) -> Section:
    names = [name for name in PARTS if any(f"{name}_{q}_mae_{u}" in metrics for q, u, _ in ERRORS)]
    shown = [
        (q, u, label) for q, u, label in ERRORS if any(f"{n}_{q}_mae_{u}" in metrics for n in names)
    ]
    header: list[object] = ["part", "frames"]
    header += [
        label.replace(" (", f" {kind} (") for _, _, label in shown for kind in ("MAE", "RMSE")
    ]
    rows: list[list[object]] = [header]
    for name in names:
        row: list[object] = [PARTS[name], metrics[f"n_{name}"]]
        for quantity, unit, _ in shown:
            row += [metrics.get(f"{name}_{quantity}_{k}_{unit}", "–") for k in ("mae", "rmse")]
        rows.append(row)
    tables = [Table(rows)]
    by_type: Mapping[str, Mapping[str, float]] = metrics["by_config_type"]
    if len(by_type) > 1:
        type_rows: list[list[object]] = [["configuration type", *header[1:]]]
        for name, errors in by_type.items():
            row = [name, int(errors["frames"])]
            for quantity, unit, _ in shown:
                row += [errors.get(f"{quantity}_{k}_{unit}", "–") for k in ("mae", "rmse")]
            type_rows.append(row)
        tables.append(Table(type_rows, f"By configuration type, {judged} set"))
    element_rows: list[list[object]] = [
        ["element", "atoms", "forces MAE (meV/Å)", "forces RMSE (meV/Å)"]
    ]
    for name, errors in metrics["by_element"].items():
        values = [errors.get(f"forces_{k}_meV_per_A", "–") for k in ("mae", "rmse")]
        element_rows.append([name, int(errors["atoms"]), *values])
    tables.append(Table(element_rows, f"By element, {judged} set"))
    captions = {
        "parity": f"Prediction against reference, {judged} set. The line is perfect agreement.",
        "forces": f"Force errors by element, {judged} set.",
    }
    figures = [Picture(pictures[k], text) for k, text in captions.items() if k in pictures]
    text = (
        "Errors against the reference calculations. Forces are compared component by component; "
        "energies and stresses per atom and per component. "
    )
    text += (
        "Test frames took no part in training or in choosing the best epoch."
        if judged == "test"
        else f"There is no test set: the detailed figures are of the {judged} set."
    )
    return Section("Errors", text, tables, figures)


def training_section(
    metrics: Mapping[str, Any], pictures: Mapping[str, Path], machine: Mapping[str, str]
) -> Section:
    """Epochs, steps, times and machine of a run of any kind, with its learning curves."""
    steps = max(1, metrics["steps"])
    rows: list[list[object]] = [
        ["", ""],
        ["epochs (best)", f"{metrics['epochs']} ({metrics['best_epoch']})"],
        ["optimiser steps", str(metrics["steps"])],
        ["time in training, validation included", format_time(round(metrics["train_s"]))],
        ["time per step, validation included", f"{1000 * metrics['train_s'] / steps:.1f} ms"],
        ["time in all", format_time(round(metrics["wall_s"]))],
    ]
    rows += [[name, value] for name, value in machine.items()]
    figures = (
        [Picture(pictures["learning"], "Validation uses the moving average of the weights.")]
        if "learning" in pictures
        else []
    )
    return Section("Training", tables=[Table(rows)], figures=figures)


def data_section(
    parts: Parts, sources: Mapping[str, Mapping[str, str]], frames: str = "frames"
) -> Section:
    """What is in each part; ``frames`` is what the kind of data calls them."""
    rows: list[list[object]] = [["part", frames, "atoms", "formulas", "files"]]
    for name in ("train", "valid", "test"):
        part = parts.named()[name]
        if len(part):
            atoms, formulas = _contents(part)
            rows.append([PARTS[name], len(part), atoms, formulas, _file_names(sources[name])])
    hashes: list[list[object]] = [["data", "SHA-256 of structures and labels"]]
    seen = {_file_names(source): source["sha256"] for source in sources.values()}
    hashes += [[name, digest] for name, digest in seen.items()]
    return Section(
        "Data", f"split.json lists the {frames} of each part.", [Table(rows), Table(hashes)]
    )


def configuration_section(result: RunResult) -> Section:
    """The resolved configuration."""
    return Section(
        "Configuration",
        f"{result.folder / 'config.yaml'} holds it; training from that file repeats this run.",
        preformatted=result.config.to_yaml(),
    )


def _file_names(source: Mapping[str, str]) -> str:
    return ", ".join(Path(path).name for path in source["path"].split(", "))


def _contents(part: Part) -> tuple[int, str]:
    """Number of atoms, and the formulas of a part's frames (the most frequent ones)."""
    formulas: dict[str, int] = {}
    atoms = 0
    for i in part.indices:
        frame = part.dataset[int(i)]
        atoms += len(frame)
        name = frame.get_chemical_formula()
        formulas[name] = formulas.get(name, 0) + 1
    common = sorted(formulas, key=lambda name: -formulas[name])
    more = f" and {len(common) - 6} more" if len(common) > 6 else ""
    return atoms, ", ".join(common[:6]) + more


def _model(result: RunResult) -> Section:
    config = result.model.config
    rows: list[list[object]] = [
        ["", ""],
        ["parameters", str(result.metrics["n_parameters"])],
        ["size", config.size],
        ["layers, highest l, channels", f"{config.layers}, {config.lmax}, {config.channels}"],
        ["cutoff", f"{config.cutoff:g} Å, {config.mean_neighbours:.1f} neighbours on average"],
        ["precision", result.config.dtype],
    ]  # fmt: skip
    domain = result.model.header["domain"]
    if "max_force" in domain:
        rows.append(["largest force in training", f"{domain['max_force']:.2f} eV/Å"])
    species: list[list[object]] = [["element", "energy of the atom (eV)", "scale (eV)"]]
    for i, name in enumerate(config.species):
        shift = config.shifts[i] if config.shifts else 0.0
        species.append([name, f"{shift:.4f}", format_number(config.scales[i], 4)])
    pairs: list[list[object]] = [["pair", "shortest distance (Å)"]]
    pairs += [[name, f"{value:.3f}"] for name, value in list(domain["min_distance"].items())[:40]]
    text = "model.clebsch holds weights, units, versions and the domain that training covered."
    return Section("Model", text, [Table(rows), Table(species), Table(pairs)])
