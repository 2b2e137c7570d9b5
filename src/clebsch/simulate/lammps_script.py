"""The input script of a molecular-dynamics run in LAMMPS: settings in, text out.

The script is made to be read, changed and run by hand. Its results go to files whose names stand
here and which `clebsch.simulate.lammps_output` reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from ase import units

from clebsch.simulate.settings import MDSettings

SCRIPT = "in.lammps"
CONTINUATION = "in.resume"
DATA = "start.data"
MODEL = "model.clebsch"
DUMP = "trajectory.dump"
TOTALS = "frames.dat"
LAST_DUMP = "last.dump"
LAST_TOTALS = "last.dat"
RESTARTS = ("restart.a", "restart.b", "restart.end")
STOP = "STOP"
CHECK_STEPS = 10
MAX_RESTART_STEPS = 1000

#: LAMMPS's own constants of ``units metal``: amu (Å/ps)^2 in eV, and eV/Å^3 in bar.
MVV2E = 1.0364269e-4
NKTV2P = 1.6021765e6
#: Masses are multiplied by this, which undoes the rounding of MVV2E: LAMMPS then moves atoms
#: exactly as ASE does and has the same kinetic energies.
MASS_FACTOR = 1.0 / (1000.0 * units.fs) ** 2 / MVV2E


@dataclass(frozen=True)
class Limits:
    """Where LAMMPS stops a run; None does not.

    Attributes:
        temperature_K: the highest.
        force: the largest on an atom, eV/Å.
        energy: change of the total energy of an NVE run, eV.
        distances: whether the model's header knows the shortest distances of its training.
    """

    temperature_K: float
    force: float | None = None
    energy: float | None = None
    distances: bool = True


@dataclass(frozen=True)
class LammpsRun:
    """Everything that an input script is made from.

    Attributes:
        settings: of the run.
        title: first line of the script.
        elements: chemical symbols of the atom types.
        boundary: words of LAMMPS's ``boundary`` command.
        triclinic: whether the box has tilts.
        lost_dof: of the 3N degrees of freedom, those without kinetic energy: of the centre of
            mass, of fixed atoms.
        fixed: indices of atoms that do not move.
        limits: of the domain.
        device: where the model runs, such as "cuda".
    """

    settings: MDSettings
    title: str
    elements: list[str]
    boundary: str
    triclinic: bool
    lost_dof: int
    fixed: list[int]
    limits: Limits
    device: str = "cpu"

    @property
    def group(self) -> str:
        """LAMMPS's group of the atoms that move."""
        return "mobile" if self.fixed else "all"

    @property
    def forces(self) -> str:
        """Columns of the model's forces in a dump."""
        if self.settings.conserves_momentum:
            return "fx fy fz"
        return "f_model[1] f_model[2] f_model[3]"  # without those of the thermostat


def input_script(run: LammpsRun) -> str:
    """Text of the script that starts a run."""
    parts = [_head(run, SCRIPT), _variables(run), _structure(run), _model(run), _thermo(run)]
    parts.append(_motion(run, 0))
    if run.limits.energy is not None:
        parts.append("run            0 post no\n")
    parts += [_checks(run, "$(etotal:%.15g)"), _output(run, 0), _end(run)]
    return "\n".join(parts)


def continuation_script(run: LammpsRun, restart: str, step: int, start_energy: float) -> str:
    """Text of the script that goes on from a restart file.

    Args:
        run: with the new settings.
        restart: name of the restart file.
        step: about where it was written; random forces start from another seed.
        start_energy: total energy at the start of the run, eV.
    """
    parts = [_head(run, CONTINUATION), _variables(run)]
    parts.append(f"read_restart   {restart}\n{_groups(run)}")
    parts += [_model(run), _thermo(run), _motion(run, step)]
    parts += [_checks(run, f"{start_energy:.15g}"), _output(run, step), _end(run)]
    return "\n".join(parts)


def _head(run: LammpsRun, name: str) -> str:
    return (
        f"# {run.title}\n"
        "# Written by clebsch md --engine lammps. By hand, on 2 ranks:\n"
        f"#     mpirun -np 2 lmp -in {name}\n"
        f"# and with other values:  lmp -in {name} -var steps 5000\n"
        f"# A file named {STOP} in this folder ends the run early, with everything written.\n"
    )


def restart_steps(settings: MDSettings) -> int:
    """Steps between restart files: what a run that is killed may lose."""
    return min(max(100, settings.steps // 100), MAX_RESTART_STEPS)


def _variables(run: LammpsRun) -> str:
    settings = run.settings
    rows = [
        ("steps", settings.steps, "counted from the start"),
        ("timestep", f"{settings.timestep_fs / 1000.0:.15g}", "ps"),
        ("sample", settings.sample_steps, "steps between lines of thermodynamic output"),
        ("frame", settings.frame_steps, "steps between frames of the trajectory"),
        ("restart", restart_steps(settings), "steps between restart files"),
        ("check", CHECK_STEPS, "steps between checks of the model's domain"),
    ]
    if settings.ensemble != "nve":
        rows.append(("temperature", f"{settings.temperature_K:.15g}", "K"))
        rows.append(("tau_t", f"{settings.thermostat_time_fs / 1000.0:.15g}", "ps"))
        rows.append(("seed", 1 + settings.seed % 800_000_000, ""))
    if settings.ensemble == "npt":
        bar = settings.pressure_GPa * units.GPa * NKTV2P
        rows.append(("pressure", f"{bar:.15g}", f"bar; {settings.pressure_GPa:g} GPa"))
        rows.append(("tau_p", f"{settings.barostat_time_fs / 1000.0:.15g}", "ps"))
    lines = [
        f"variable       {name:11} index {value!s:11}" + (f" # {comment}" if comment else "")
        for name, value, comment in rows
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _structure(run: LammpsRun) -> str:
    tilt = "box            tilt large\n" if run.triclinic else ""
    return (
        "units          metal  # A, ps, eV, bar\n"
        f"boundary       {run.boundary}\n"
        "atom_style     atomic\n"
        f"{tilt}"
        f"read_data      {DATA}\n"
        f"{_groups(run)}"
    )


def _groups(run: LammpsRun) -> str:
    if not run.fixed:
        return ""
    lines = [
        f"group          fixed id {' '.join(_ranges(run.fixed[n : n + 1000]))}\n"
        for n in range(0, len(run.fixed), 1000)
    ]
    return "".join(lines) + "group          mobile subtract all fixed\n"


def _ranges(indices: list[int]) -> list[str]:
    """LAMMPS's atom ids of indices that ascend: "1:3", "7"."""
    words: list[str] = []
    first = last = indices[0]
    for index in [*indices[1:], -1]:
        if index == last + 1:
            last = index
            continue
        words.append(str(first + 1) if first == last else f"{first + 1}:{last + 1}")
        first = last = index
    return words


def _model(run: LammpsRun) -> str:
    device = "" if run.device == "cpu" else f" device {run.device}"
    domain = "warn  # warns of atoms closer than in training" if run.limits.distances else "off"
    return (
        f"pair_style     clebsch{device} domain {domain}\n"
        f"pair_coeff     * * {MODEL} {' '.join(run.elements)}\n"
        "neighbor       0.5 bin\n"
        "neigh_modify   every 1 delay 0 check yes one 10000 page 100000\n"
        "timestep       ${timestep}\n"
    )


def _thermo(run: LammpsRun) -> str:
    return (
        "# temperature of the degrees of freedom that hold kinetic energy\n"
        f"compute_modify thermo_temp extra/dof {run.lost_dof}\n"
        "compute        virial all pressure NULL virial\n"
        "thermo         ${sample}\n"
        "thermo_style   custom step temp pe ke etotal press vol\n"
        "thermo_modify  norm no flush yes format float %.15g\n"
    )


def _motion(run: LammpsRun, step: int) -> str:
    settings, group = run.settings, run.group
    if settings.ensemble == "nve":
        return f"fix            motion {group} nve\n"
    if settings.ensemble == "npt":
        return (
            "fix            motion all nph iso ${pressure} ${pressure} ${tau_p} "
            "ptemp ${temperature} flip no\n"
            "fix_modify     motion temp thermo_temp\n" + _bussi()
        )
    if settings.thermostat == "bussi":
        return f"fix            motion {group} nve\n" + _bussi()
    again = f"  # another one than before step {step}\n" if step else "\n"
    reseed = f"variable       reseed equal ${{seed}}+{step}{again}" if step else ""
    seed = "$(v_reseed:%.0f)" if step else "${seed}"
    return (
        f"{reseed}fix            motion {group} nve\n"
        "fix            model all store/force  # before the thermostat adds its own\n"
        f"fix            thermostat {group} langevin ${{temperature}} ${{temperature}} "
        f"${{tau_t}} {seed}\n"
    )


def _bussi() -> str:
    return (
        "fix            thermostat all temp/csvr ${temperature} ${temperature} ${tau_t} ${seed}\n"
        "fix_modify     thermostat temp thermo_temp\n"
    )


def _checks(run: LammpsRun, start_energy: str) -> str:
    limits, columns = run.limits, run.forces.split()
    lines = [
        "# stop early, with everything written",
        f"variable       stop equal is_file({STOP})",
        "fix            stop all halt ${check} v_stop > 0 error continue message no",
        "# stop where the model knows nothing",
        "variable       heat equal temp",
        f"fix            too_hot all halt ${{check}} v_heat > {limits.temperature_K:.6g} "
        "error continue",
    ]
    if limits.force is not None:
        squares = "+".join(f"{column}^2" for column in columns)
        lines += [
            f"variable       pull atom sqrt({squares})",
            "compute        pull all reduce max v_pull",
            "variable       strongest equal c_pull",
            f"fix            too_strong all halt ${{check}} v_strongest > {limits.force:.6g} "
            "error continue",
        ]
    if limits.energy is not None:
        lines += [
            f"variable       drift equal abs(etotal-({start_energy}))",
            f"fix            drifted all halt ${{check}} v_drift > {limits.energy:.6g} "
            "error continue",
        ]
    return "\n".join(lines) + "\n"


def _output(run: LammpsRun, step: int) -> str:
    virial = " ".join(f"c_virial[{n}]" for n in range(1, 7))
    return (
        f"dump           frames all custom ${{frame}} {DUMP} &\n"
        f"               id xu yu zu vx vy vz {run.forces}\n"
        "dump_modify    frames sort id format float %.17g\n"
        "fix            totals all ave/time 1 1 ${frame} c_thermo_pe &\n"
        f"               {virial} &\n"
        f'               file {TOTALS} format " %.17g"\n'
        f"restart        ${{restart}} {RESTARTS[0]} {RESTARTS[1]}\n"
    )


def _end(run: LammpsRun) -> str:
    virial = " ".join(f"$(c_virial[{n}]:%.17g)" for n in range(1, 7))
    return (
        "run            ${steps} upto\n"
        f"write_restart  {RESTARTS[2]}\n"
        "run            0 post no  # energy and pressure of the last step, wherever that was\n"
        f"write_dump     all custom {LAST_DUMP} &\n"
        f"               id xu yu zu vx vy vz {run.forces} &\n"
        "               modify sort id format float %.17g\n"
        f'print          "$(step) $(pe:%.17g) {virial}" file {LAST_TOTALS} screen no\n'
    )
