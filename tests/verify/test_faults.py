"""Faults that give wrong numbers without an error, each planted and each found."""

import dataclasses

import numpy as np
import pytest
import torch

from clebsch.models.atomistic import AtomisticModel
from clebsch.nn import PolynomialCutoff
from clebsch.ops import Specification
from clebsch.simulate import Calculator
from clebsch.simulate.neighbours import VerletList
from clebsch.structures import graph as graphs
from clebsch.structures.graph import AtomGraph
from clebsch.verify import Settings, domains, verify

from .conftest import small_potential


def failing(model, *only):
    """Checks that fail, by name."""
    report = verify(model, settings=Settings(quick=True, only=only))
    assert report.count("pass") > 0
    return {row.check for row in report.failures}


@pytest.mark.slow
def test_a_sound_model_passes(model):
    everything_but_lammps = (
        "plain", "float32", "frozen", "ase", "domains", "derivatives", "symmetries", "neighbours",
        "cutoff", "exactness", "conservation",
    )  # fmt: skip
    report = verify(model, settings=Settings(quick=True, only=everything_but_lammps))
    assert report.passed, report.failures
    assert report.count("not run") == 0
    checks = {row.check for row in report.rows()}
    assert checks >= {
        "finite numbers", "plain PyTorch, float64", "eager, float32", "frozen, float64",
        "frozen, float32", "ASE calculator, float64", "2 domains, float64",
        "forces by differences", "stress by differences", "net force", "net torque", "rotation",
        "inversion", "translation", "other periodic images", "permutation", "supercell",
        "neighbour list", "neighbour list in use", "smooth at the cutoff",
        "energy against forces", "operators in float64", "constants in float64", "3j symbols",
        "energy conservation",
    }  # fmt: skip


def test_a_wrong_sign_in_the_virial(model, monkeypatch):
    right = AtomisticModel.forward

    def wrong(self, *args, **options):
        result = right(self, *args, **options)
        return {**result, "stress": -result["stress"]} if "stress" in result else result

    monkeypatch.setattr(AtomisticModel, "forward", wrong)
    assert failing(model, "derivatives", "ase", "symmetries") == {"stress by differences"}


def test_a_wrong_sign_in_the_virial_of_one_engine(model, monkeypatch):
    right = Calculator.calculate

    def wrong(self, *args, **options):
        right(self, *args, **options)
        if "stress" in self.results:
            self.results["stress"] *= -1

    monkeypatch.setattr(Calculator, "calculate", wrong)
    assert failing(model, "derivatives", "ase", "domains") == {"ASE calculator, float64"}


# A number of channels that no other test has keeps the wrong kernels out of their caches.


def test_one_coefficient_off_by_one_percent(monkeypatch):
    right = Specification.symbol

    def wrong(self, path):
        symbol = right(self, path).clone()
        if symbol.shape == (3, 3, 5):  # one of the vector times vector to degree 2
            symbol[tuple(symbol.abs().gt(0.1).nonzero()[0])] *= 1.01
        return symbol

    monkeypatch.setattr(Specification, "symbol", wrong)
    found = failing(
        small_potential(channels=5, layers=3), "symmetries", "exactness", "derivatives", "plain"
    )
    assert found == {"rotation", "3j symbols"}


def test_one_coefficient_off_in_the_kernels_alone(monkeypatch):
    right = Specification.terms

    def wrong(self, path):
        terms = right(self, path)
        if self.x[path.x][1].l == 1 and self.z[path.z][1].l == 2:
            terms[0] = terms[0]._replace(value=1.01 * terms[0].value)
        return terms

    monkeypatch.setattr(Specification, "terms", wrong)
    found = failing(small_potential(channels=6, layers=3), "plain", "exactness", "derivatives")
    assert found == {"plain PyTorch, float64"}


def test_a_neighbour_list_that_drops_a_pair(model, monkeypatch):
    right = graphs.neighbour_list

    def wrong(positions, cell, pbc, cutoff):
        src, dst, shifts = right(positions, cell, pbc, cutoff)
        if len(positions) < 8 or not len(src):
            return src, dst, shifts
        # Both directions of the last pair, so that the forces still balance.
        a, b, s = src[-1], dst[-1], shifts[-1]
        there = (src == a) & (dst == b) & (shifts == s).all(1)
        back = (src == b) & (dst == a) & (shifts == -s).all(1)
        keep = ~(there | back)
        return src[keep], dst[keep], shifts[keep]

    monkeypatch.setattr(graphs, "neighbour_list", wrong)
    found = failing(model, "neighbours", "symmetries", "domains")
    assert "neighbour list" in found
    assert "2 domains, float64" in found  # which has a list of its own


def test_a_reused_list_that_forgets_a_pair(model, monkeypatch):
    right = VerletList.graph

    def wrong(self, atoms):
        graph, lengths = right(self, atoms)
        keep = torch.arange(graph.n_edges)[:-1] if len(atoms) > 7 else slice(None)
        kept = {name: getattr(graph, name)[keep] for name in ("src", "dst", "shifts")}
        return dataclasses.replace(graph, **kept), lengths[keep]

    monkeypatch.setattr(VerletList, "graph", wrong)
    found = failing(model, "neighbours", "ase", "derivatives")
    assert found == {"neighbour list in use", "ASE calculator, float64"}


def test_a_missing_reverse_exchange(model, monkeypatch):
    def wrong(self, rows):
        self.board.exchange(self.rank, rows)
        return rows[: len(self.part.local)].clone()

    monkeypatch.setattr(domains.Neighbours, "reverse", wrong)
    report = verify(model, settings=Settings(quick=True, only=("domains",)))
    assert {row.check for row in report.failures} == {"2 domains, float64"}
    wrong_quantities = {f.deviation.quantity for f in report.findings if f.status == "fail"}
    assert wrong_quantities <= {"forces", "stress", "virial"}  # energies need no reverse exchange


def test_a_constant_of_float32_in_a_tensor(model, monkeypatch):
    right = PolynomialCutoff.inside
    third = torch.tensor(1 / 3)

    def wrong(self, u):
        return right(self, u) * (3 * third)

    monkeypatch.setattr(PolynomialCutoff, "inside", wrong)
    assert "operators in float64" in failing(model, "exactness")


def test_a_constant_of_float32_in_a_module(model):
    model.basis.scale = float(np.float32(model.basis.scale))
    assert failing(model, "exactness") == {"constants in float64"}


def test_a_buffer_that_was_rounded(model):
    model._shifts = model._shifts.float().double()
    found = verify(model, settings=Settings(quick=True, only=("exactness",)))
    assert {row.check for row in found.failures} == {"constants in float64"}
    assert "_shifts" in found.failures[0].place


def test_symbols_of_float32(monkeypatch):
    right = Specification.symbol
    monkeypatch.setattr(
        Specification, "symbol", lambda self, path: right(self, path).float().double()
    )
    found = failing(small_potential(channels=7, layers=3), "symmetries", "exactness")
    assert "3j symbols" in found
    assert "rotation" in found


def test_positions_of_float32(model, monkeypatch):
    right = AtomGraph.from_atoms.__func__

    def wrong(cls, atoms, cutoff, dtype=None, frame=-1):
        graph = right(cls, atoms, cutoff, dtype, frame)
        return dataclasses.replace(graph, positions=graph.positions.float().to(graph.positions))

    monkeypatch.setattr(AtomGraph, "from_atoms", classmethod(wrong))
    found = failing(model, "symmetries", "derivatives", "exactness", "domains")
    assert found >= {"rotation", "translation", "forces by differences", "operators in float64"}


def test_an_energy_that_jumps(model, monkeypatch):
    """A list that ends before the cutoff: the energy has a step there."""
    right = graphs.neighbour_list
    monkeypatch.setattr(
        graphs,
        "neighbour_list",
        lambda positions, cell, pbc, cutoff: right(positions, cell, pbc, 0.8 * cutoff),
    )
    found = failing(model, "cutoff", "neighbours")
    assert found == {"energy against forces", "neighbour list", "neighbour list in use"}


def test_a_force_that_jumps_at_the_cutoff(model, monkeypatch):
    monkeypatch.setattr(PolynomialCutoff, "inside", lambda self, u: 1.0 - u)
    monkeypatch.setattr(
        PolynomialCutoff,
        "value_and_slope",
        lambda self, u: (self(u), torch.where(u < 1, -1.0, 0.0).to(u)),
    )
    assert "smooth at the cutoff" in failing(model, "cutoff")


@pytest.mark.slow
def test_forces_that_are_no_gradient(model, monkeypatch):
    right = AtomisticModel.forward

    def wrong(self, *args, **options):
        result = right(self, *args, **options)
        if "forces" in result:
            result["forces"] = result["forces"] * torch.tensor([1.0, 1.0, 1.02]).to(
                result["forces"]
            )
        return result

    monkeypatch.setattr(AtomisticModel, "forward", wrong)
    found = failing(model, "derivatives", "symmetries", "conservation")
    assert found >= {"forces by differences", "rotation", "energy conservation"}


def test_an_energy_that_is_not_extensive(model, monkeypatch):
    right = AtomisticModel.forward

    def wrong(self, graph, *args, **options):
        result = right(self, graph, *args, **options)
        atoms = torch.bincount(graph.batch, minlength=graph.n_graphs)
        return {**result, "energy": result["energy"] + 1e-6 * atoms**1.5}

    monkeypatch.setattr(AtomisticModel, "forward", wrong)
    assert "supercell" in failing(model, "symmetries")


def test_numbers_that_are_none(model, monkeypatch):
    right = AtomisticModel.forward

    def wrong(self, graph, *args, **options):
        result = right(self, graph, *args, **options)
        return {
            **result,
            "energy": torch.where(graph.cell[:, 0, 0] > 5, torch.nan, result["energy"]),
        }

    monkeypatch.setattr(AtomisticModel, "forward", wrong)
    assert {"finite numbers", "ASE calculator, float64"} <= failing(model, "ase")


@pytest.mark.slow
def test_weights_that_are_no_numbers(model):
    model.layers[0].convolution.mix_out.weight.data[0] = torch.nan
    report = verify(model, settings=Settings(quick=True, ranks=(1,), only=(
        "float32", "frozen", "derivatives", "symmetries", "cutoff", "conservation",
    )))  # fmt: skip
    failing = {row.check for row in report.failures}
    assert {"finite numbers", "rotation", "energy against forces"} <= failing
    assert any("dynamics" in check or "conservation" in check for check in failing)
