"""What was found: one finding per check, case and quantity; rows; text; JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from clebsch.files import write_text
from clebsch.verify.comparison import Deviation

Status = Literal["pass", "fail", "not run"]
_WIDE = 100  # characters
_COLOURS: dict[Status, str] = {"pass": "green", "fail": "bold red", "not run": "yellow"}


@dataclass(frozen=True)
class Finding:
    """The outcome of one check on one case, for one quantity.

    Attributes:
        check: what was asked, such as ``"eager, float32"`` or ``"rotation"``.
        case: the structures that it was asked of; empty where there are none.
        status: whether it passed, or was not run.
        deviation: the largest one, None where there is no number.
        place: structure, atom and component of the largest deviation.
        reason: why it was not run, or failed without a number.
    """

    check: str
    case: str
    status: Status
    deviation: Deviation | None = None
    place: str = ""
    reason: str = ""

    @property
    def ratio(self) -> float:
        """Deviation over tolerance; infinite for a failure without a number."""
        if self.deviation is None:
            return math.inf if self.status == "fail" else 0.0
        return self.deviation.ratio

    def record(self) -> dict[str, Any]:
        """As plain data; deviations that are not numbers as None."""
        content: dict[str, Any] = {"check": self.check, "case": self.case, "status": self.status}
        if self.deviation is not None:
            value = self.deviation.value
            content |= {
                "quantity": self.deviation.quantity,
                "deviation": value if math.isfinite(value) else None,
                "unit": self.deviation.unit,
                "tolerance": self.deviation.tolerance,
                "where": self.place,
            }
        if self.reason:
            content["reason"] = self.reason
        return content


def judged(check: str, case: str, place: str, deviations: Iterable[Deviation]) -> list[Finding]:
    """A finding for every deviation of one structure.

    Args:
        check, case: see ``Finding``.
        place: tells the structure from others of its case.
        deviations: what was measured.
    """
    findings = []
    for deviation in deviations:
        where = ", ".join(part for part in (place, deviation.place) if part)
        status: Status = "pass" if deviation.within else "fail"
        findings.append(Finding(check, case, status, deviation, where))
    return findings


def not_run(check: str, reason: str, case: str = "") -> Finding:
    """A check that cannot be run here, or not on this case."""
    return Finding(check, case, "not run", reason=reason)


def failed(check: str, reason: str, case: str = "", place: str = "") -> Finding:
    """A check that ended without a number."""
    return Finding(check, case, "fail", place=place, reason=reason)


def reason_of(error: Exception) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0]}"


def worst(findings: Iterable[Finding]) -> list[Finding]:
    """Per check, case and quantity the worst finding, in the order in which they came."""
    kept: dict[tuple[str, ...], Finding] = {}
    for finding in findings:
        quantity = finding.deviation.quantity if finding.deviation else finding.reason
        _keep_worse(kept, (finding.check, finding.case, quantity), finding)
    return list(kept.values())


@dataclass
class Report:
    """Everything that was found for a model.

    Attributes:
        model: what it is called.
        findings: one per check, case and quantity.
        facts: about model, machine, versions and settings.
        curves: series that figures are made of.
        numbers: structures with what the reference says of them.
        seconds: the whole took.
    """

    model: str
    findings: list[Finding]
    facts: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)
    numbers: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether something was checked and nothing failed."""
        return self.count("fail") == 0 and self.count("pass") > 0

    @property
    def failures(self) -> list[Finding]:
        """Rows that failed."""
        return [row for row in self.rows() if row.status == "fail"]

    def count(self, status: Status) -> int:
        """Rows (check x case) with this status."""
        return sum(row.status == status for row in self.rows())

    def rows(self) -> list[Finding]:
        """Per check and case the quantity that came nearest to its tolerance, or farthest over."""
        kept: dict[tuple[str, ...], Finding] = {}
        for finding in self.findings:
            _keep_worse(kept, (finding.check, finding.case), finding)
        return list(kept.values())

    def summary(self) -> list[tuple[Finding, int]]:
        """Per check its worst row, and how many cases it had."""
        kept: dict[tuple[str, ...], Finding] = {}
        cases: dict[str, int] = {}
        for row in self.rows():
            _keep_worse(kept, (row.check,), row)
            cases[row.check] = cases.get(row.check, 0) + (row.status != "not run")
        return [(row, cases[row.check]) for row in kept.values()]

    def verdict(self) -> str:
        """One sentence."""
        counts = {name: self.count(name) for name in ("pass", "fail", "not run")}
        total = counts["pass"] + counts["fail"]
        said = f"{counts['pass']} of {total} passed"
        if counts["fail"]:
            said = f"{counts['fail']} of {total} failed"
        if counts["not run"]:
            said += f", {counts['not run']} not run"
        return f"{'passed' if self.passed else 'FAILED'}: {said} (check x case)"

    def record(self) -> dict[str, Any]:
        """The content of ``verify.json``."""
        return {
            "model": self.model,
            "passed": self.passed,
            "verdict": self.verdict(),
            **self.facts,
            "seconds": round(self.seconds, 2),
            "findings": [finding.record() for finding in self.findings],
            "curves": self.curves,
            "numbers": self.numbers,
        }

    def digest(self) -> dict[str, Any]:
        """The verdict in a few words, for the header of a model file."""
        left_out = {row.check: row.reason for row in self.rows() if row.status == "not run"}
        return {
            "passed": self.passed,
            "verdict": self.verdict(),
            "failed": sorted({row.check for row in self.failures}),
            "not_run": left_out,
            "date": self.facts["date"],
            "versions": self.facts["versions"],
        }

    def write_json(self, path: Path) -> None:
        """Write ``record()``.

        Raises:
            UserError: the place cannot be written or the disk is full.
        """
        lines = [f"{_json(key)}: {_lines(value)}" for key, value in self.record().items()]
        write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def summary_table(report: Report, width: int = 120) -> Table:
    """A line per check: the case that came nearest to its tolerance, or farthest over it.

    Args:
        report: what was found.
        width: of the page, in characters; where it is narrow, places are left out.
    """
    columns = ["check", "cases", "", "largest deviation", "allowed"]
    title = f"clebsch verify {report.model}"
    if "reference" in report.facts:
        title += f"\nreference: {report.facts['reference']}, on fresh neighbour lists"
    table = _table(title, columns + ["where"] * (width >= _WIDE))
    for row, cases in report.summary():
        cells = [row.check, str(cases or ""), *_cells(row)]
        table.add_row(*cells, *[place(row)] * (width >= _WIDE))
    return table


def full_table(report: Report) -> Table:
    """A line per check and case."""
    table = _table("all checks", ["check", "case", "", "largest deviation", "allowed", "where"])
    for row in report.rows():
        table.add_row(row.check, row.case, *_cells(row), row.reason or row.place)
    return table


def sentence(row: Finding) -> str:
    """A row in words: ``"fail: rotation, slab: forces 1.0e-03 eV/Å (allowed 1.0e-09), atom 1"``."""
    said = ", ".join(part for part in (row.check, row.case) if part)
    if row.deviation is None:
        return f"{row.status}: {said}: {place(row)}"
    value, tolerance = shown(row.deviation)
    where = f", {row.place}" if row.place else ""
    return f"{row.status}: {said}: {value} (allowed {tolerance}){where}"


def place(row: Finding) -> str:
    """Where the largest deviation is; else why there is none."""
    if row.deviation is None:
        return ": ".join(part for part in (row.place, row.reason) if part)
    if row.deviation.value == 0:
        return ""
    return ": ".join(part for part in (row.case, row.place) if part)


def shown(deviation: Deviation) -> tuple[str, str]:
    """A deviation with its unit, and what is allowed; counts as whole numbers."""
    value = deviation.value
    if not math.isfinite(value):
        return f"{deviation.quantity}: not a number", f"{deviation.tolerance:.1e}"
    if deviation.is_count:
        return f"{value:.0f} {deviation.quantity}", f"{math.floor(deviation.tolerance)}"
    text = f"{deviation.quantity} {value:.1e} {deviation.unit}"
    return text.rstrip(), f"{deviation.tolerance:.1e}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _lines(value: Any) -> str:
    """JSON with a line for each record of a list of records."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n " + ",\n ".join(_json(one) for one in value) + "\n]"
    return _json(value)


def _keep_worse(
    kept: dict[tuple[str, ...], Finding], key: tuple[str, ...], finding: Finding
) -> None:
    order = {"not run": 0, "pass": 1, "fail": 2}
    known = kept.get(key)
    if known is None or (order[finding.status], finding.ratio) > (
        order[known.status],
        known.ratio,
    ):
        kept[key] = finding


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        right = name in ("cases", "largest deviation", "allowed")
        wraps = name in ("where", "case")
        table.add_column(
            name,
            justify="right" if right else "left",
            no_wrap=not wraps,
            overflow="fold" if wraps else "ellipsis",
        )
    return table


def _cells(row: Finding) -> list[str | Text]:
    """Status, deviation, tolerance."""
    found = ("", "") if row.deviation is None else shown(row.deviation)
    return [Text(row.status, style=_COLOURS[row.status]), *found]
