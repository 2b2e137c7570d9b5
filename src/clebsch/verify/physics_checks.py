"""The reference against what physics says, whatever the model has learnt."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from ase import Atoms

from clebsch.verify.cases import Case, species_pairs
from clebsch.verify.comparison import Deviation, compare
from clebsch.verify.conservation import check_dynamics
from clebsch.verify.cutoff import check_crossing, check_scan
from clebsch.verify.derivatives import check_forces, check_virial
from clebsch.verify.engines import EXACT
from clebsch.verify.exactness import check_constants, check_operators, check_symbols
from clebsch.verify.neighbours import check_lists
from clebsch.verify.report import Finding, judged, not_run
from clebsch.verify.settings import CHECKS
from clebsch.verify.subject import Step, Subject
from clebsch.verify.symmetries import Symmetry, net_force, net_torque, symmetries

_MOVES = 40_000  # atoms in all displaced structures of one check
_LARGEST_SUPERCELL = 4000  # atoms
_LARGEST_DYNAMICS = 300  # atoms


def physics_steps(subject: Subject) -> list[Step]:
    """The steps of all checks that are asked for."""
    makers: dict[str, Callable[[Subject], list[Step]]] = {
        "derivatives": _derivative_steps,
        "symmetries": _symmetry_steps,
        "neighbours": _neighbour_steps,
        "cutoff": _cutoff_steps,
        "exactness": _exactness_steps,
        "conservation": _conservation_steps,
    }
    wanted = [keyword for keyword in CHECKS if subject.settings.wants(keyword)]
    return [step for keyword in wanted for step in makers[keyword](subject)]


def _derivative_steps(subject: Subject) -> list[Step]:
    steps = []
    for case in subject.small:
        moved = sum((12 * _displaced(subject, a) + 24) * len(a) for a in case.structures)
        run = partial(_differ, subject, case)
        steps.append(Step(f"finite differences: {case.name}", 0.5 * moved, run))
    return steps


def _displaced(subject: Subject, atoms: Atoms) -> int:
    """How many atoms are displaced."""
    most = 3 if subject.settings.quick else 16
    return int(np.clip(_MOVES // (12 * len(atoms)), 1, most))


def _differ(subject: Subject, case: Case) -> list[Finding]:
    findings = []
    for index, atoms in enumerate(case.structures):
        expected, size = subject.expected(case, index), subject.size(case, index)
        n, reach = _displaced(subject, atoms), subject.model.cutoff
        for name, found in (
            ("forces", check_forces(subject.reference, atoms, expected, size, n)),
            ("stress", check_virial(subject.reference, atoms, expected, size, reach)),
        ):
            check = f"{name} by differences"
            findings += judged(check, case.name, case.places[index], [found])
    return findings


def _symmetry_steps(subject: Subject) -> list[Step]:
    atoms = float(sum(case.n_atoms for case in subject.small))
    steps = [Step("net force and torque", 1.0, partial(_balance, subject))]
    for symmetry in symmetries(subject.settings.seed):
        cost = 4 * atoms if symmetry.name == "supercell" else atoms
        steps.append(Step(symmetry.name, cost, partial(_symmetric, subject, symmetry)))
    return steps


def _symmetric(subject: Subject, symmetry: Symmetry) -> list[Finding]:
    findings = []
    for case in subject.small:
        chosen = [i for i, atoms in enumerate(case.structures) if symmetry.fits(atoms)]
        changed = [symmetry.change(case.structures[i]) for i in chosen]
        if any(len(atoms) > _LARGEST_SUPERCELL for atoms in changed):
            findings.append(not_run(symmetry.name, "too many atoms", case.name))
            continue
        predictions = subject.reference.evaluate(changed)
        for index, atoms, found in zip(chosen, changed, predictions, strict=True):
            expected = symmetry.expect(subject.expected(case, index), case.structures[index])
            tolerance = EXACT.for_size(subject.size(case, index))
            deviations = compare(expected, found, atoms, tolerance, subject.model.cutoff)
            findings += judged(symmetry.name, case.name, case.places[index], deviations)
    return findings


def _balance(subject: Subject) -> list[Finding]:
    findings = []
    for case, index, atoms in subject.structures(subject.small):
        expected = subject.expected(case, index)
        tolerance = EXACT.for_size(subject.size(case, index)).forces * len(atoms)
        force = float(np.abs(net_force(expected)).max())
        found = Deviation("net force", force, "eV/Å", tolerance)
        findings += judged("net force", case.name, case.places[index], [found])
        if not atoms.pbc.any():
            torque = float(np.abs(net_torque(expected, atoms)).max())
            lever = max(subject.model.cutoff, float(np.ptp(atoms.positions, axis=0).max()))
            found = Deviation("net torque", torque, "eV", tolerance * lever)
            findings += judged("net torque", case.name, case.places[index], [found])
    return findings


def _neighbour_steps(subject: Subject) -> list[Step]:
    return [Step("neighbour lists", subject.n_atoms, partial(_count_edges, subject))]


def _count_edges(subject: Subject) -> list[Finding]:
    findings = []
    for case, index, atoms in subject.structures(subject.cases):
        fresh, in_use = check_lists(atoms, subject.model.cutoff)
        findings += judged("neighbour list", case.name, case.places[index], [fresh])
        findings += judged("neighbour list in use", case.name, case.places[index], [in_use])
    return findings


def _cutoff_steps(subject: Subject) -> list[Step]:
    intervals = 60 if subject.settings.quick else 300
    return [
        Step(f"cutoff of {a}-{b}", 10.0 * intervals, partial(_cross, subject, a, b, intervals))
        for a, b in species_pairs(subject.model.species)
    ]


def _cross(subject: Subject, a: str, b: str, intervals: int) -> list[Finding]:
    case = f"pair {a}-{b}"
    findings = []
    for first, second in dict.fromkeys([(a, b), (b, a)]):
        crossing = check_crossing(subject.reference, subject.model, first, second)
        findings += judged("smooth at the cutoff", case, "", crossing.deviations)
        subject.curves.setdefault("cutoff", []).append(crossing.curve)
    scan = check_scan(subject.reference, subject.model, a, b, intervals)
    return findings + judged("energy against forces", case, "", [scan])


def _exactness_steps(subject: Subject) -> list[Step]:
    return [Step("exactness", 300.0, partial(_exact, subject))]


def _exact(subject: Subject) -> list[Finding]:
    model = subject.reference.model
    case = next(case for case in subject.cases if case.name == "triclinic cell")
    operators = check_operators(subject.reference, case.structures[0])
    findings = judged("operators in float64", case.name, "", [operators])
    findings += judged("constants in float64", "", "", [check_constants(model)])
    symbols = check_symbols(model)
    return findings + judged("3j symbols", "", "", [] if symbols is None else [symbols])


def _conservation_steps(subject: Subject) -> list[Step]:
    cases = [case for case in subject.given if 1 < case.n_atoms <= _LARGEST_DYNAMICS][:1]
    built_in = ("molecule", "triclinic cell")
    cases += [case for case in subject.cases if case.name in built_in and not case.given]
    steps = 50 if subject.settings.quick else 100
    return [
        Step(
            f"dynamics: {case.name}",
            3.0 * steps * max(case.n_atoms, 20),
            partial(_run, subject, case, steps),
        )
        for case in cases[: 1 if subject.settings.quick else None]
    ]


def _run(subject: Subject, case: Case, steps: int) -> list[Finding]:
    model, seed = subject.reference.model, subject.settings.seed
    found = check_dynamics(model, case.structures[0], steps, seed)
    subject.curves.setdefault("dynamics", []).append({"case": case.name, **found.curve})
    return judged("energy conservation", case.name, "", found.deviations)
