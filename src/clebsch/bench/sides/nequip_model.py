"""nequip's model of the same hyper-parameters: eager, and compiled as ``nequip-compile`` does."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import nequip
import torch
from ase.build import bulk
from nequip.data import compute_neighborlist_, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper
from nequip.model import NequIPGNNModel
from nequip.utils.global_state import set_global_state


def versions() -> dict[str, Any]:
    return {
        "name": f"nequip {nequip.__version__}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def build(case: dict[str, Any]) -> Any:
    """The model, with the options of its own input files."""
    set_global_state()
    return NequIPGNNModel(
        seed=1,
        model_dtype="float32",
        r_max=case["cutoff"],
        type_names=["Si"],
        num_layers=case["layers"],
        l_max=case["lmax"],
        parity=False,
        num_features=case["channels"],
        type_embed_num_features=case["channels"],
        radial_mlp_depth=case["radial_depth"],
        radial_mlp_width=case["radial_width"],
        num_bessels=case["n_basis"],
        avg_num_neighbors=case["neighbours"],
        per_type_energy_shifts={"Si": 0.0},
        per_type_energy_scales={"Si": 1.0},
    )


def structure(case: dict[str, Any]) -> dict[str, Any]:
    """The same silicon as ours; lengths stay in float64, as nequip's own interfaces leave them."""
    atoms = bulk("Si", cubic=True).repeat(case["repeat"])
    atoms.rattle(0.05, seed=1)
    data = compute_neighborlist_(from_ase(atoms), case["cutoff"])
    return dict(ChemicalSpeciesToAtomTypeMapper(model_type_names=["Si"])(data))


def prepare(case: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Case: as ours, and ``folder``, where compiled models are kept."""
    model = build(case).eval()
    data = structure(case)
    timings: dict[str, float] = {}

    def energy_and_forces() -> Any:
        return model(dict(data))

    @cache
    def compiled() -> Any:
        start = time.perf_counter()
        made = compile_model(model, data, case)
        timings["compile_s"] = time.perf_counter() - start
        return made

    def with_compiled() -> Any:
        run, inputs = compiled()
        return run(inputs)

    @cache
    def training() -> tuple[Any, torch.optim.Optimizer]:
        learner = build(case).train()
        return learner, torch.optim.Adam(learner.parameters(), lr=1e-3)

    def training_step() -> None:
        learner, optimiser = training()
        result = learner(dict(data))
        loss = result["forces"].square().mean() + result["total_energy"].square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def facts() -> dict[str, Any]:
        return {
            "parameters": sum(p.numel() for p in model.parameters()),
            "atoms": len(data["pos"]),
            "edges": int(data["edge_index"].shape[1]),
            "compiled_before": package(case).exists(),
            **timings,
        }

    return {
        "energy+forces": energy_and_forces,
        "compiled": with_compiled,
        "training_step": training_step,
        "facts": facts,
    }


def package(case: dict[str, Any]) -> Path:
    """Where the compiled model of this case is kept."""
    kind = {k: v for k, v in case.items() if k not in ("repeat", "folder")}
    text = json.dumps([kind, nequip.__version__, torch.__version__], sort_keys=True)
    name = f"nequip-{hashlib.sha256(text.encode()).hexdigest()[:16]}.nequip.pt2"
    return Path(case["folder"]) / name


def compile_model(model: Any, data: dict[str, Any], case: dict[str, Any]) -> Any:
    """What ``nequip-compile --mode aotinductor --target ase`` makes; the function and its inputs.

    The other mode, TorchScript, is refused by nequip 0.19 with torch 2.10 or newer.
    """
    from nequip.nn.compile import DictInputOutputWrapper
    from nequip.scripts._compile_utils import ASE_TARGET
    from nequip.utils.aot import aot_export_model

    kept = package(case)
    fields, results = ASE_TARGET["input"], ASE_TARGET["output"]
    inputs = {key: data[key] for key in fields}
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = kept.with_name(f"{os.getpid()}-{kept.name}")
        Dim = torch.export.Dim
        sizes = {"graph": Dim.STATIC, "node": Dim("node", min=2), "edge": Dim("edge", min=2)}
        try:
            aot_export_model(
                model=model,
                device="cpu",
                input_fields=fields,
                output_fields=results,
                data=inputs,
                batch_map=sizes,
                output_path=str(new),
            )
            os.replace(new, kept)
        finally:
            new.unlink(missing_ok=True)
    loaded = torch._inductor.aoti_load_package(str(kept))
    return DictInputOutputWrapper(loaded, fields, results), inputs
