"""Splits, packed batches, cached graphs and statistics."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from clebsch.errors import UserError
from clebsch.structures import (
    Dataset,
    FrameList,
    GraphDataset,
    PackedSampler,
    Split,
    Statistics,
    dataset_statistics,
    split_dataset,
)


def make(names, **columns):
    rng = np.random.default_rng(0)
    frames = []
    for k, name in enumerate(names):
        atoms = Atoms("H") if name == "H" else molecule(name)
        atoms.rattle(0.05, rng=rng)
        energy = {"H": -13.0, "O": -2000.0, "C": -1000.0}
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=sum(energy[s] for s in atoms.get_chemical_symbols()),
            forces=rng.normal(size=(len(atoms), 3)),
        )
        atoms.info["config_type"] = "default"
        for key, values in columns.items():
            atoms.info[key] = values[k]
        frames.append(atoms)
    return Dataset([FrameList("made.xyz", frames)])


def parts(split):
    return [set(p.tolist()) for p in (split.train, split.valid, split.test)]


def test_split_by_frame_is_seeded_disjoint_and_exact():
    dataset = make(["H2O"] * 50 + ["H"] + ["CH4"] * 49)
    split = split_dataset(dataset, 30, 0.2, None, seed=3)
    assert [len(p) for p in parts(split)] == [30, 20, 49]
    train, valid, test = parts(split)
    assert train | valid | test == set(range(100)) - {50}  # the isolated atom is in none
    assert parts(split_dataset(dataset, 30, 0.2, None, seed=3)) == parts(split)
    assert parts(split_dataset(dataset, 30, 0.2, None, seed=4)) != parts(split)
    again = Split.from_dict(json.loads(json.dumps(split.to_dict())))
    assert parts(again) == parts(split)


def test_shares_that_round_up_still_fit():
    split = split_dataset(make(["H2O"] * 15), 0.5, 0.25, 0.25)
    assert sum(len(p) for p in parts(split)) == 15


@pytest.mark.parametrize("named", [True, False])
def test_neighbours_in_time_stay_together(named):
    columns = {"trajectory": [str(i // 20) for i in range(200)]} if named else {}
    split = split_dataset(make(["H2O"] * 200, **columns), 0.7, 0.15, 0.15, by="trajectory")
    assert len(split.train) >= 120
    owner = np.full(200, -1)
    for k, part in enumerate((split.train, split.valid, split.test)):
        owner[part] = k
    size = 20 if named else 10
    for block in owner.reshape(-1, size):
        assert len(set(block.tolist()) - {-1}) <= 1
    changes = np.count_nonzero(np.diff(owner))
    assert changes < 40  # by frame it would be about 90


def test_config_types_are_held_out_whole():
    kinds = ["a"] * 60 + ["b"] * 20 + ["c"] * 20
    dataset = make(["H2O"] * 100, config_type=kinds)
    split = split_dataset(dataset, 0.6, 0.2, 0.2, by="config_type")
    kinds_of = [{kinds[i] for i in part} for part in parts(split)]
    assert all(kinds_of)
    assert sum(map(len, kinds_of)) == 3


def test_split_of_the_file():
    marks = ["train"] * 5 + ["val"] * 3 + ["test"] * 2
    split = split_dataset(make(["H2O"] * 10, split=marks), by="file")
    assert parts(split) == [{0, 1, 2, 3, 4}, {5, 6, 7}, {8, 9}]
    assert len(split_dataset(make(["H2O"] * 10, split=marks), 3, by="file").train) == 3
    with pytest.raises(UserError, match="do not say their split"):
        split_dataset(make(["H2O"] * 10), by="file")


def test_impossible_splits_are_refused():
    dataset = make(["H2O"] * 10)
    with pytest.raises(UserError, match=r"made\.xyz: 12 frames are asked for .* there are 10"):
        split_dataset(dataset, 8, 4, None)
    with pytest.raises(UserError, match="not a share"):
        split_dataset(dataset, 1.5, 0.1, None)
    with pytest.raises(UserError, match="stays in one part"):
        split_dataset(make(["H2O"] * 10, config_type=["a"] * 10), 5, 5, None, by="config_type")


def test_packing_loses_and_doubles_nothing():
    rng = np.random.default_rng(0)
    atoms = rng.integers(1, 60, size=300)
    edges = atoms * rng.integers(5, 30, size=300)
    atoms[7] = 500  # above the budget
    sampler = PackedSampler(atoms, edges, max_atoms=200, max_edges=3000, seed=1)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        flat = [i for b in batches for i in b]
        assert sorted(flat) == list(range(300))
        orders.append(flat)
        for b in batches:
            within = atoms[b].sum() <= 200 and edges[b].sum() <= 3000
            assert within or len(b) == 1
        assert any(b == [7] for b in batches)
        assert len(batches) < 1.4 * max(atoms.sum() / 200, edges.sum() / 3000)
    assert orders[0] != orders[1]
    sampler.set_epoch(0)
    assert [i for b in sampler for i in b] == orders[0]
    plain = PackedSampler(atoms, edges, max_atoms=200, shuffle=False)
    assert [i for b in plain for i in b] == list(range(300))


def test_sampling_resumes_where_it_stopped():
    sizes = np.full(50, 10)
    first = PackedSampler(sizes, sizes, max_atoms=40, seed=5)
    first.set_epoch(2)
    iterator = iter(first)
    head = [next(iterator) for _ in range(4)]
    state = json.loads(json.dumps(first.state_dict()))
    second = PackedSampler(sizes, sizes, max_atoms=40)
    second.load_state_dict(state)
    second.set_epoch(2)
    assert head + list(second) == first.batches()
    assert list(second) == first.batches()  # the next pass is whole again


def test_processes_share_the_batches_evenly():
    sizes = np.full(50, 10)
    shares = [list(PackedSampler(sizes, sizes, max_atoms=60, rank=r, replicas=4)) for r in range(4)]
    assert len({len(s) for s in shares}) == 1
    assert sorted(i for s in shares for b in s for i in b) == list(range(50))


def test_graphs_are_cached_up_to_the_budget():
    dataset = make(["H2O", "CH4"] * 10)
    graphs = GraphDataset(dataset, range(1, 20), 4.0)
    assert graphs[3] is graphs[3]
    assert graphs[0].frame.tolist() == [1]
    none = GraphDataset(dataset, range(20), 4.0, cache_bytes=0)
    assert none[3] is not none[3]
    atoms, edges = graphs.sizes()
    assert atoms.tolist() == [5, 3] * 9 + [5]
    assert edges.tolist() == [20, 6] * 9 + [20]


def test_statistics():
    dataset = make(["H2O", "CH4", "CO", "CO2"] * 5)
    stats = dataset_statistics(dataset, cutoff=4.0)
    assert stats.species == ["H", "C", "O"]
    assert stats.e0s == pytest.approx({"H": -13.0, "C": -1000.0, "O": -2000.0})
    assert stats.e0_source == "least squares"
    assert stats.energy_std < 1e-9
    assert stats.composition == {"H": 30, "C": 15, "O": 20}
    assert stats.n_atoms_histogram == {2: 5, 3: 10, 5: 5}
    forces = np.concatenate([a.get_forces() for a in dataset])
    assert stats.force_rms == pytest.approx(np.sqrt((forces**2).mean()))
    assert stats.force_max == pytest.approx(np.linalg.norm(forces, axis=1).max())
    hydrogen = np.concatenate([a.get_forces()[a.numbers == 1] for a in dataset])
    assert stats.force_rms_per_species["H"] == pytest.approx(np.sqrt((hydrogen**2).mean()))
    assert stats.mean_edges == (6 + 20 + 2 + 6) / 4
    distances = [a.get_distance(0, 1) for a in dataset if str(a.symbols) == "CO2"]
    both = distances + [a.get_distance(0, 2) for a in dataset if str(a.symbols) == "CO2"]
    both += [a.get_distance(0, 1) for a in dataset if str(a.symbols) in ("CO", "OC")]
    assert stats.shortest["C-O"] == pytest.approx(min(both))
    again = Statistics.from_dict(json.loads(json.dumps(stats.to_dict(), allow_nan=False)))
    assert again.to_dict() == stats.to_dict()


def test_atomic_energies_that_are_not_determined():
    stats = dataset_statistics(make(["H2O"] * 5), cutoff=3.0)
    assert "do not determine" in stats.e0_note
    assert 2 * stats.e0s["H"] + stats.e0s["O"] == pytest.approx(-2026.0)
    with_atom = dataset_statistics(make(["H2O"] * 5 + ["H"]), cutoff=3.0)
    assert with_atom.e0s == pytest.approx({"H": -13.0, "O": -2000.0})
    assert with_atom.e0_source == "isolated atoms and least squares"
    assert with_atom.e0_note == ""
    given = dataset_statistics(make(["H2O"] * 5), cutoff=3.0, e0s={"O": -2002.0})
    assert given.e0s == pytest.approx({"H": -12.0, "O": -2002.0})


def test_neighbours_of_a_crystal():
    atoms = bulk("Cu", cubic=True)
    stats = dataset_statistics(Dataset([FrameList("cu.xyz", [atoms])]), cutoff=3.0)
    assert stats.mean_neighbours == 12
    assert stats.shortest["Cu-Cu"] == pytest.approx(3.61 / np.sqrt(2))
    assert "No energies" in stats.e0_note
