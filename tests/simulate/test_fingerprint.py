"""A run goes on with the model that it began with, and with no other."""

import json
import re

import numpy as np
import pytest
import torch

from clebsch.errors import UserError
from clebsch.models import Potential, PotentialConfig, load_model, save_model
from clebsch.simulate import resume_md, run_md
from clebsch.simulate.fingerprint import fingerprint


@pytest.fixture
def network():
    torch.manual_seed(0)
    config = PotentialConfig(species=["Ar"], cutoff=4.0, channels=2, lmax=1, mean_neighbours=12.0)
    return Potential(config)


def test_a_file_keeps_it_and_every_change_shows(network, tmp_path):
    save_model(network, tmp_path / "a.clebsch", {"domain": {}})
    model = load_model(tmp_path / "a.clebsch")
    known = fingerprint(model)
    assert re.fullmatch("[0-9a-f]{16}", known)
    save_model(model, tmp_path / "b.clebsch", {"domain": {"max_force": 3.0}})
    assert fingerprint(load_model(tmp_path / "b.clebsch")) == known
    assert fingerprint(load_model(tmp_path / "b.clebsch").double()) != known
    frozen = load_model(tmp_path / "b.clebsch").freeze(1e-4)
    assert fingerprint(frozen) != known
    with torch.no_grad():
        weight = next(p for p in model.parameters() if p.numel())
        weight.view(-1)[-1].nextafter_(torch.tensor(np.inf))
    assert fingerprint(model) != known


def test_a_run_does_not_change_its_model(pair_potential, crystal, tmp_path):
    options = {"timestep_fs": 5.0, "temperature_K": 30.0, "progress": False, "figures": False}
    run_md(pair_potential(), crystal, tmp_path / "run", time_ps=0.05, **options)
    summary = json.loads((tmp_path / "run" / "md.json").read_text())
    assert summary["model_fingerprint"] == fingerprint(pair_potential())
    before = (tmp_path / "run" / "thermo.csv").read_bytes()
    for other in (pair_potential(epsilon=0.011), pair_potential(cutoff=6.5)):
        with pytest.raises(UserError, match="began with another model") as caught:
            resume_md(other, tmp_path / "run", time_ps=0.1, progress=False, figures=False)
        assert fingerprint(other) in str(caught.value)
    assert (tmp_path / "run" / "thermo.csv").read_bytes() == before
    result = resume_md(
        pair_potential(), tmp_path / "run", time_ps=0.1, progress=False, figures=False
    )
    assert result.summary["steps"] == 20
