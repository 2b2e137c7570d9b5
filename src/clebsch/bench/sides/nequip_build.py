"""``python nequip_build.py CASE``: seconds to build nequip's model in a fresh process, as JSON."""

import importlib.util
import json
import sys
import time
from pathlib import Path


def main() -> None:
    """Import, construct, first and second energies with forces."""
    case = json.loads(sys.argv[1])
    times = [time.perf_counter()]
    beside = Path(__file__).with_name("nequip_model.py")
    spec = importlib.util.spec_from_file_location("nequip_model", beside)
    assert spec is not None
    assert spec.loader is not None
    side = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(side)
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name}))
        return
    times.append(time.perf_counter())
    model = side.build(case).eval()
    times.append(time.perf_counter())
    data = side.structure(case)
    calls = []
    for _ in range(2):
        start = time.perf_counter()
        model(dict(data))
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
