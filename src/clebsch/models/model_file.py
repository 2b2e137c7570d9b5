"""The model file: safetensors weights and a JSON header. Opening it cannot run code."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file

from clebsch import __version__
from clebsch.errors import UserError
from clebsch.files import atomic_path
from clebsch.models.configuration import PotentialConfig
from clebsch.models.density import DensityModel
from clebsch.models.density_configuration import DensityConfig
from clebsch.models.dos import PhononDosModel
from clebsch.models.dos_configuration import DosConfig
from clebsch.models.frozen import FrozenPotential
from clebsch.models.potential import Potential

Model = Potential | FrozenPotential | PhononDosModel | DensityModel

SUFFIX = ".clebsch"
FORMAT = 1
_KEY = "clebsch"
_ENERGIES = {"length": "A", "energy": "eV", "forces": "eV/A", "stress": "eV/A^3, tension positive"}
_UNITS: dict[str, dict[str, str]] = {
    "potential": _ENERGIES,
    "frozen potential": _ENERGIES,
    "phonon dos": {"length": "A", "frequency": "cm^-1", "states": "states of the cell per bin"},
    "electron density": {"length": "A", "coefficients": "atomic units"},
}

# format version -> function that lifts (header, tensors) to the next version
Upgrade = Callable[[dict[str, Any], dict[str, torch.Tensor]], None]
UPGRADES: dict[int, Upgrade] = {}


_KINDS: dict[type, str] = {
    Potential: "potential",
    FrozenPotential: "frozen potential",
    PhononDosModel: "phonon dos",
    DensityModel: "electron density",
}


def kind_of(model: Model) -> str:
    """What the header calls a model.

    Raises:
        ValueError: a model of another class, which `load` could not build again.
    """
    if type(model) not in _KINDS:
        raise ValueError(
            f"a model file holds a {', '.join(t.__name__ for t in _KINDS)}; a "
            f"{type(model).__name__} cannot be built from a header: keep its state_dict() instead"
        )
    return _KINDS[type(model)]


def save_model(model: Model, path: str | Path, header: dict[str, Any] | None = None) -> None:
    """Write a model to one file, whole or not at all.

    Args:
        model: of any kind; the header's ``kind`` says which.
        path: where to; the usual suffix is ``.clebsch``.
        header: JSON-serialisable facts about the model (training data, metrics, domain); they
            come back as ``model.header``. Without it the model's own header is kept.

    Raises:
        UserError: the place cannot be written or the disk is full.
        ValueError: a class of your own, also one derived from these.
    """
    kind = kind_of(model)
    facts = dict(model.header if header is None else header)
    facts.pop("frozen", None)
    if isinstance(model, FrozenPotential):
        facts["frozen"] = model.facts
    facts.update(
        format=FORMAT,
        kind=kind,
        config=model.config.model_dump(mode="json"),
        units=_UNITS[kind],
        dtype=str(model.dtype).removeprefix("torch."),
        versions={
            "clebsch": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: json.dumps(facts)})


def read_header(path: str | Path) -> dict[str, Any]:
    """The JSON header of a model file.

    Raises:
        UserError: no such file, or not a model file.
    """
    return _read(Path(path), "cpu")[0]


def load(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> Model:
    """Read a model file of any kind.

    Args:
        path: a ``.clebsch`` file.
        device: where the weights go.
        dtype: floating-point type; by default the one it was saved in.

    Returns:
        The model in ``eval()`` mode, with ``header`` filled.

    Raises:
        UserError: no such file, not a model file, one of a newer version, or a broken one.
    """
    path = Path(path)
    header, tensors = _read(path, str(device))
    version = header.get("format")
    if not isinstance(version, int) or version > FORMAT:
        raise UserError(
            f"{path}: written in format {version}, this clebsch {__version__} reads up to "
            f"{FORMAT}; install a newer clebsch."
        )
    while version < FORMAT:
        UPGRADES[version](header, tensors)
        version += 1
    if header.get("kind") not in _UNITS:
        raise UserError(f"{path}: holds a {header.get('kind')!r} model, which is not known here.")
    try:
        model = _build(header)
        saved = getattr(torch, header["dtype"])
        model = model.to(dtype=saved)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path}: the header and the weights do not fit ({reason}); save the model again."
        ) from error
    model.header = header
    return model.to(device=device, dtype=dtype or saved).eval()


def _build(header: dict[str, Any]) -> Model:
    """A model with the header's configuration and weights yet to come."""
    if header["kind"] == "phonon dos":
        return PhononDosModel(DosConfig(**header["config"]))
    if header["kind"] == "electron density":
        return DensityModel(DensityConfig(**header["config"]))
    potential = Potential(PotentialConfig(**header["config"]))
    if header["kind"] == "potential":
        return potential
    frozen = FrozenPotential(potential, header["frozen"]["intervals"])
    frozen.facts = header["frozen"]
    return frozen


def load_model(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> Potential | FrozenPotential:
    """`load` for those who need a potential.

    Raises:
        UserError: as `load`, or a model of another kind.
    """
    model = load(path, device, dtype)
    if isinstance(model, PhononDosModel | DensityModel):
        raise UserError(f"{path}: holds a model of kind {kind_of(model)!r}, not a potential.")
    return model


def load_dos_model(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> PhononDosModel:
    """`load` for those who need a model of the phonon density of states.

    Raises:
        UserError: as `load`, or a model of another kind.
    """
    model = load(path, device, dtype)
    if not isinstance(model, PhononDosModel):
        raise UserError(
            f"{path}: holds a model of kind {kind_of(model)!r}, not one of a phonon DoS."
        )
    return model


def load_density_model(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> DensityModel:
    """`load` for those who need a model of electron densities.

    Raises:
        UserError: as `load`, or a model of another kind.
    """
    model = load(path, device, dtype)
    if not isinstance(model, DensityModel):
        raise UserError(
            f"{path}: holds a model of kind {kind_of(model)!r}, not one of electron densities."
        )
    return model


def _read(path: Path, device: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if path.is_dir():
        inside = sorted(p.name for p in path.glob(f"*{SUFFIX}"))
        hint = f"give the file {path / inside[0]}" if inside else f"give a {SUFFIX} file"
        raise UserError(f"{path}: is a directory; {hint}.")
    if not path.exists():
        raise UserError(f"{path}: no such model file; check the path.")
    try:
        with safetensors.safe_open(path, framework="pt", device=device) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(metadata[_KEY])
    except (safetensors.SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise UserError(
            f"{path}: not a clebsch model file or a truncated one; give a {SUFFIX} file "
            "written by clebsch."
        ) from error
    return header, tensors
