"""Which model a run was made with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from clebsch.errors import UserError
from clebsch.simulate.calculator import PotentialModel


def fingerprint(model: PotentialModel) -> str:
    """16 hexadecimal digits that another architecture, weight or precision changes."""
    facts = [model.species, float(model.cutoff), model.header.get("config")]
    found = hashlib.sha256(json.dumps(facts, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def check_same(folder: Path, before: str | None, now: str) -> None:
    """Raise UserError if a run in ``folder`` would go on with another potential.

    Args:
        folder: of the run.
        before: fingerprint of the model that it began with; None, of older runs, fits all.
        now: of the model that it shall go on with.
    """
    if before not in (None, now):
        raise UserError(
            f"{folder}: the run began with another model (fingerprint {before}, this one has "
            f"{now}); go on with that one, or start a new run in another folder."
        )
