"""A row: data, settings, seeds and the published figures of one reproducible result."""

from __future__ import annotations

import difflib
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from clebsch.errors import UserError

_ROWS = files("clebsch.reproduce") / "rows"


class Published(BaseModel):
    """A figure from the literature, in the unit of its metric."""

    model_config = ConfigDict(extra="forbid")

    what: str
    metric: str
    value: float
    source: str


class Row(BaseModel):
    """What a row file holds.

    Attributes:
        title: one line.
        learns: what is trained: ``potential``, ``dos`` or ``density``.
        train, test: data sets; ``embedded:NAME``, or a path below ``$CLEBSCH_DATA``. To train on
            several (not for ``dos``), name them in a list.
        larger: structures beyond those of training, on which every model is tested in the end
            (``density`` only).
        split: file of names below ``$CLEBSCH_DATA`` (``dos`` only).
        config: keys of ``TrainConfig`` or ``DosTrainConfig`` besides data and seed.
        seeds: one training for each.
        ensembles_of: so many seeds at a time are joined to an ensemble as well, in their order
            (``dos`` with a ``split`` only: without one every seed has other test crystals, which
            its mates were trained on).
        variants: further trainings with the first seed, by name: keys that replace those of
            ``config`` (``{model: {lmax: 0}}``).
        metrics: the metrics reported, and how each is defined.
        published: what others reached.
    """

    model_config = ConfigDict(extra="forbid")

    title: str
    learns: Literal["potential", "dos", "density"] = "potential"
    train: str | list[str]
    test: str | None = None
    larger: str | None = None
    split: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    seeds: list[int] = Field(min_length=1)
    ensembles_of: int | None = Field(default=None, ge=2)
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)
    metrics: dict[str, str]
    published: list[Published] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check(self) -> Row:
        if self.ensembles_of is not None:
            if self.learns != "dos" or self.split is None:
                raise ValueError("ensembles_of is for networks of a phonon DoS with a split")
            if len(self.seeds) % self.ensembles_of:
                raise ValueError(f"{len(self.seeds)} seeds are no ensembles of {self.ensembles_of}")
        if self.learns == "dos" and not isinstance(self.train, str):
            raise ValueError("a phonon DoS is trained on one data set")
        return self


def row_names() -> list[str]:
    """Names of the rows that ship with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in _ROWS.iterdir() if p.name.endswith(".yaml"))


def load_row(name: str) -> Row:
    """The row of that name.

    Raises:
        UserError: there is none; the nearest name is suggested.
    """
    names = row_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}."
        raise UserError(f"{name}: no such row; {hint}")
    return Row.model_validate(yaml.safe_load((_ROWS / f"{name}.yaml").read_text(encoding="utf-8")))
