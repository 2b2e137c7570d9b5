"""Potentials by file or name: a trained ``.clebsch``, or a universal one of the package sevenn."""

from __future__ import annotations

import warnings
from pathlib import Path

from ase.calculators.calculator import Calculator as ASECalculator

from clebsch.errors import UserError

#: Universal potentials whose weights lie inside the installed package sevenn, by our name.
UNIVERSAL = {"sevennet-0": "7net-0_11Jul2024", "sevennet-l3i5": "7net-l3i5"}


def check_potential(potential: str) -> None:
    """Raise UserError unless ``potential`` is a known name or an existing file."""
    if potential.lower() in UNIVERSAL or Path(potential).expanduser().is_file():
        return
    raise UserError(
        f"{potential}: is neither a model file (.clebsch) nor a potential known by name "
        f"({', '.join(UNIVERSAL)})."
    )


def potential_calculator(potential: str, device: str = "cpu") -> ASECalculator:
    """The ASE calculator of a potential; SevenNet on a CPU runs on our kernels, 5 times faster.

    Args:
        potential: a ``.clebsch`` file, or a name of ``UNIVERSAL``: SevenNet-0 (Park et al., J.
            Chem. Theory Comput. 20, 4857 (2024)) and SevenNet-l3i5, trained on PBE relaxations of
            the Materials Project. Nothing is fetched.
        device: where it runs.

    Raises:
        UserError: no such file or name, a model of another kind, or sevenn is not installed.
    """
    check_potential(potential)
    name = potential.lower()
    if name not in UNIVERSAL:
        from clebsch.models import load_model

        return load_model(Path(potential).expanduser(), device=device).calculator()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from sevenn.calculator import SevenNetCalculator

            calculator = SevenNetCalculator(UNIVERSAL[name], device=device)
    except ImportError as error:
        raise UserError(
            f"{potential} comes with the package sevenn, which cannot be imported ({error}); "
            "pip install 'clebsch[foundation]'."
        ) from error
    if device == "cpu":
        from clebsch.simulate.fused_sevennet import fuse

        fuse(calculator.model)
    return calculator
