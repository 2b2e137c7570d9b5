"""Figures of predicted phonon spectra."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from clebsch.figures import COLOURS, figure
from clebsch.phonons import convert_frequency
from clebsch.vibrations.output import PhononOutput
from clebsch.vibrations.prediction import PhononPrediction

TOTAL, PARTS = "#222222", COLOURS[:6]
_QUIET = 0.002  # of the maximum: above the last such density the axis ends
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def draw_phonons(
    predictions: Iterable[PhononPrediction], folder: Path, output: PhononOutput
) -> Iterator[Path]:
    """One figure per crystal, named after it; yields each file when it is drawn."""
    taken: set[str] = set()
    for prediction in predictions:
        stem = re.sub(r"[^\w.+-]+", "_", prediction.name).strip("._") or "crystal"
        number, unique = 2, stem
        while unique.lower() in taken:
            unique, number = f"{stem}-{number}", number + 1
        taken.add(unique.lower())
        draw_spectrum(folder / f"{unique}.png", prediction, output)
        yield folder / f"{unique}.png"


def draw_spectrum(path: Path, prediction: PhononPrediction, output: PhononOutput) -> None:
    """Total density with its uncertainty, and the part of each element."""
    spectrum = prediction.spectrum(output.unit, output.normalise)
    w = spectrum.frequencies
    widths = convert_frequency(prediction.grid.edges, "cm^-1", output.unit)
    loud = spectrum.total > _QUIET * spectrum.total.max()
    end = widths[1:][loud][-1] if loud.any() else widths[-1]
    with figure(path, 6.0, 3.6) as canvas:
        axes = canvas.subplots()
        if len(spectrum.elements) > 1:
            for i, (symbol, part) in enumerate(spectrum.elements.items()):
                colour = PARTS[i % len(PARTS)]
                dashes = "-" if i < len(PARTS) else "--"
                axes.fill_between(w, part, color=colour, alpha=0.18, lw=0)
                axes.plot(w, part, color=colour, lw=1.1, ls=dashes, label=symbol)
        axes.plot(w, spectrum.total, color=TOTAL, lw=1.5, label="total")
        if spectrum.std is not None:
            low = (spectrum.total - spectrum.std).clip(min=0.0)
            axes.fill_between(
                w,
                low,
                spectrum.total + spectrum.std,
                color=TOTAL,
                alpha=0.18,
                lw=0,
                label=f"± std of {prediction.members} networks",
            )
        axes.set(xlim=(w[0], end), ylim=(0, None))
        axes.set_xlabel(
            f"{'energy' if output.unit == 'meV' else 'frequency'} ({_unit(output.unit)})"
        )
        of = {"3N": "states per ", "1": "share per "}.get(output.normalise)
        axes.set_ylabel(
            f"density of states ({of}{_unit(output.unit)})" if of else "density of states / maximum"
        )
        formula = prediction.atoms.get_chemical_formula("metal")
        name = "" if prediction.name == formula else f"{prediction.name}: "
        axes.set_title(name + formula.translate(_SUBSCRIPTS), loc="left")
        axes.legend(
            title=_figures(prediction, output),
            title_fontsize=8,
            alignment="left",
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
        )


def _figures(prediction: PhononPrediction, output: PhononOutput) -> str:
    """Heat capacity, Debye temperature and mean frequency, one per line."""
    table = prediction.thermodynamics(output.temperatures)
    mean, debye = table.mean_frequency(), table.debye_temperature()
    factor = float(convert_frequency(1.0, "cm^-1", output.unit))
    lines = [f"mean {_with(mean.value, mean.std, factor)} {_unit(output.unit)}"]
    lines.append(f"Debye {_with(debye.value, debye.std)} K")
    temperature = output.temperatures[0]
    capacity = table.heat_capacity(temperature)
    lines.append(f"$C_v$({temperature:g} K) {_with(capacity.value, capacity.std)}")
    lines.append("   J/(K mol of atoms)\n")
    return "\n".join(lines)


def _with(value: float, std: float | None, factor: float = 1.0) -> str:
    """A value and its uncertainty, both to the uncertainty's second digit."""
    value *= factor
    if std is None or not std > 0:
        return f"{value:.4g}"
    std *= factor
    decimals = max(0, 1 - int(f"{std:e}".split("e")[1]))
    return f"{value:.{min(decimals, 4)}f} ± {std:.{min(decimals, 4)}f}"


def _unit(unit: str) -> str:
    return "cm$^{-1}$" if unit == "cm^-1" else unit
