"""The verification as one HTML page."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from clebsch.train.report import Picture, Section, Table, write_report
from clebsch.verify.figures import plot_cutoff, plot_dynamics, plot_matrix
from clebsch.verify.report import Finding, Report, place, shown

_MEANING = (
    "Every number is judged by a tolerance. Engines that compute in float64 must agree to "
    "1e-9 eV/atom and 1e-9 eV/Å, those in float32 to 2e-5 eV/atom and 2e-4 eV/Å and what the "
    "rounding of the positions does, a frozen model to three times what it was made to keep; all "
    "of them times 1 + size/10, with size the largest force of the structure in eV/Å or energy of "
    "an atom in eV. A check that could not run has not passed: it is listed with its reason."
)


def write_page(path: Path, report: Report) -> None:
    """Write the report with its figures to one self-contained file.

    Raises:
        UserError: the place cannot be written or the disk is full.
    """
    with tempfile.TemporaryDirectory() as scratch:
        sections = [_summary(report)]
        if report.failures:
            sections.insert(0, Section("What failed", tables=[_rows(report.failures)]))
        sections.append(_overview(report, Path(scratch)))
        sections += _curves(report, Path(scratch))
        sections += [
            Section("All checks", _MEANING, [_rows(report.rows())]),
            Section("What was verified", tables=[_facts(report)]),
        ]
        write_report(path, f"Verification of {report.model}", sections, report.verdict())


def _summary(report: Report) -> Section:
    lines: list[list[object]] = [
        ["check", "cases", "", "largest deviation", "allowed", "where"],
    ]
    for row, cases in report.summary():
        lines.append([row.check, str(cases or ""), row.status, *_cells(row, place(row))])
    caption = "Per check, the case that came nearest to its tolerance or went farthest over it."
    return Section("Summary", tables=[Table(lines, caption)])


def _rows(rows: Iterable[Finding]) -> Table:
    lines: list[list[object]] = [
        ["check", "case", "", "largest deviation", "allowed", "where"],
    ]
    lines += [[row.check, row.case, row.status, *_cells(row, row.place)] for row in rows]
    return Table(lines)


def _cells(row: Finding, where: str) -> list[object]:
    if row.deviation is None:
        return ["", "", place(row)]
    return [*shown(row.deviation), where if row.deviation.value else ""]


def _overview(report: Report, scratch: Path) -> Section:
    plot_matrix(scratch / "matrix.png", report)
    caption = (
        "Green: passed, the darker the nearer to the tolerance. Orange with a cross: failed. "
        "Grey: not run. White: the check does not fit the case."
    )
    return Section("At a glance", figures=[Picture(scratch / "matrix.png", caption)])


def _curves(report: Report, scratch: Path) -> list[Section]:
    sections = []
    if report.curves.get("cutoff"):
        plot_cutoff(scratch / "cutoff.png", report.curves["cutoff"])
        caption = (
            "An atom crosses the cutoff of an atom that has another neighbour: differences "
            "between inside and outside, at equal distances from the cutoff. Dashed: what is "
            "allowed at 1e-6 Å."
        )
        picture = Picture(scratch / "cutoff.png", caption)
        sections.append(Section("Smoothness at the cutoff", figures=[picture]))
    if report.curves.get("dynamics"):
        plot_dynamics(scratch / "dynamics.png", report.curves["dynamics"])
        caption = (
            "Total energy along constant-energy dynamics from 300 K. At half the time step the "
            "error must fall to a quarter."
        )
        picture = Picture(scratch / "dynamics.png", caption)
        sections.append(Section("Energy conservation", figures=[picture]))
    return sections


def _facts(report: Report) -> Table:
    facts, lines = report.facts, [["", ""]]
    lines.append(["model", f"{report.model} ({facts['kind']})"])
    lines.append(["species, cutoff", f"{', '.join(facts['species'])}; {facts['cutoff_A']:g} Å"])
    lines.append(["reference", f"{facts['reference']}, fresh neighbour lists"])
    lines += [
        [case["name"], f"{case['structures']} structures, {case['atoms']} atoms"]
        for case in facts["cases"]
    ]
    lines.append(["versions", ", ".join(f"{k} {v}" for k, v in facts["versions"].items())])
    lines.append(["machine", f"{facts['machine']}; {report.seconds:.0f} s"])
    lines.append(["date", facts["date"]])
    return Table(lines)
