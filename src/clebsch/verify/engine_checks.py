"""Every engine against the reference, structure by structure."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from ase import Atoms

from clebsch.errors import UserError
from clebsch.models import FrozenPotential, Potential
from clebsch.verify.cases import Case
from clebsch.verify.comparison import compare
from clebsch.verify.domains import Domains
from clebsch.verify.engines import (
    ASE,
    SINGLE,
    Compiled,
    Eager,
    Engine,
    Lammps,
    Splined,
)
from clebsch.verify.report import Finding, failed, judged, not_run, reason_of
from clebsch.verify.settings import ENGINES
from clebsch.verify.subject import Step, Subject

_LAMMPS_START = 3000.0  # atoms whose computation takes as long as a start of LAMMPS

Structure = tuple[Case, int, Atoms]


def engine_steps(subject: Subject) -> list[Step]:
    """A step for every engine that is asked for."""
    makers: dict[str, Callable[[Subject], list[Step]]] = {
        "plain": lambda s: [
            _step(s, Eager(s.model, "plain PyTorch, float64", "plain", plain=True))
        ],
        "float32": lambda s: [
            _step(s, Eager(s.model, f"{s.form}, float32", "float32", torch.float32, SINGLE))
        ],
        "frozen": _frozen_steps,
        "source": _source_steps,
        "compile": lambda s: [_step(s, Compiled(s.model))],
        "ase": lambda s: [_step(s, ASE(s.model))],
        "domains": lambda s: [_step(s, Domains(s.model))],
        "lammps": lambda s: [
            _step(s, Lammps(s.model_file, ranks), _LAMMPS_START) for ranks in s.settings.ranks
        ],
    }
    wanted = [keyword for keyword in ENGINES if subject.settings.wants(keyword)]
    return [step for keyword in wanted for step in makers[keyword](subject)]


def check_engine(subject: Subject, engine: Engine) -> list[Finding]:
    """Compare an engine on all cases; where it cannot run, say why."""
    required = engine.keyword in subject.settings.require
    if (reason := engine.missing()) is not None:
        return [(failed if required else not_run)(engine.name, reason)]
    findings: list[Finding] = []
    wanted: list[Structure] = []
    for case, index, atoms in subject.structures(subject.cases):
        if (reason := engine.left_out(atoms)) is not None:
            findings.append(not_run(engine.name, reason, case.name))
        else:
            wanted.append((case, index, atoms))
    groups = [[one for one in wanted if one[0] is case] for case in subject.cases]
    for group in [wanted] if engine.at_once else groups:
        findings += _check(subject, engine, group)
    return findings


def _check(subject: Subject, engine: Engine, group: list[Structure]) -> list[Finding]:
    if not group:
        return []
    try:
        found = engine.evaluate([atoms for _, _, atoms in group])
    except Exception as error:  # whatever it is: it is this engine's answer
        parts = _parts(group, engine.at_once)
        if len(parts) > 1:  # which of them is it?
            return [finding for part in parts for finding in _check(subject, engine, part)]
        case, index, _ = group[0]
        place = case.places[index] if len(group) == 1 else ""
        return [failed(engine.name, reason_of(error), case.name, place)]
    findings = []
    for (case, index, atoms), prediction in zip(group, found, strict=True):
        tolerance = engine.tolerance.for_size(subject.size(case, index))
        if engine.single:
            tolerance += subject.rounding(case, index)
        deviations = compare(
            subject.expected(case, index), prediction, atoms, tolerance, subject.model.cutoff
        )
        findings += judged(engine.name, case.name, case.places[index], deviations)
    return findings


def _parts(group: list[Structure], by_case: bool) -> list[list[Structure]]:
    """The structures of each case, or each structure, of those that were computed together."""
    if not by_case:
        return [[one] for one in group]
    cases = {case.name: case for case, _, _ in group}
    return [[one for one in group if one[0] is case] for case in cases.values()]


def _step(subject: Subject, engine: Engine, start: float = 0.0) -> Step:
    cost = start + engine.cost * subject.n_atoms
    return Step(engine.name, cost, partial(check_engine, subject, engine))


def _frozen_steps(subject: Subject) -> list[Step]:
    if subject.frozen:  # the reference is the frozen form itself
        return []
    return [Step("frozen", 3.0 * subject.n_atoms, partial(_freeze, subject))]


def _freeze(subject: Subject) -> list[Finding]:
    """The frozen form of an eager model, in both precisions."""
    assert isinstance(subject.model, Potential)
    structures = [atoms for case in subject.given for atoms in case.structures]
    try:
        exact = copy.deepcopy(subject.model).double()
        model = exact.freeze(subject.settings.tolerance, structures or None)
    except UserError as error:  # it refuses, so that nobody simulates with it
        required = "frozen" in subject.settings.require
        return [(failed if required else not_run)("frozen, float64", str(error))]
    engines = (
        Splined(model, model, "frozen, float64", "frozen"),
        Splined(model, model, "frozen, float32", "frozen", torch.float32),
    )
    return [finding for engine in engines for finding in check_engine(subject, engine)]


def _source_steps(subject: Subject) -> list[Step]:
    """A frozen model's source, where it is given."""
    if not isinstance(subject.model, FrozenPotential):
        return []
    name = "source, float64"
    if subject.source is None:
        required = "source" in subject.settings.require
        reason = "the file holds the frozen form alone; --source names what it was made of."
        finding = (failed if required else not_run)(name, reason)
        return [Step(name, 0.0, lambda: [finding])]
    return [_step(subject, Splined(subject.source, subject.model, name, "source"))]
