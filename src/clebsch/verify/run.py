"""The whole verification, step by step."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clebsch.models import Potential, save_model
from clebsch.verify.cases import Case
from clebsch.verify.engine_checks import engine_steps
from clebsch.verify.engines import Model
from clebsch.verify.physics_checks import physics_steps
from clebsch.verify.recorded import check_recorded
from clebsch.verify.report import Finding, Report, failed, reason_of, worst
from clebsch.verify.settings import Settings
from clebsch.verify.subject import Step, Subject


def verify(
    model: Model,
    cases: Sequence[Case] = (),
    settings: Settings | None = None,
    *,
    name: str = "model",
    model_file: Path | None = None,
    source: Potential | None = None,
    before: Sequence[dict[str, Any]] = (),
    advance: Callable[[float, str], None] | None = None,
) -> Report:
    """Compare all engines, and check the reference against physics.

    The reference is the model itself in float64, on fresh neighbour lists.

    Args:
        model: a potential, frozen or not; is not changed.
        cases: structures beside the built-in ones (``given_cases``).
        settings: what is checked.
        name: what to call the model in the report.
        model_file: its file, for LAMMPS; written to a temporary folder where not given.
        source: the potential that a frozen model was made of, to compare with.
        before: numbers of an earlier verification (``read_recorded``), to compare with.
        advance: called before each step with the share of the work that is done, and its name.

    Returns:
        The report; ``report.passed`` is the verdict.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        if model_file is None:
            model_file = Path(scratch) / "model.clebsch"
            save_model(model, model_file)
        subject = Subject(model, cases, settings or Settings(), model_file, source)
        first = subject.reference_step()
        steps = engine_steps(subject) + physics_steps(subject)
        if before:
            run = partial(check_recorded, subject.reference, list(before))
            steps.append(Step("numbers of before", float(len(before)), run))
        total = first.cost + sum(step.cost for step in steps)
        if advance is not None:
            advance(0.0, first.name)
        findings, done = first.run(), first.cost
        for step in steps:
            if advance is not None:
                advance(done / total, step.name)
            findings += _found(step)
            done += step.cost
        if advance is not None:
            advance(1.0, "done")
    return Report(
        name,
        worst(findings),
        subject.facts(),
        subject.curves,
        subject.numbers(),
        time.monotonic() - began,
    )


def _found(step: Step) -> list[Finding]:
    """What a step finds; where it breaks off, as dynamics with wrong forces may, that it did."""
    try:
        return step.run()
    except Exception as error:
        return [failed(step.name, reason_of(error))]
