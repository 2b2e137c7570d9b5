"""Measured heat capacities and frequencies of five crystals, to hold phonons against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator as ASECalculator

from clebsch.models import PhononDosModel
from clebsch.phonons import convert_frequency, heat_capacity
from clebsch.phonons.dataset import PhononDataset
from clebsch.vibrations.crystals import Crystal
from clebsch.vibrations.finite_displacements import (
    DisplacementSettings,
    LatticeDynamics,
    finite_displacements,
)
from clebsch.vibrations.prediction import predict_phonons

TEMPERATURE = 298.15  # K
_JOULE = units._e * units._Nav  # J/mol in an eV


@dataclass(frozen=True)
class MeasuredCrystal:
    """What experiments say of a crystal at room temperature.

    Attributes:
        name: of the crystal.
        lattice: structure of ASE's ``bulk`` and lattice constant, A.
        c_p: J/(K mol of formula units) at 298.15 K.
        source: of ``c_p``.
        expansion: 1/K, of the volume.
        bulk_modulus: GPa.
        volume: cm^3/mol of formula units.
        transverse: THz, optical at the zone centre (the Raman line of elements).
        longitudinal: THz, likewise.
        database: the crystal's record in the DFPT set of Petretto et al. (2018).
    """

    name: str
    lattice: tuple[str, float]
    c_p: float
    source: str
    expansion: float
    bulk_modulus: float
    volume: float
    transverse: float
    longitudinal: float
    database: str

    def structure(self) -> Atoms:
        """Primitive cell at the measured lattice constant."""
        return bulk(self.name, self.lattice[0], a=self.lattice[1])

    @property
    def c_v(self) -> float:
        """J/(K mol of atoms): C_p without T V alpha^2 B, the work of expansion."""
        work = TEMPERATURE * self.volume * 1e-6 * self.expansion**2 * self.bulk_modulus * 1e9
        return (self.c_p - work) / (2 if len(set(self.structure().numbers.tolist())) > 1 else 1)


#: Zone-centre frequencies: Raman (Si, diamond), infrared and Raman (GaAs, NaCl, MgO), 300 K.
#: Expansion and bulk moduli are rounded handbook values; their term is 1.4 J/(K mol of atoms) in
#: NaCl, 0.3 in MgO, below 0.1 elsewhere.
MEASURED = (
    MeasuredCrystal(
        "Si", ("diamond", 5.431), 20.00, "NIST-JANAF", 7.8e-6, 98.0, 12.06, 15.53, 15.53, "mp-149"
    ),
    MeasuredCrystal(
        "C", ("diamond", 3.567), 6.1, "handbooks", 3.2e-6, 443.0, 3.417, 39.9, 39.9, "mp-66"
    ),
    MeasuredCrystal(
        "GaAs", ("zincblende", 5.653), 46.2, "handbooks", 1.7e-5, 75.3, 27.2, 8.0, 8.8, "mp-2534"
    ),
    MeasuredCrystal(
        "NaCl", ("rocksalt", 5.640), 50.51, "NIST-JANAF", 1.19e-4, 24.0, 27.0, 4.9, 7.9, "mp-22862"
    ),
    MeasuredCrystal(
        "MgO", ("rocksalt", 4.212), 37.0, "NIST-JANAF", 3.12e-5, 160.0, 11.25, 12.0, 21.5, "mp-1265"
    ),
)  # fmt: skip


def against_measured(
    calculator: ASECalculator,
    direct: PhononDosModel | None = None,
    reference: PhononDataset | None = None,
    settings: DisplacementSettings | None = None,
    on_crystal: Callable[[str, LatticeDynamics], None] | None = None,
) -> list[dict[str, Any]]:
    """Phonons of the five crystals through a potential (and a network), beside measured figures.

    The zone-centre frequency of finite displacements is the transverse one: the electric field
    of longitudinal modes, which lifts them in NaCl, MgO and GaAs, is not in short-ranged forces.

    Args:
        calculator: of the potential.
        direct: network for the density of states; C_v comes from its prediction at the measured
            lattice constant.
        reference: the DFPT set of Petretto et al. (2018); its values of these crystals are added.
        settings: of the displacements.
        on_crystal: called with name and phonons of each.

    Returns:
        Rows with C_v in J/(K mol of atoms), frequencies in THz, lattice constants in A.
    """
    rows = []
    for crystal in MEASURED:
        atoms = crystal.structure()
        phonons = finite_displacements(atoms, calculator, settings, crystal.name)
        figures = phonons.thermodynamics([TEMPERATURE])
        dos = phonons.dos
        row: dict[str, Any] = {
            "crystal": crystal.name,
            "c_v_measured": crystal.c_v,
            "c_v_source": crystal.source,
            "c_v_potential": figures["heat_capacity_J_per_K_mol_atoms"][0],
            "transverse_measured": crystal.transverse,
            "longitudinal_measured": crystal.longitudinal,
            "zone_centre_potential": _thz(phonons.gamma[-1]),
            "band_top_potential": _thz(phonons.largest),
            "peak_potential": _thz(dos.frequencies[int(np.argmax(dos.density))]),
            "lattice_measured": crystal.lattice[1],
            "lattice_potential": crystal.lattice[1] * (1 + phonons.volume_change) ** (1 / 3),
        }
        if reference is not None and crystal.database in reference.names:
            dfpt = reference.dos(reference.names.index(crystal.database)).normalized(3 * len(atoms))
            w, g = dfpt.frequencies, dfpt.density
            states = dfpt.states_at()
            row["c_v_dfpt"] = _JOULE / len(atoms) * float(heat_capacity(w, states, TEMPERATURE))
            row["band_top_dfpt"] = _thz(w[np.flatnonzero(g > 1e-3 * g.max()).max()])
            row["peak_dfpt"] = _thz(w[int(np.argmax(g))])
        if direct is not None:
            named = Crystal(crystal.name, crystal.name, atoms)
            prediction = next(predict_phonons(direct, [named]))
            capacity = prediction.thermodynamics([TEMPERATURE]).heat_capacity(TEMPERATURE)
            density = prediction.states[:-1] / prediction.widths
            row["c_v_direct"] = capacity.value
            row["peak_direct"] = _thz(prediction.grid.centres[int(np.argmax(density))])
        rows.append(row)
        if on_crystal is not None:
            on_crystal(crystal.name, phonons)
    return rows


def _thz(wavenumber: float) -> float:
    return float(convert_frequency(wavenumber, "cm^-1", "THz"))
