"""The table on the terminal and the figure of a benchmark."""

from __future__ import annotations

from math import floor, log10
from pathlib import Path
from typing import Any

from rich.table import Table

from clebsch.bench.settings import Content

_UNITS = ("ms", "s", "MB")


def entries(content: Content) -> dict[str, dict[str, Any]]:
    """The cases of a result, without what is said about the whole run."""
    return {key: entry for key, entry in content.items() if "/" in key}


def table(name: str, content: Content) -> Table:
    """Cases, both medians, ratio and bar."""
    made = Table(title=f"clebsch bench {name}", title_justify="left")
    for column in ("case", "clebsch", "peer", "ratio", "bar"):
        made.add_column(column, justify="left" if column == "case" else "right", no_wrap=True)
    for key, entry in entries(content).items():
        ours, theirs = _value(entry, "ours"), _value(entry, "peer")
        if "us_per_atom" in entry:
            ours = f"{entry['us_per_atom']:.3g} µs/atom"
        ratio = entry.get("ratio")
        cells = (ours, theirs, "" if ratio is None else f"{ratio:.3g}x", _bar(entry))
        made.add_row(key.removeprefix(f"{name}/"), *cells)
    return made


def notes(name: str, content: Content) -> list[str]:
    """Lines below the table: peers, what was not measured, parameters, agreement, machine."""
    peers: dict[str, list[str]] = {}
    reasons: dict[str, list[str]] = {}
    for key, entry in entries(content).items():
        case = key.removeprefix(f"{name}/")
        if "peer" in entry:
            peers.setdefault(entry["peer"], []).append(case)
        if "not_measured" in entry:
            reasons.setdefault(entry["not_measured"], []).append(case)
    first, *others = peers or {"": []}
    lines = [f"peer: {first}"] if first else []
    lines += [f"peer of {', '.join(peers[other])}: {other}" for other in others]
    lines += [f"not measured, {reason}: {', '.join(c)}" for reason, c in reasons.items()]
    if "parameters" in content:
        facts = content["parameters"]
        counts = ", ".join(
            f"{side} {'?' if count is None else f'{count:,}'}"
            for side, count in facts.items()
            if side not in ("atoms", "edges", "molecules")
        )
        lines.append(f"{facts['atoms']:,} atoms, {facts['edges']:,} edges; parameters: {counts}")
    if "agreement" in content:
        values = [v for v in content["agreement"].values() if isinstance(v, float)]
        if values:
            lines.append(f"largest relative difference of the two sides: {max(values):.1g}")
    m = content["machine"]
    lines.append(f"{m['processor']}, {m['threads']} threads, torch {m['torch']}, {m['date']}")
    return lines


def draw(name: str, content: Content, path: Path) -> None:
    """Both sides of every case as points on a logarithmic axis, with the ratio beside.

    That of ``density`` is time over size instead.
    """
    from clebsch.figures import COLOURS, figure

    if name == "density":
        from clebsch.bench.growth import draw_growth

        draw_growth(content, path)
        return
    shown = {
        key: entry
        for key, entry in entries(content).items()
        if _number(entry, "ours") is not None or _number(entry, "peer") is not None
    }
    kinds = [
        ("time (ms)", {k: e for k, e in shown.items() if not _is_memory(e)}),
        ("peak memory (MB)", {k: e for k, e in shown.items() if _is_memory(e)}),
    ]
    panels = [(label, rows) for label, rows in kinds if rows]
    if not panels:
        panels = [("nothing was measured", {})]
    counts = [max(1, len(rows)) for _, rows in panels]
    beside = max(counts) > 20  # a full run: one panel beside the other
    shape = (1, len(panels)) if beside else (len(panels), 1)
    height = 0.27 * (max(counts) if beside else sum(counts) + 1.5 * len(counts)) + 1.2
    with figure(path, 7.5 * shape[1], height) as canvas:
        ratios = None if beside else [count + 1.5 for count in counts]
        axes = canvas.subplots(*shape, squeeze=False, height_ratios=ratios).ravel()
        for axis, (label, rows) in zip(axes, panels, strict=True):
            axis.set_xlabel(label)
            axis.set_yticks(range(len(rows)), [key.removeprefix(f"{name}/") for key in rows])
            axis.set_ylim(max(1, len(rows)) - 0.5, -0.5)
            if rows:
                _draw_rows(axis, list(rows.values()))
        first = axes[0]
        peers = sorted({str(e["peer"]) for e in shown.values() if "peer" in e})
        handles = [
            first.plot([], [], marker, color=colour, ms=5)[0]
            for colour, marker in ((COLOURS[0], "o"), (COLOURS[1], "s"))
        ]
        first.legend(
            handles,
            ["clebsch", ", ".join(peers) or "peer"],
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=2,
        )


def _draw_rows(axis: Any, rows: list[dict[str, Any]]) -> None:
    """One line per case: both values, and the ratio at the right edge."""
    from matplotlib.ticker import NullFormatter

    from clebsch.figures import COLOURS

    values = [v for row in rows for side in ("ours", "peer") if (v := _number(row, side))]
    axis.set_xscale("log")
    if values:  # whole decades, so that at least two ticks carry numbers
        axis.set_xlim(10 ** (floor(log10(min(values)))), 10 ** (floor(log10(max(values))) + 1))
    axis.xaxis.set_minor_formatter(NullFormatter())
    for place, row in enumerate(rows):
        ours, theirs = _number(row, "ours"), _number(row, "peer")
        if ours is not None and theirs is not None:
            axis.plot([ours, theirs], [place, place], color="#bbbbbb", lw=1.2, zorder=1)
        for value, colour, marker in ((ours, COLOURS[0], "o"), (theirs, COLOURS[1], "s")):
            if value is not None:
                axis.plot([value], [place], marker, color=colour, ms=5, zorder=2)
        if row.get("ratio") is not None:
            bar = f" (bar {row['bar']:g})" if "bar" in row else ""
            text = f"{row['ratio']:.3g}x{bar}"
            beyond = ("axes fraction", "data")
            axis.annotate(text, (1.01, place), xycoords=beyond, va="center", fontsize=8)


def _is_memory(entry: dict[str, Any]) -> bool:
    return "ours_MB" in entry


def _number(entry: dict[str, Any], side: str) -> float | None:
    """ms or MB."""
    for unit, factor in (("ms", 1.0), ("s", 1e3), ("MB", 1.0)):
        value = entry.get(f"{side}_{unit}")
        if value is not None:
            return factor * value
    return None


def _value(entry: dict[str, Any], side: str) -> str:
    for unit in _UNITS:
        value = entry.get(f"{side}_{unit}")
        if value is not None:
            return f"{value:.4g} {unit}"
    power = entry.get(f"{side}_exponent")
    return "" if power is None else f"n^{power:.3g}"


def _bar(entry: dict[str, Any]) -> str:
    if "met" not in entry:
        return ""
    if "bar" in entry:
        text = f">= {entry['bar']:g}x"
    elif "bar_exponent" in entry:
        text = f"<= n^{entry['bar_exponent']:g}"
    else:
        above = " over torch" if "above_torch_s" in entry else ""
        text = f"<= {entry['bar_s']:g} s{above}"
    verdict = {True: " met", False: " missed", None: ""}[entry["met"]]
    return text + verdict
