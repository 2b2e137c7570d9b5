"""Make the embedded molecular data set: ethanol at PBE0/def2-SVP.

Geometries come from Langevin dynamics with GFN2-xTB (tblite) at several temperatures,
one frame every 0.1 ps after 1 ps of equilibration, from several independent walkers.
xTB only chooses the geometries: every label (energy, forces, dipole) is an SCF
calculation with PySCF. Finished frames are kept in a scratch file, so that an
interrupted run goes on where it stopped.

Needs ``pip install ase pyscf tblite`` (about 90 minutes on one core)::

    python scripts/make_ethanol.py --out src/clebsch/data/ethanol.extxyz.xz
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import platform
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.io
import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

SEED = 20261123
FRAMES_PER_TEMPERATURE = {300: 300, 600: 160, 900: 80}  # kelvin -> frames
FRAMES_PER_WALK = 20
XC, BASIS = "PBE0", "def2-svp"


def sample(temperature: int, walk: int, frames: int) -> list[Atoms]:
    """Frames of one Langevin walk with GFN2-xTB (0.5 fs steps, friction 0.02 / fs)."""
    from tblite.ase import TBLite

    rng = np.random.default_rng([SEED, temperature, walk])
    atoms = molecule("CH3CH2OH")
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    md = Langevin(
        atoms,
        0.5 * units.fs,
        temperature_K=temperature,
        friction=0.02 / units.fs,
        rng=rng,
        fixcm=False,
    )
    md.run(2000)
    out = []
    for step in range(frames):
        md.run(200)
        frame = Atoms(atoms.numbers, atoms.positions - atoms.get_center_of_mass())
        frame.info.update(
            config_type=f"{temperature}K", trajectory=f"{temperature}K-{walk}", step=step
        )
        out.append(frame)
    return out


def isolated_atoms() -> list[Atoms]:
    """H, C and O alone, spin-polarised, at the same level of theory."""
    frames = []
    for symbol in ("H", "C", "O"):
        frame = Atoms(symbol, positions=np.zeros((1, 3)))
        frame.info.update(config_type="IsolatedAtom", trajectory=f"atom-{symbol}", step=0)
        frames.append(frame)
    return frames


def label(index: int, atoms: Atoms) -> tuple[int, dict | None]:
    """Energy (eV), forces (eV/A) and dipole (e A) of one frame; None where SCF fails."""
    from pyscf import dft, gto, lib

    lib.num_threads(1)
    spin = {"H": 1, "C": 2, "O": 2}[atoms.symbols[0]] if len(atoms) == 1 else 0
    mol = gto.M(
        atom=list(zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)),
        basis=BASIS,
        spin=spin,
        verbose=0,
    )
    scf = (dft.UKS(mol) if spin else dft.RKS(mol)).density_fit()
    scf.xc, scf.conv_tol, scf.grids.level = XC, 1e-8, 2
    energy = scf.kernel()
    if not scf.converged:
        return index, None
    gradient = scf.nuc_grad_method()
    gradient.grid_response = True  # else the forces miss the motion of the DFT grid
    forces = -gradient.kernel() * units.Hartree / units.Bohr
    dipole = scf.dip_moment(unit="au", verbose=0) * units.Bohr
    return index, {
        "energy": float(energy * units.Hartree),
        "forces": forces.tolist(),
        "dipole": dipole.tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="extxyz.xz to write")
    parser.add_argument("--scratch", type=Path, default=Path("ethanol_scratch"))
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    args.scratch.mkdir(exist_ok=True, parents=True)

    geometries = args.scratch / "geometries.extxyz"
    if not geometries.exists():
        frames = isolated_atoms()
        for temperature, count in FRAMES_PER_TEMPERATURE.items():
            for walk in range(count // FRAMES_PER_WALK):
                frames += sample(temperature, walk, FRAMES_PER_WALK)
                print(f"sampled {temperature} K, walk {walk}", flush=True)
        ase.io.write(geometries, frames)
    frames = ase.io.read(geometries, ":")

    labels_path = args.scratch / "labels.jsonl"
    labels: dict[int, dict | None] = {}
    if labels_path.exists():
        for line in labels_path.read_text().splitlines():
            index, result = json.loads(line)
            labels[index] = result
    # Interleaved order: an early stop still covers every temperature.
    todo = [i for i in range(len(frames)) if i not in labels]
    np.random.default_rng(SEED).shuffle(todo)
    start = time.time()
    with ProcessPoolExecutor(args.processes) as pool, labels_path.open("a") as log:
        jobs = [pool.submit(label, i, frames[i]) for i in todo]
        for done, job in enumerate(as_completed(jobs), 1):
            index, result = job.result()
            labels[index] = result
            log.write(json.dumps([index, result]) + "\n")
            log.flush()
            left = (time.time() - start) / done * (len(todo) - done)
            print(f"labelled {done}/{len(todo)}, {left / 60:.1f} min left", flush=True)

    kept = []
    for index, frame in enumerate(frames):
        result = labels[index]
        if result is None:
            print(f"frame {index}: SCF did not converge, left out")
            continue
        out = Atoms(frame.numbers, frame.positions, info=dict(frame.info))
        out.calc = SinglePointCalculator(
            out, energy=result["energy"], forces=result["forces"], dipole=result["dipole"]
        )
        kept.append(out)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "frames.extxyz"
        ase.io.write(plain, kept, format="extxyz")
        packed = lzma.compress(plain.read_bytes(), preset=9)
    temporary = args.out.with_suffix(".partial")
    temporary.write_bytes(packed)
    os.replace(temporary, args.out)
    import pyscf
    import tblite

    print(
        f"{len(kept)} frames in {args.out}; pyscf {pyscf.__version__}, "
        f"tblite {getattr(tblite, '__version__', '?')}, ase {ase.__version__}, "
        f"Python {platform.python_version()}"
    )


if __name__ == "__main__":
    main()
