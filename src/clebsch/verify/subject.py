"""The model that is verified, the structures, and what the reference says of them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from clebsch import __version__, machine
from clebsch.models import FrozenPotential, Potential
from clebsch.verify.cases import Case, built_in_cases, rounded_positions
from clebsch.verify.comparison import Prediction, Tolerance, count, size_of
from clebsch.verify.engines import Eager, Model
from clebsch.verify.recorded import record
from clebsch.verify.report import Finding, judged
from clebsch.verify.settings import Settings

_SMALL = 200  # atoms of the built-in cases that are displaced, turned and repeated
_ROUNDINGS = 10.0  # an edge has two ends, and its length is rounded again on its way


@dataclass(frozen=True)
class Step:
    """A part of the verification: its name, what it costs, what it finds.

    The cost is the number of atoms whose energies and forces take the reference as long.
    """

    name: str
    cost: float
    run: Callable[[], list[Finding]]


class Subject:
    """What every check is about.

    Args:
        model: a potential, frozen or not.
        given: the user's cases.
        settings: what is checked.
        model_file: the model's file.
        source: what a frozen model was made of.

    Attributes:
        reference: the model in float64.
        cases: the user's, then the built-in ones.
        small: those of them that are computed many times.
        curves: series for the figures.
    """

    def __init__(
        self,
        model: Model,
        given: Sequence[Case],
        settings: Settings,
        model_file: Path,
        source: Potential | None,
    ) -> None:
        self.model, self.settings = model, settings
        self.model_file, self.source = model_file, source
        self.given = list(given)
        self.cases = self.given + built_in_cases(model, settings.quick, settings.seed)
        self.small = [case for case in self.cases if case.given or case.n_atoms < _SMALL]
        self.reference = Eager(model, f"{self.form}, float64", "reference")
        zero = [0.0] * len(model.species)
        self._shifts = dict(zip(model.species, model.config.shifts or zero, strict=True))
        self._expected: dict[str, list[Prediction]] = {}
        self._sizes: dict[str, list[float]] = {}
        self._rounded: dict[str, list[Tolerance]] = {}
        self.curves: dict[str, Any] = {}

    @property
    def frozen(self) -> bool:
        """Whether the model is the inference form."""
        return isinstance(self.model, FrozenPotential)

    @property
    def form(self) -> str:
        """``"frozen"`` or ``"eager"``."""
        return "frozen" if self.frozen else "eager"

    @property
    def n_atoms(self) -> int:
        """Atoms of all cases."""
        return sum(case.n_atoms for case in self.cases)

    def structures(self, cases: Sequence[Case]) -> Iterator[tuple[Case, int, Atoms]]:
        """Case, number in the case, and structure, of all structures of the cases."""
        for case in cases:
            for index, atoms in enumerate(case.structures):
                yield case, index, atoms

    def expected(self, case: Case, index: int) -> Prediction:
        """What the reference says."""
        return self._expected[case.name][index]

    def size(self, case: Case, index: int) -> float:
        """How large the structure's numbers are (``comparison.size_of``)."""
        return self._sizes[case.name][index]

    def reference_step(self) -> Step:
        """The reference on all cases; the other steps need it."""
        return Step("reference", self.n_atoms, self._refer)

    def rounding(self, case: Case, index: int) -> Tolerance:
        """What positions that are off by float32's last digit do to the structure's numbers."""
        if case.name not in self._rounded:
            largest = [Tolerance(0.0, 0.0)] * len(case.structures)
            for moved in rounded_positions(case, self.settings.seed):
                for number, found in enumerate(self.reference.evaluate(moved)):
                    known = self.expected(case, number)
                    energy = np.abs(found.atomic_energy - known.atomic_energy).max()
                    forces = np.abs(found.forces - known.forces).max()
                    largest[number] = Tolerance(
                        max(largest[number].energy, _ROUNDINGS * float(energy)),
                        max(largest[number].forces, _ROUNDINGS * float(forces)),
                    )
            self._rounded[case.name] = largest
        return self._rounded[case.name][index]

    def numbers(self) -> list[dict[str, Any]]:
        """What the reference says of the small cases, to be compared with later."""
        return [one for case in self.small for one in record(case, self._expected[case.name])]

    def facts(self) -> dict[str, Any]:
        """About model, structures, settings, versions and machine."""
        return {
            "kind": "frozen potential" if self.frozen else "potential",
            "reference": self.reference.name,
            "species": self.model.species,
            "cutoff_A": self.model.cutoff,
            "cases": [
                {"name": case.name, "structures": len(case.structures), "atoms": case.n_atoms}
                for case in self.cases
            ],
            "settings": self.settings.record(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "clebsch": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "machine": machine.processor(),
        }

    def _refer(self) -> list[Finding]:
        findings = []
        for case in self.cases:
            predictions = self.reference.evaluate(case.structures)
            self._expected[case.name] = predictions
            self._sizes[case.name] = [
                size_of(prediction, atoms, self._shifts)
                for prediction, atoms in zip(predictions, case.structures, strict=True)
            ]
            for place, prediction in zip(case.places, predictions, strict=True):
                found = count("not finite", not prediction.finite)
                findings += judged("finite numbers", case.name, place, [found])
        return findings
