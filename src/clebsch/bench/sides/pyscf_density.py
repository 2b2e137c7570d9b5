"""PySCF's self-consistent field: the density that the network is trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyscf

from clebsch.bench.water import water_cluster
from clebsch.density.level import Level
from clebsch.density.reference import run_scf

LEVEL = Level()


def versions() -> dict[str, Any]:
    return {
        "name": f"PySCF {pyscf.__version__} {LEVEL.xc}/{LEVEL.basis}",
        "threads": pyscf.lib.num_threads(),
    }


def prepare(case: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """A converged density matrix of a cluster of water, with fitted Coulomb and exchange.

    Case: molecules.
    """
    numbers, positions = water_cluster(case["molecules"])

    def scf() -> Any:
        return run_scf(numbers, positions, LEVEL).make_rdm1()

    def facts() -> dict[str, Any]:
        return {"orbitals": len(scf())}

    return {"scf": scf, "facts": facts}
