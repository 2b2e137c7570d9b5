"""Several processes train as one: the same gradients, and a run to its end."""

import math

import pytest
import torch

from clebsch.train import TrainConfig, train_potential
from distributed_training import gradients, graphs, model, process


@pytest.mark.slow
@pytest.mark.parametrize("name", ["potential", "layers"])
def test_two_processes_give_the_gradients_of_one(name, tmp_path):
    """DistributedDataParallel over gloo: the mean over halves is the whole batch's."""
    torch.multiprocessing.spawn(process, (name, tmp_path), nprocs=2)
    network = model(name)
    expected = gradients(network, list(network.parameters()), graphs())
    assert len(expected) == len(list(network.parameters()))
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's, about processes and loaders
def test_a_run_of_two_processes_with_one_batch_to_validate_on(tmp_path):
    """The process without a batch waits for the other's errors."""
    config = TrainConfig(
        model={"channels": 4, "layers": 2, "lmax": 1},
        epochs=2,
        devices=2,
        device="cpu",
        batch={"frames": 4},
        split={"train": 16, "valid": 4, "test": 4},
    )
    result = train_potential("embedded:silicon", config, tmp_path / "run")
    assert len(result.history) == 2
    assert math.isfinite(result.history[-1]["valid_loss"])
    assert (result.folder / "model.clebsch").exists()
