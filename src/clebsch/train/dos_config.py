"""The configuration of a phonon-DoS training run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clebsch.train.config import RunConfig, Section, Weights


class DosLossConfig(Weights):
    """Weights of three distances between spectra; all see the shape, none the number of atoms.

    ``kl``: Kullback-Leibler divergence of the shares per bin. ``wasserstein``: the mean distance
    that states would have to move, in units of 100 cm^-1. ``mse``: mean squared difference of
    spectra with maximum 1, the loss of Chen et al. (2021).
    """

    TERMS = ("kl", "wasserstein", "mse")

    kl: float = Field(default=1.0, ge=0)
    wasserstein: float = Field(default=2.5, ge=0)
    mse: float = Field(default=0.0, ge=0)


class DosTargetConfig(Section):
    """What is learnt of each curve.

    ``kind`` "states": the states in each bin, after smoothing by a normal distribution of
    ``smoothing`` cm^-1. "published": the 51 values of Chen et al. (2021), their sum being the
    states up to 1000 cm^-1; the grid must be theirs.
    """

    kind: Literal["states", "published"] = "states"
    smoothing: float = Field(default=0.0, ge=0)


class DosTrainConfig(RunConfig):
    """Everything that decides the training of a phonon-DoS model.

    ``model`` holds keys of ``clebsch.models.DosConfig``. ``split_file`` is a JSON file with the
    names of the records in each part; without it, ``split`` decides, by element as it stands.
    """

    split_file: str | None = None
    loss: DosLossConfig = Field(default_factory=DosLossConfig)
    target: DosTargetConfig = Field(default_factory=DosTargetConfig)
