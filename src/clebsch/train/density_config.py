"""The configuration of a density training run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clebsch.train.config import RunConfig, Weights


class DensityLossConfig(Weights):
    """Weights of three squared distances between densities, each per electron.

    ``overlap``: integral of (rho - rho_ref)^2, electrons/bohr^3. ``coulomb``: self-repulsion of
    the difference, hartree. ``coefficients``: sum of squared differences of the coefficients.
    """

    TERMS = ("overlap", "coulomb", "coefficients")

    overlap: float = Field(default=1.0, ge=0)
    coulomb: float = Field(default=1.0, ge=0)
    coefficients: float = Field(default=0.0, ge=0)


class DensityTrainConfig(RunConfig):
    """Everything that decides the training of a density model.

    ``model`` holds keys of ``clebsch.models.DensityConfig``. ``start``: what a prediction is
    added to, the mean s coefficients of each element or those of its free atom. Molecules go to
    the parts that the file names; without names ``split`` decides. ``largest_train`` leaves
    molecules with more atoms out of training and validation and tests on them.
    """

    loss: DensityLossConfig = Field(default_factory=DensityLossConfig)
    start: Literal["mean", "free_atoms"] = "mean"
    largest_train: int | None = Field(default=None, gt=0)
