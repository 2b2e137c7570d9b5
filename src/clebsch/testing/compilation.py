"""Does a module survive ``torch.compile`` and ``torch.export``?"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from clebsch.testing.arguments import call, name_of


def assert_compiles(
    module: nn.Module, *inputs: Any, export: bool = True, backend: str = "aot_eager"
) -> None:
    """Assert that one graph holds the whole module and computes the same.

    Args:
        module: the module; its parameters and mode are left alone.
        inputs: arguments of its ``forward``.
        export: whether ``torch.export`` is tried as well.
        backend: of ``torch.compile``; ``"aot_eager"`` needs no compiler.

    Raises:
        AssertionError: there is a graph break, or another result.
    """
    name = name_of(module)
    result = module(*inputs)
    count = len(result) if isinstance(result, tuple | list) else 1
    names = list(result) if isinstance(result, dict) else [str(n) for n in range(count)]
    expected = call(module, inputs, names)
    torch._dynamo.reset()
    try:
        programs = {
            "torch.compile": torch.compile(module, fullgraph=True, backend=backend),
        }
        if export:
            programs["torch.export"] = torch.export.export(module, inputs).module()
        found = {way: call(program, inputs, names) for way, program in programs.items()}
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise AssertionError(f"{name} is not one graph: {first}") from error
    finally:
        torch._dynamo.reset()
    for way, outputs in found.items():
        for key, output in outputs.items():
            torch.testing.assert_close(
                output,
                expected[key],
                msg=lambda text, way=way, key=key: (  # type: ignore[misc]
                    f"{name}: output {key} differs under {way}: {text}"
                ),
            )
