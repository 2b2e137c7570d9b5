"""The pictures of a report of densities."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from clebsch.density import AuxiliaryBasis, ElectronDensity
from clebsch.train import density_pictures
from clebsch.train.density_pictures import picture_section
from clebsch.train.report import write_report

BASIS = AuxiliaryBasis("s", {1: ((0.8,),)})


def test_pictures_of_a_report(tmp_path, monkeypatch) -> None:
    pytest.importorskip("skimage")
    positions = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.74]], dtype=torch.float64)
    c = torch.tensor([1.0, 1.1], dtype=torch.float64)
    density = ElectronDensity(BASIS, torch.tensor([1, 1]), positions, c)
    true = dataclasses.replace(density, coefficients=c.flip(0))
    section = picture_section(density, true, "dimer.xyz, frame 0", tmp_path / "figures")
    assert section is not None
    assert "+" in section.text
    assert "−" in section.text
    write_report(tmp_path / "report.html", "Run", [section])
    page = (tmp_path / "report.html").read_text()
    assert page.count("plotly-graph-div") == 3
    assert page.count("<script") < 10
    assert len(page) < 9e6
    names = sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert names == ["density-error.png", "density.png", "potential.png"]
    monkeypatch.setattr(density_pictures, "find_spec", lambda name: None)
    assert picture_section(density, true, "a", tmp_path) is None
