"""LAMMPS against the ASE calculator: time per step of a frozen potential, one rank and two.

    python benchmarks/lammps.py [--atoms 5120] [--steps 8] [--rounds 3] [--out FILE]

4 layers, l <= 2, 64 channels, float32, silicon at 5 Å, random weights. Each round runs the ASE
path with one thread, LAMMPS on one rank and LAMMPS on two ranks in turn; medians over all rounds.
LAMMPS's time is its own loop time, ASE's the same steps of velocity Verlet after a first one.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from clebsch.bench.result import surroundings
from clebsch.files import atomic_path
from clebsch.lammps import run
from clebsch.lammps.box import Box, data_file
from clebsch.models import Potential, PotentialConfig, load_model, save_model

_SCRIPT = """\
units metal
atom_style atomic
read_data atoms.data
pair_style clebsch domain off
pair_coeff * * model.clebsch Si
neighbor 0.5 bin
timestep 0.0005
fix 1 all nve
run 1
run {steps}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=5120)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/bench/lammps.json"))
    given = parser.parse_args()
    repeats = max(1, round((given.atoms / 8) ** (1 / 3)))
    along = max(1, round(given.atoms / 8 / repeats**2))
    atoms = bulk("Si", cubic=True) * (along, repeats, repeats)
    draw = np.random.default_rng(1)
    width = np.sqrt(300 * units.kB / atoms.get_masses())[:, None]
    atoms.set_velocities(width * draw.normal(size=(len(atoms), 3)))
    times: dict[str, list[float]] = {"ase": [], "lammps_1_rank": [], "lammps_2_ranks": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        torch.manual_seed(0)
        config = PotentialConfig(
            species=["Si"], cutoff=5.0, layers=4, lmax=2, channels=64, mean_neighbours=46.0
        )
        save_model(Potential(config).freeze(1e-5), folder / "model.clebsch")
        velocities = atoms.get_velocities() * 1000 * units.fs
        text = data_file(atoms, Box.around(atoms), ["Si"], velocities)
        (folder / "atoms.data").write_text(text, encoding="ascii")
        (folder / "in.bench").write_text(_SCRIPT.format(steps=given.steps), encoding="ascii")
        for number in range(given.rounds):
            times["ase"].append(_ase(folder, atoms, given.steps))
            for ranks, name in ((1, "lammps_1_rank"), (2, "lammps_2_ranks")):
                seconds, memory = _lammps(folder, ranks)
                times[name].append(seconds / given.steps)
            last = {name: round(values[-1], 3) for name, values in times.items()}
            print(f"round {number + 1} of {given.rounds}, seconds per step: {last}")
    median = {name: statistics.median(values) for name, values in times.items()}
    content: dict[str, Any] = {
        "atoms": len(atoms),
        "seconds_per_step": median,
        "all": times,
        "lammps_1_rank_over_ase": median["lammps_1_rank"] / median["ase"],
        "speedup_of_2_ranks": median["lammps_1_rank"] / median["lammps_2_ranks"],
        "worker_peak_kB_per_atom_1_rank": memory,
        "machine": surroundings(1, torch.__version__, False),
    }
    with atomic_path(given.out) as path:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"LAMMPS, one rank / ASE: {content['lammps_1_rank_over_ase']:.2f} (bar: at most 1.3)")
    print(f"two ranks against one: {content['speedup_of_2_ranks']:.2f} x (bar: at least 1.7)")


def _ase(folder: Path, atoms: Any, steps: int) -> float:
    """Seconds per step with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    moving = atoms.copy()
    moving.calc = load_model(folder / "model.clebsch").calculator()
    dynamics = VelocityVerlet(moving, 0.5 * units.fs)
    dynamics.run(1)
    start = time.perf_counter()
    dynamics.run(steps)
    seconds = time.perf_counter() - start
    torch.set_num_threads(threads)
    return seconds / steps


def _lammps(folder: Path, ranks: int) -> tuple[float, float]:
    """Seconds of the second run, and the largest memory of a child, kB per atom."""
    import resource

    lines: list[str] = []
    run("in.bench", ranks, folder, lines.append, ["-log", "none", "-nocite"])
    loops = [re.match(r"Loop time of (\S+) on .* with (\d+) atoms", line) for line in lines]
    last = [loop for loop in loops if loop][-1]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return float(last[1]), peak / int(last[2])


if __name__ == "__main__":
    main()
