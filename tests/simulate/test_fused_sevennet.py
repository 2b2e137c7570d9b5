"""SevenNet on our kernels gives SevenNet's numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase.build import bulk

from clebsch.simulate.named_potentials import UNIVERSAL, potential_calculator

pytest.importorskip("sevenn", reason="sevenn is not installed (extra foundation)")


@pytest.mark.parametrize("name", UNIVERSAL)
def test_energy_forces_and_stress_stay(name: str) -> None:
    from clebsch.simulate.fused_sevennet import FusedConvolution

    atoms = bulk("NaCl", "rocksalt", a=5.7, cubic=True)
    atoms.rattle(0.1, seed=1)
    fused = potential_calculator(name)
    layers = [m for m in fused.model.modules() if isinstance(m, FusedConvolution)]
    assert len(layers) == 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sevenn.calculator import SevenNetCalculator

        theirs = SevenNetCalculator(UNIVERSAL[name], device="cpu")
        found = []
        for calculator in (fused, theirs):
            atoms.calc = calculator
            found.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    (energy, forces, stress), (energy_2, forces_2, stress_2) = found
    assert energy == pytest.approx(energy_2, rel=1e-6)
    assert np.abs(forces_2).max() > 0.1
    np.testing.assert_allclose(forces, forces_2, atol=1e-5)
    np.testing.assert_allclose(stress, stress_2, atol=1e-7)
