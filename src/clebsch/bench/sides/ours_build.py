"""``python ours_build.py CASE``: seconds to build our potential in a fresh process, as JSON."""

import json
import sys
import time


def main() -> None:
    """Import, construct, first and second energies with forces."""
    case = json.loads(sys.argv[1])
    times = [time.perf_counter()]
    from clebsch.models import Potential, PotentialConfig

    times.append(time.perf_counter())
    keys = ("layers", "lmax", "channels", "n_basis", "radial_depth", "radial_width", "cutoff")
    config = PotentialConfig(
        species=["Si"], mean_neighbours=case["neighbours"], **{key: case[key] for key in keys}
    )
    model = Potential(config).eval()
    times.append(time.perf_counter())

    from ase.build import bulk

    from clebsch.structures import AtomGraph

    atoms = bulk("Si", cubic=True).repeat(case["repeat"])
    atoms.rattle(0.05, seed=1)
    graph = AtomGraph.from_atoms(atoms, case["cutoff"])
    calls = []
    for _ in range(2):
        start = time.perf_counter()
        model(graph)
        calls.append(time.perf_counter() - start)
    print(
        json.dumps(
            {
                "import": times[1] - times[0],
                "construct": times[2] - times[1],
                "first_call": calls[0],
                "second_call": calls[1],
            }
        )
    )


if __name__ == "__main__":
    main()
