"""The configuration of a training run: a short YAML file, checked, with suggestions for typos."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, overload

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from clebsch.errors import UserError
from clebsch.files import write_text

_NUMBER = re.compile(r"\d+(\.\d+)?")


def parse_time(value: object) -> object:
    """``"hh:mm:ss"``, ``"mm:ss"``, or a number of minutes, to seconds (others pass through).

    >>> parse_time("00:05:00"), parse_time(5), parse_time("1:30")
    (300.0, 300.0, 90.0)
    """
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return 60.0 * value
    text = str(value).strip()
    parts = text.split(":")
    if len(parts) > 3 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise ValueError('give a time as "hh:mm:ss" or as a number of minutes')
    if len(parts) == 1:
        return 60.0 * float(text)
    seconds = 0.0
    for part in parts:
        seconds = 60.0 * seconds + float(part)
    return seconds


def format_time(seconds: float) -> str:
    """Seconds as ``hh:mm:ss``; a fraction of a second is kept."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    last = f"{int(rest):02d}" if rest == int(rest) else f"{rest:06.3f}"
    return f"{hours:02d}:{minutes:02d}:{last}"


class Section(BaseModel):
    """A block of the configuration; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where frames come from. Without ``valid`` or ``test`` they are split off ``train``."""

    train: str | list[str] | None = None
    valid: str | None = None
    test: str | None = None
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None


class SplitConfig(Section):
    """Shares (0.8) or numbers (800) of frames; ``by`` as in ``structures.split_dataset``.

    By default a tenth each is taken to validate and test, and the rest to train.
    """

    train: float | int | None = Field(default=None, gt=0)
    valid: float | int | None = Field(default=None, ge=0)
    test: float | int | None = Field(default=None, ge=0)
    by: Literal["frame", "trajectory", "config_type", "file", "element"] = "frame"


class Weights(Section):
    """The weights of a loss's terms; one at least is above 0. None: chosen from the data."""

    TERMS: ClassVar[tuple[str, ...]]

    @model_validator(mode="after")
    def _something_is_learnt(self) -> Self:
        if not any(getattr(self, term) is None or getattr(self, term) > 0 for term in self.TERMS):
            raise ValueError(
                f"give {', '.join(self.TERMS[:-1])} or {self.TERMS[-1]} a weight above 0"
            )
        return self


class LossConfig(Weights):
    """Weights of the three terms (energy per atom, forces, stress; in eV and Å) and their kind."""

    TERMS = ("energy", "forces", "stress")

    kind: Literal["mse", "mae", "huber"] = "mae"
    energy: float | None = Field(default=None, ge=0)
    forces: float | None = Field(default=None, ge=0)
    stress: float | None = Field(default=None, ge=0)
    huber_delta: float = Field(default=0.05, gt=0)


class OptimiserConfig(Section):
    """AdamW (Adam at ``weight_decay: 0``), its schedule, gradient clipping, average of weights."""

    lr: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.01, ge=0, lt=1)
    ema: float | None = Field(default=None, ge=0, lt=1)
    clip: float | None = Field(default=100.0, gt=0)


class BatchConfig(Section):
    """The size of a batch: ``frames`` of mean size, or at most so many ``atoms`` and ``edges``."""

    frames: int | None = Field(default=None, gt=0)
    atoms: int | None = Field(default=None, gt=0)
    edges: int | None = Field(default=None, gt=0)


@dataclass
class _Origins:
    """Who gave each key; where a setting comes from does not make two configurations differ."""

    of: dict[str, str] = field(default_factory=dict, compare=False)

    def given(self, key: str, where: str) -> None:
        """A key and all below it are now from here."""
        below = [name for name in self.of if name == key or name.startswith(f"{key}.")]
        for name in below:
            del self.of[name]
        self.of[key] = where

    def find(self, key: str) -> str:
        """Who gave a key, or else its section."""
        while key not in self.of and "." in key:
            key = key.rpartition(".")[0]
        return self.of.get(key, "configuration")


Seconds = Annotated[float, BeforeValidator(parse_time), Field(gt=0)]


class RunConfig(Section):
    """What every training run decides, whatever is learnt.

    ``max_time`` is read as "hh:mm:ss" or minutes and kept in seconds; the learning rate decays to
    its end within whichever of ``epochs`` and ``max_time`` comes first. ``patience`` is counted in
    epochs without a better validation loss.
    """

    data: DataConfig = Field(default_factory=DataConfig)
    split: SplitConfig = Field(default_factory=SplitConfig)
    model: dict[str, Any] = Field(default_factory=dict)
    optimiser: OptimiserConfig = Field(default_factory=OptimiserConfig)
    batch: BatchConfig = Field(default_factory=BatchConfig)
    epochs: int | None = Field(default=None, gt=0)
    max_time: Seconds | None = None
    patience: int | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0)
    dtype: Literal["float32", "float64"] = "float32"
    device: str = "auto"
    devices: int = Field(default=1, gt=0)
    _origins: _Origins = PrivateAttr(default_factory=_Origins)

    def where(self, key: str) -> str:
        """Where a key such as ``"model.cutoff"`` was given: a file, ``--set ...``, or neither."""
        return self._origins.find(key)

    def to_yaml(self) -> str:
        """The configuration as YAML that `load_config` reads back to an equal one."""
        content = self.model_dump(mode="json", exclude_none=True)
        if self.max_time is not None:
            content["max_time"] = format_time(self.max_time)
        return yaml.safe_dump(
            content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
        )


class TrainConfig(RunConfig):
    """Everything that decides a potential's training; what is left out is chosen from the data.

    ``model`` holds keys of ``clebsch.models.PotentialConfig`` (``size``, ``cutoff``, ``lmax``...).
    """

    loss: LossConfig = Field(default_factory=LossConfig)


Config = TypeVar("Config", bound=RunConfig)


@overload
def load_config(
    path: str | os.PathLike[str] | None = None, overrides: Iterable[str] = ()
) -> TrainConfig: ...
@overload
def load_config(
    path: str | os.PathLike[str] | None = None,
    overrides: Iterable[str] = (),
    *,
    kind: type[Config],
) -> Config: ...
def load_config(
    path: str | os.PathLike[str] | None = None,
    overrides: Iterable[str] = (),
    *,
    kind: type[RunConfig] = TrainConfig,
) -> RunConfig:
    """Read a configuration of this ``kind``, with ``key=value`` overrides on top.

    An override names a key by its place, such as ``optimiser.lr=0.005``.

    Raises:
        UserError: no such file, not YAML, an unknown key (the nearest known one is suggested), or
            a value out of range.
    """
    content: dict[str, Any] = {}
    origins = _Origins()
    if path is not None:
        content = _read_yaml(Path(path))
        _validate(content, str(path), kind)
        origins.of = dict.fromkeys(_keys(content), str(path))
    for override in overrides:
        content = _override(content, override)
        _validate(content, f"--set {override}", kind)
        origins.given(override.partition("=")[0].strip(), f"--set {override}")
    config = _validate(content, "configuration", kind)
    config._origins = origins
    return config


def save_config(config: RunConfig, path: str | os.PathLike[str]) -> None:
    """Write ``config`` to ``path``, whole or not at all."""
    write_text(path, config.to_yaml())


def explain_unknown_key(where: str, key: str, known: Iterable[str]) -> UserError:
    """The error for an unknown configuration key, with the nearest known one."""
    names = list(known)
    last = key.rsplit(".", 1)[-1]
    close = difflib.get_close_matches(last, names, n=1, cutoff=0.5)
    mend = f"did you mean '{close[0]}'?" if close else f"the keys here are {', '.join(names)}."
    return UserError(f"{where}: unknown key '{key}'; {mend}")


def explain_model_key(config: RunConfig, error: ValidationError) -> UserError:
    """The error for a value in the section ``model`` that the model's own settings refuse."""
    first = error.errors()[0]
    key = ".".join(("model", *(str(part) for part in first["loc"])))
    place = f"'{key}' is {first['input']!r}" if first["loc"] else "'model'"
    message = first["msg"].removeprefix("Value error, ")
    return UserError(f"{config.where(key)}: {place}: {message}.")


def check_model_keys(config: RunConfig, known: Iterable[str]) -> None:
    """Raise UserError if the section ``model`` has a key that is not among those known."""
    names = list(known)
    unknown = sorted(set(config.model) - set(names))
    if unknown:
        key = f"model.{unknown[0]}"
        raise explain_unknown_key(config.where(key), key, names)


def _keys(content: Mapping[str, Any], section: str = "") -> Iterator[str]:
    """All keys of nested mappings, as ``section.key``."""
    for key, value in content.items():
        yield f"{section}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{section}{key}.")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such configuration file; check the path.") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a directory; give a YAML file.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not a text file; give a YAML file.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "syntax error"
        raise UserError(f"{path}{line}: is not valid YAML ({problem}); mend that line.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold 'key: value' lines, not a {type(content).__name__}.")
    return content


def _override(content: dict[str, Any], override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {override}: write key=value, for instance optimiser.lr=0.005.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: the value is not valid YAML; quote it.") from error
    names = key.strip().split(".")
    result = dict(content)
    place = result
    for name in names[:-1]:
        inner = place.get(name)
        if inner is not None and not isinstance(inner, Mapping):
            raise UserError(f"--set {override}: '{name}' is a value, not a section.")
        place[name] = dict(inner or {})
        place = place[name]
    place[names[-1]] = value
    return result


def _section_keys(location: tuple[str | int, ...], kind: type[RunConfig]) -> list[str]:
    """The keys known at the parent of ``location``."""
    model: type[BaseModel] = kind
    for name in location[:-1]:
        found = model.model_fields.get(str(name))
        if found is None or not isinstance(found.annotation, type):
            return []
        if not issubclass(found.annotation, BaseModel):
            return []
        model = found.annotation
    return list(model.model_fields)


def _validate(content: dict[str, Any], where: str, kind: type[Config]) -> Config:
    # A key without a value ("loss:") means "as by default".
    content = {key: value for key, value in content.items() if value is not None}
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
    location = tuple(first["loc"])
    key = ".".join(str(part) for part in location if not _is_type_tag(part))
    if first["type"] == "extra_forbidden":
        raise explain_unknown_key(where, key, _section_keys(location, kind))
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    raise UserError(f"{where}: '{key}' is {first['input']!r}; {message}.")


def _is_type_tag(part: object) -> bool:
    """Whether pydantic put the name of a union's member into the location."""
    return part in {"int", "float", "str", "list[str]", "function-before[parse_time(), float]"}


__all__ = [
    "BatchConfig",
    "DataConfig",
    "LossConfig",
    "OptimiserConfig",
    "RunConfig",
    "SplitConfig",
    "TrainConfig",
    "check_model_keys",
    "explain_model_key",
    "explain_unknown_key",
    "format_time",
    "load_config",
    "parse_time",
    "save_config",
]
