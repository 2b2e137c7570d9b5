"""The model file: round trip, header, refusals."""

import json

import pytest
import safetensors.torch
import torch
from ase.build import molecule

import clebsch
from clebsch.errors import UserError
from clebsch.models import Potential, PotentialConfig, load_model, model_file, save_model
from clebsch.structures.graph import AtomGraph


@pytest.fixture
def model() -> Potential:
    config = PotentialConfig(species=["H", "C", "O"], layers=2, channels=4, zbl=True)
    return Potential(config).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip(model, tmp_path, dtype):
    model = model.to(dtype)
    save_model(model, tmp_path / "m.clebsch", {"metrics": {"x": 1.5}})
    again = clebsch.load(tmp_path / "m.clebsch")
    assert again.dtype == dtype
    assert not again.training
    assert again.config == model.config
    assert again.header["metrics"] == {"x": 1.5}
    assert again.header["units"]["energy"] == "eV"
    graph = AtomGraph.from_atoms(molecule("CH3CH2OH"), 5.0, dtype=dtype)
    assert torch.equal(again(graph)["forces"], model(graph)["forces"])
    assert load_model(tmp_path / "m.clebsch", dtype=torch.float64).dtype == torch.float64


def test_header_survives_saving_again(model, tmp_path):
    save_model(model, tmp_path / "a.clebsch", {"note": "first"})
    save_model(load_model(tmp_path / "a.clebsch"), tmp_path / "b.clebsch")
    assert load_model(tmp_path / "b.clebsch").header["note"] == "first"


def rewrite(path, change) -> None:
    header, tensors = model_file._read(path, "cpu")
    change(header, tensors)
    safetensors.torch.save_file(tensors, path, metadata={"clebsch": json.dumps(header)})


def test_refusals(model, tmp_path):
    path = tmp_path / "m.clebsch"
    with pytest.raises(UserError, match="no such model file"):
        load_model(path)
    save_model(model, path)
    with pytest.raises(UserError, match=r"is a directory; give the file .*m\.clebsch"):
        load_model(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a clebsch model file or a truncated one"):
        load_model(path)
    path.write_text("hello")
    with pytest.raises(UserError, match="not a clebsch model file"):
        load_model(path)
    for change, words in (
        (lambda h, t: h.update(format=99), "newer clebsch"),
        (lambda h, t: h.update(kind="cake"), "not known here"),
        (lambda h, t: h["config"].update(channels=5), "do not fit"),
        (lambda h, t: t.pop("embedding"), "do not fit"),
    ):
        path.write_bytes(whole)
        rewrite(path, change)
        with pytest.raises(UserError, match=words):
            load_model(path)


def test_a_class_of_ones_own_is_not_written(model, tmp_path):
    """Its file would be read as another model, or not at all."""

    class Mine(Potential):
        pass

    path = tmp_path / "mine.clebsch"
    with pytest.raises(ValueError, match="a Mine cannot be built from a header"):
        save_model(Mine(model.config), path)
    assert not path.exists()


def test_old_formats_are_upgraded(model, tmp_path, monkeypatch):
    path = tmp_path / "m.clebsch"
    save_model(model, path)

    def upgrade(header, tensors):
        header["config"]["channels"] = header["config"].pop("width")
        tensors["embedding"] = tensors.pop("species_embedding")

    def to_old(header, tensors):
        header["format"] = model_file.FORMAT - 1
        header["config"]["width"] = header["config"].pop("channels")
        tensors["species_embedding"] = tensors.pop("embedding")

    rewrite(path, to_old)
    monkeypatch.setitem(model_file.UPGRADES, model_file.FORMAT - 1, upgrade)
    graph = AtomGraph.from_atoms(molecule("CH3CH2OH"), 5.0)
    assert torch.equal(load_model(path)(graph)["energy"], model(graph)["energy"])


def test_failed_write_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "m.clebsch"
    save_model(model, path)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_file, "save_file", full)
    with pytest.raises(UserError, match="disk is full"):
        save_model(model, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
