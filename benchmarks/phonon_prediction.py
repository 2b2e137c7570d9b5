"""Prediction of phonon spectra: crystals per second of one core, graphs included.

    python benchmarks/phonon_prediction.py DATA [--model MODEL] [--members 1] [--out FILE]

DATA is any set of crystals, such as the DFPT set of Petretto et al. (JSON lines); those of more
than ``--atoms`` atoms in the cell are left out. Without a model file one of the default size with
random weights is timed: what the weights are does not change the time. One thread, processor time,
median and best of the rounds after one that warms up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from clebsch.bench.result import surroundings
from clebsch.files import atomic_path
from clebsch.models import DosConfig, PhononDosModel, load_dos_model
from clebsch.vibrations.crystals import read_crystals
from clebsch.vibrations.output import write_phonons
from clebsch.vibrations.prediction import predict_phonons


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="files or folders of structures")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--members", type=int, default=1, help="networks of the random model")
    parser.add_argument("--atoms", type=int, default=20, help="largest cell")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    crystals = [c for c in read_crystals(options.data) if len(c.atoms) <= options.atoms]
    if options.model is None:
        species = sorted({s for c in crystals for s in c.atoms.symbols})
        model = PhononDosModel(DosConfig(species=species, members=options.members))
    else:
        model = load_dos_model(options.model)

    def spectra() -> None:
        for _ in predict_phonons(model, crystals):
            pass

    def thermodynamics() -> None:
        for prediction in predict_phonons(model, crystals):
            list(prediction.thermodynamics([300.0]).quantities())

    with tempfile.TemporaryDirectory() as folder:

        def files() -> None:
            write_phonons(predict_phonons(model, crystals), Path(folder) / "predictions.csv")

        stages: dict[str, Callable[[], None]] = {
            "spectra": spectra, "and thermodynamics": thermodynamics, "and CSV file": files,
        }  # fmt: skip
        times: dict[str, list[float]] = {name: [] for name in stages}
        for number in range(options.rounds + 1):
            for name, stage in stages.items():
                start = time.process_time()
                stage()
                if number:
                    times[name].append(time.process_time() - start)
    n, members = len(crystals), model.config.members
    atoms = sum(len(c.atoms) for c in crystals) / n
    print(f"{n} crystals of {atoms:.1f} atoms, {members} networks, one thread")
    found = {}
    for name, values in times.items():
        rates = {"median": n / statistics.median(values), "best": n / min(values)}
        found[name] = rates
        print(f"{name:20} {rates['median']:7.0f} per second, best {rates['best']:7.0f}")
    if options.out is not None:
        settings = {"crystals": n, "atoms_per_crystal": atoms, "members": members}
        content = {
            "settings": {**settings, "rounds": options.rounds, "unit": "crystals/s"},
            "machine": surroundings(1, torch.__version__, False),
            "results": found,
        }
        with atomic_path(options.out) as path:
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
