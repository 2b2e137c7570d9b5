"""What a molecular-dynamics run is asked to do."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clebsch.errors import UserError


class MDSettings(BaseModel):
    """Settings of a run; the same names in Python, on the command line and in ``md.json``.

    Attributes:
        ensemble: "nve", "nvt" or "npt".
        temperature_K: of the thermostat; in NVE the temperature of the initial velocities.
        pressure_GPa: of the barostat (NPT), compression positive.
        time_ps: length of the run.
        timestep_fs: of the integrator; half a femtosecond is safe with hydrogen.
        thermostat: NVT: "bussi" (stochastic velocity rescaling; disturbs the dynamics little)
            or "langevin" (damps every atom; mixes the modes of a small molecule).
        thermostat_time_fs: relaxation time; the Langevin friction is its inverse.
        barostat_time_fs: relaxation time of the volume if ``bulk_modulus_GPa`` is right.
        bulk_modulus_GPa: rough estimate of the material's.
        sample_fs: time between rows of ``thermo.csv``.
        frame_fs: time between frames of the trajectory; None makes 500 frames, at least 10 fs
            apart.
        seed: of velocities and thermostat.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    ensemble: Literal["nve", "nvt", "npt"] = "nve"
    temperature_K: float = Field(300.0, ge=0.0)
    pressure_GPa: float = 0.0
    time_ps: float = Field(10.0, ge=0.0)
    timestep_fs: float = Field(0.5, gt=0.0)
    thermostat: Literal["bussi", "langevin"] = "bussi"
    thermostat_time_fs: float = Field(100.0, gt=0.0)
    barostat_time_fs: float = Field(1000.0, gt=0.0)
    bulk_modulus_GPa: float = Field(100.0, gt=0.0)
    sample_fs: float = Field(5.0, gt=0.0)
    frame_fs: float | None = Field(None, gt=0.0)
    seed: int = Field(0, ge=0)

    @classmethod
    def checked(cls, **values: Any) -> MDSettings:
        """Settings from keywords; wrong ones become one clear sentence.

        Raises:
            UserError: an unknown name or a value out of range.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                known = ", ".join(cls.model_fields)
                raise UserError(f"unknown setting '{name}' of a run; known are {known}.") from None
            message = first["msg"][0].lower() + first["msg"][1:]
            raise UserError(f"{name} = {first['input']!r}: {message}.") from None

    @property
    def steps(self) -> int:
        """Number of integration steps."""
        return max(0, round(1000.0 * self.time_ps / self.timestep_fs))

    @property
    def sample_steps(self) -> int:
        """Steps between rows of ``thermo.csv``."""
        return max(1, round(self.sample_fs / self.timestep_fs))

    @property
    def frame_steps(self) -> int:
        """Steps between frames of the trajectory."""
        apart = self.frame_fs or max(10.0, 1000.0 * self.time_ps / 500)
        return max(1, round(apart / self.timestep_fs))

    @property
    def conserves_momentum(self) -> bool:
        """Whether the dynamics keep the total momentum."""
        return not (self.ensemble == "nvt" and self.thermostat == "langevin")
