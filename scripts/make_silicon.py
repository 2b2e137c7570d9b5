"""Make the embedded crystal data set: silicon at PBE with energies, forces and stresses.

Cells of 8 atoms (7 with a vacancy) of diamond-structure silicon: an equation of state,
random strains, and random displacements of three sizes with and without strain.
Every label comes from GPAW in plane waves; the geometries are drawn at random (seeded),
without any model. Finished frames are kept in a scratch file, so that an interrupted
run goes on where it stopped.

Needs ``CC=g++ CXX=g++ pip install gpaw gpaw-data`` (about an hour on one core)::

    python scripts/make_silicon.py --out src/clebsch/data/silicon.extxyz.xz
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

SEED = 20261123
LATTICE = 5.47  # A, PBE
CUTOFF, KPOINTS, WIDTH = 350.0, (3, 3, 3), 0.1  # eV, Gamma-centred, eV (Fermi-Dirac)


def random_strain(rng: np.random.Generator, size: float) -> np.ndarray:
    """A symmetric deformation gradient with components up to ``size``."""
    strain = rng.uniform(-size, size, (3, 3))
    return np.eye(3) + (strain + strain.T) / 2


def geometries() -> list[Atoms]:
    """All frames to label, in order, with ``config_type`` in ``info``."""
    rng = np.random.default_rng(SEED)
    cell = bulk("Si", "diamond", LATTICE, cubic=True)
    frames: list[Atoms] = []

    def add(atoms: Atoms, config_type: str) -> None:
        atoms.info = {"config_type": config_type}
        frames.append(atoms)

    add(Atoms("Si", positions=[[4.5, 4.6, 4.7]], cell=[9.0, 9.2, 9.4], pbc=True), "IsolatedAtom")
    for scale in np.linspace(0.94, 1.06, 9):
        atoms = cell.copy()
        atoms.set_cell(cell.cell * scale, scale_atoms=True)
        add(atoms, "volume")
    for _ in range(24):
        atoms = cell.copy()
        atoms.set_cell(cell.cell @ random_strain(rng, 0.05), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.01, atoms.positions.shape)
        add(atoms, "strained")
    for size in (0.05, 0.10, 0.15):
        for _ in range(24):
            atoms = cell.copy()
            atoms.set_cell(cell.cell @ random_strain(rng, 0.02), scale_atoms=True)
            atoms.positions += rng.normal(0, size, atoms.positions.shape)
            add(atoms, f"rattled-{size:.2f}")
    for _ in range(12):
        atoms = cell.copy()
        del atoms[int(rng.integers(8))]
        atoms.positions += rng.normal(0, 0.08, atoms.positions.shape)
        add(atoms, "vacancy")
    return frames


def label(atoms: Atoms) -> dict:
    """Free energy (eV), forces (eV/A) and stress (eV/A^3, ASE's sign) of one frame."""
    from gpaw import GPAW, PW, FermiDirac

    atoms = atoms.copy()
    alone = len(atoms) == 1
    if alone:
        atoms.set_initial_magnetic_moments([2.0])
    # The lone atom is open-shell: Hund's rule fixes its occupations.
    special = {"hund": True} if alone else {"occupations": FermiDirac(WIDTH)}
    atoms.calc = GPAW(
        mode=PW(CUTOFF),
        xc="PBE",
        kpts={"size": (1, 1, 1) if alone else KPOINTS, "gamma": True},
        symmetry={"point_group": False},
        convergence={"density": 1e-6, "forces": 1e-3},
        txt=None,
        **special,
    )
    return {
        "energy": float(atoms.get_potential_energy(force_consistent=True)),
        "forces": atoms.get_forces().tolist(),
        "stress": atoms.get_stress().tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="extxyz.xz to write")
    parser.add_argument("--scratch", type=Path, default=Path("silicon_scratch"))
    args = parser.parse_args()
    args.scratch.mkdir(exist_ok=True, parents=True)

    frames = geometries()
    labels_path = args.scratch / "labels.jsonl"
    labels: dict[int, dict] = {}
    if labels_path.exists():
        for line in labels_path.read_text().splitlines():
            index, result = json.loads(line)
            labels[index] = result
    todo = [i for i in range(len(frames)) if i not in labels]
    np.random.default_rng(SEED).shuffle(todo)
    start = time.time()
    with labels_path.open("a") as log:
        for done, index in enumerate(todo, 1):
            labels[index] = label(frames[index])
            log.write(json.dumps([index, labels[index]]) + "\n")
            log.flush()
            left = (time.time() - start) / done * (len(todo) - done)
            print(f"labelled {done}/{len(todo)}, {left / 60:.1f} min left", flush=True)

    kept = []
    for index, frame in enumerate(frames):
        frame.calc = SinglePointCalculator(frame, **labels[index])
        if len(frame) == 1:
            # One atom in a box: its stress is that of the box's images, not of a crystal.
            frame.calc.results.pop("stress")
        kept.append(frame)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "frames.extxyz"
        ase.io.write(plain, kept, format="extxyz")
        packed = lzma.compress(plain.read_bytes(), preset=9)
    temporary = args.out.with_suffix(".partial")
    temporary.write_bytes(packed)
    os.replace(temporary, args.out)
    import gpaw

    print(f"{len(kept)} frames in {args.out}; gpaw {gpaw.__version__}, ase {ase.__version__}")


if __name__ == "__main__":
    main()
