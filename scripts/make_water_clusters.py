"""Make clusters of liquid water, and the embedded set of their densities.

The liquid is a periodic box of flexible TIP3P water at 300 K and 0.997 g/cm^3: charges and
Lennard-Jones of Jorgensen et al., J. Chem. Phys. 79, 926 (1983), harmonic bonds and angles of the
CHARMM force field. Its 512 molecules melt from a lattice with random orientations; then one frame
is kept every picosecond. Clusters are cut from the frames, ``grown`` molecule by molecule at random
(O-O below 3.5 Å), or ``compact``: a molecule and those nearest to it. Clusters of one call share
no molecule of a frame. The classical model only chooses the geometries.

Atoms are O, H, H, O, H, H, ..., the centroid is at 0. Needs the extras engines and density::

    python scripts/make_water_clusters.py cut --out large.extxyz --compact 12:4 16:1 --split test
    python scripts/make_water_clusters.py embedded --out src/clebsch/data/water-density.h5

``cut`` writes structures for ``clebsch density make-data``; ``embedded`` makes the set that ships,
geometries and densities. The frames are kept in ``--liquid FILE`` and used again.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

SEED = 20261123
TEMPERATURE = 300.0  # kelvin
SIDE = 8  # molecules along an edge of the starting lattice
STEP = 0.0005  # ps
MELTING, SPACING = 20_000, 2_000  # steps before the first frame and between frames
VOLUME = 30.0  # Å^3 per molecule
SHARE = 3.5  # Å, O-O of neighbours
BONDS, NEAREST = (0.85, 1.15), (2.4, 3.5)  # Å, O-H and nearest O-O of an accepted cluster

# the embedded set: molecules -> clusters of each split; four molecules are never trained on
EMBEDDED = {
    1: {"train": 6, "val": 1, "test": 1},
    2: {"train": 8, "val": 2, "test": 2},
    3: {"train": 6, "val": 1, "test": 1},
    4: {"transfer": 4},
}


def liquid(frames: int, seed: int) -> tuple[np.ndarray, float]:
    """Positions (frames, molecules, 3, 3) in Å, molecules whole; and the edge of the box."""
    import openmm
    from openmm import unit

    rng = np.random.default_rng(seed)
    n, edge = SIDE**3, (SIDE**3 * VOLUME) ** (1 / 3)
    half = np.radians(104.52) / 2
    water = 0.9572 * np.array(
        [[0, 0, 0], [np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]]
    )
    sites = np.array(list(itertools.product(range(SIDE), repeat=3))) * edge / SIDE
    turns = Rotation.random(n, rng).as_matrix()
    start = sites[:, None] + np.einsum("nij,aj->nai", turns, water)

    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*(np.eye(3) * edge / 10))
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    pairs = openmm.NonbondedForce()
    pairs.setNonbondedMethod(openmm.NonbondedForce.PME)
    pairs.setCutoffDistance(0.9)
    for o in range(0, 3 * n, 3):
        for mass, charge, epsilon in ((15.999, -0.834, 0.636386), *((1.008, 0.417, 0.0),) * 2):
            system.addParticle(mass)
            pairs.addParticle(charge, 0.315061, epsilon)
        for i, j in ((o, o + 1), (o, o + 2), (o + 1, o + 2)):
            pairs.addException(i, j, 0.0, 0.1, 0.0)
        bonds.addBond(o, o + 1, 0.09572, 376560.0)
        bonds.addBond(o, o + 2, 0.09572, 376560.0)
        angles.addAngle(o + 1, o, o + 2, 2 * half, 460.24)
    for force in (bonds, angles, pairs):
        system.addForce(force)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 5.0, STEP)
    integrator.setRandomNumberSeed(seed)
    # the order of sums is fixed, so that the same machine gives the same trajectory again
    cpu = openmm.Platform.getPlatformByName("CPU")
    options = {"Threads": "1", "DeterministicForces": "true"}
    context = openmm.Context(system, integrator, cpu, options)
    context.setPositions(start.reshape(-1, 3) / 10)
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 100)
    context.setVelocitiesToTemperature(TEMPERATURE, seed)
    integrator.step(MELTING)
    out = []
    for frame in range(frames):
        integrator.step(SPACING)
        state = context.getState(getPositions=True, getEnergy=True)
        kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
        print(f"frame {frame}: {2 * kinetic / (9 * n * 0.00831446):.0f} K", flush=True)
        out.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    return np.array(out).reshape(frames, n, 3, 3), edge


def read_liquid(file: Path | None, frames: int, seed: int) -> tuple[np.ndarray, float]:
    """The liquid in ``file``, or a new one that is kept there."""
    if file is not None and file.exists():
        with np.load(file) as kept:
            return kept["positions"], float(kept["edge"])
    positions, edge = liquid(frames, seed)
    if file is not None:
        np.savez(file, positions=positions, edge=edge)
    return positions, edge


class Cutter:
    """Cuts clusters from one frame; a molecule belongs to one cluster at most."""

    def __init__(self, positions: np.ndarray, edge: float, rng: np.random.Generator) -> None:
        self.positions, self.edge, self.rng = positions, edge, rng
        oxygen = positions[:, 0]
        self.between = oxygen[None] - oxygen[:, None]  # from row to column, nearest image
        self.between -= edge * np.round(self.between / edge)
        self.distance = np.linalg.norm(self.between, axis=-1)
        self.used = np.zeros(len(oxygen), dtype=bool)

    def cut(self, molecules: int, compact: bool) -> Atoms | None:
        """A new cluster, or None where none was found in 500 trials."""
        for _ in range(500):
            centre = int(self.rng.integers(len(self.used)))
            chosen = self.compact(centre, molecules) if compact else self.grown(centre, molecules)
            if chosen is None or self.used[chosen].any():
                continue
            atoms = self.atoms(centre, chosen)
            bonds, nearest = lengths(atoms)
            inside = BONDS[0] < bonds.min() and bonds.max() < BONDS[1]
            if molecules > 1:
                inside &= NEAREST[0] < nearest.min() and nearest.max() < NEAREST[1]
            if inside:
                self.used[chosen] = True
                return atoms
        return None

    def compact(self, centre: int, molecules: int) -> list[int] | None:
        """A molecule and those nearest to it, within half the box."""
        order = np.argsort(self.distance[centre])[:molecules]
        near = len(order) == molecules and self.distance[centre][order[-1]] < self.edge / 2
        return order.tolist() if near else None

    def grown(self, centre: int, molecules: int) -> list[int] | None:
        """A molecule and others, each a neighbour of one already there."""
        chosen = [centre]
        while len(chosen) < molecules:
            near = self.distance[chosen].min(0) < SHARE
            near &= self.distance[centre] < self.edge / 2
            near[chosen] = False
            if not near.any():
                return None
            chosen.append(int(self.rng.choice(np.flatnonzero(near))))
        return chosen

    def atoms(self, centre: int, chosen: list[int]) -> Atoms:
        """The molecules around the centre, without cell."""
        molecules = self.positions[chosen] - self.positions[chosen][:, :1]
        positions = (molecules + self.between[centre, chosen][:, None]).reshape(-1, 3)
        # the digits that the file keeps, so that it and this are one structure
        positions = np.round(positions - positions.mean(0), 8)
        return Atoms("OHH" * len(chosen), positions)


def lengths(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """O-H bonds (2 n,), and each O's distance to the nearest other O (n,), Å."""
    r = atoms.positions.reshape(-1, 3, 3)
    bonds = np.linalg.norm(r[:, 1:] - r[:, :1], axis=-1).ravel()
    between = np.linalg.norm(r[:, None, 0] - r[None, :, 0], axis=-1)
    np.fill_diagonal(between, np.inf)
    return bonds, between.min(0)


def clusters(
    positions: np.ndarray,
    edge: float,
    orders: Iterator[tuple[int, bool, str]],
    first: int,
    last: int,
    seed: int,
) -> list[Atoms]:
    """Clusters from frames in turn; an order is (molecules, compact, split)."""
    rng = np.random.default_rng([seed, 1])
    cutters = {}
    turn = itertools.cycle(range(first, last))
    out = []
    for molecules, compact, split in orders:
        for _ in range(last - first):
            frame = next(turn)
            if frame not in cutters:
                cutters[frame] = Cutter(positions[frame], edge, rng)
            atoms = cutters[frame].cut(molecules, compact)
            if atoms is not None:
                break
        else:
            raise SystemExit(f"no cluster of {molecules} molecules is left in the frames")
        shape = "compact" if compact else "grown"
        atoms.info.update(config_type=f"{shape}-{molecules}", trajectory=f"f{frame}")
        if split:
            atoms.info["split"] = split
        out.append(atoms)
    return out


def report(found: list[Atoms]) -> None:
    """Say what was cut."""
    bonds, nearest = (np.concatenate(x) for x in zip(*map(lengths, found), strict=True))
    nearest = nearest[np.isfinite(nearest)]
    print(
        f"{len(found)} clusters; O-H {bonds.mean():.3f} +- {bonds.std():.3f} Å, "
        f"{bonds.min():.3f} to {bonds.max():.3f}"
    )
    if len(nearest):
        print(f"nearest O-O {nearest.mean():.3f} Å, {nearest.min():.3f} to {nearest.max():.3f}")


def cut(args: argparse.Namespace) -> None:
    """The command ``cut``."""
    positions, edge = read_liquid(args.liquid, args.frames, args.seed)
    orders = [
        (size, compact, args.split)
        for compact, sizes in ((False, args.grown), (True, args.compact))
        for size, count in sizes
        for _ in range(count)
    ]
    last = len(positions) if args.last is None else args.last
    found = clusters(positions, edge, iter(orders), args.first, last, args.seed)
    report(found)
    ase.io.write(args.out, found, format="extxyz")


def embedded(args: argparse.Namespace) -> None:
    """The command ``embedded``: half of the clusters grown, half compact."""
    from dataclasses import replace

    from clebsch.density import Level, make_data, write_density
    from clebsch.density.data import structure_key

    positions, edge = read_liquid(args.liquid, args.frames, args.seed)
    orders = [
        (size, bool(i % 2), split)
        for size, splits in EMBEDDED.items()
        for split, count in splits.items()
        for i in range(count)
    ]
    found = clusters(positions, edge, iter(orders), 0, len(positions), args.seed)
    report(found)
    made = make_data(
        found,
        args.out,
        Level(),
        args.workers,
        on_progress=lambda p: print(f"{p.finished}/{p.molecules} densities", flush=True),
    )
    if made.failed:
        raise SystemExit(f"these failed: {made.failed}")
    by_key = {record.key: record for record in made.data.records}
    records = [
        replace(
            by_key[structure_key(atoms.numbers, atoms.positions)],
            source=f"{atoms.info['config_type']}, {atoms.info['trajectory']}",
        )
        for atoms in found
    ]
    write_density(replace(made.data, records=records), args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1024:.0f} kB, {made.data.versions}")


def size_and_count(text: str) -> tuple[int, int]:
    """``"12:4"``: four clusters of twelve molecules."""
    size, _, count = text.partition(":")
    return int(size), int(count or 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    for name, run in (("cut", cut), ("embedded", embedded)):
        verb = verbs.add_parser(name, help=run.__doc__)
        verb.set_defaults(run=run)
        verb.add_argument("--out", type=Path, required=True)
        verb.add_argument("--liquid", type=Path, help=".npz of the frames; made if missing")
        verb.add_argument("--frames", type=int, default=8, help="of a new liquid")
        verb.add_argument("--seed", type=int, default=SEED)
        if name == "embedded":
            verb.add_argument("--workers", type=int, default=1)
            continue
        for shape in ("grown", "compact"):
            verb.add_argument(
                f"--{shape}",
                type=size_and_count,
                nargs="*",
                default=[],
                metavar="SIZE:COUNT",
                help=f"{shape} clusters",
            )
        verb.add_argument("--first", type=int, default=0, help="frame to cut from")
        verb.add_argument("--last", type=int, help="one beyond the last frame; default all")
        verb.add_argument("--split", default="", help="train, val, test, ...")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
