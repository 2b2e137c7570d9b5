"""``clebsch predict``: what a trained model says of many structures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clebsch.cli.options import BatchAtoms, Device, Quiet


def predict(
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    structures: Annotated[
        list[str],
        typer.Argument(
            help="Files of any ASE format, or embedded:NAME; for a phonon model also folders.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Result. Of a potential .extxyz, .csv or .json [predictions.extxyz]; of a phonon "
            "model .csv, .json or .h5 [predictions.csv]; of a density model .h5 [densities.h5].",
            show_default=False,
        ),
    ] = None,
    max_atoms: BatchAtoms = 1000,
    device: Device = "cpu",
    quiet: Quiet = False,
    temperature: Annotated[
        list[float] | None,
        typer.Option(help="Phonons: K, repeatable. [300]", show_default=False),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="Phonons: frequencies in cm^-1, THz or meV. [cm^-1]", show_default=False),
    ] = None,
    normalise: Annotated[
        str | None,
        typer.Option(
            help="Phonons: spectra have the integral 3N or 1, or the largest value 1 (maximum). "
            "[3N]",
            show_default=False,
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(help="Phonons: folder for a figure of each crystal.", show_default=False),
    ] = None,
    max_figures: Annotated[
        int | None,
        typer.Option(help="Phonons: refuse to draw more. [200]", min=1, show_default=False),
    ] = None,
    rank: Annotated[
        str | None,
        typer.Option(
            help="Phonons: sort by the heat capacity at the first temperature, highest or lowest "
            "first.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(help="Phonons: with --rank, keep that many.", min=1, show_default=False),
    ] = None,
    per: Annotated[
        str | None,
        typer.Option(
            help='Phonons: with --rank, heat capacity per "atom", "mol of atoms", "mol of cells" '
            "or kg. [mol of atoms]",
            show_default=False,
        ),
    ] = None,
    skip: Annotated[
        bool,
        typer.Option("--skip", help="Phonons: leave out what cannot be predicted, and say so."),
    ] = False,
) -> None:
    """Predict with a trained model: a potential, or a network for phonon spectra or densities.

    A potential gives energies, per-atom energies, forces and stress; a model of the phonon
    density of states gives the spectrum, the part of each element, and thermodynamics; a model of
    electron densities gives coefficients, which the verbs of clebsch density work with.
    """
    from clebsch.errors import UserError
    from clebsch.models import read_header

    phonons = {
        "temperature": temperature, "unit": unit, "normalise": normalise, "figures": figures,
        "max_figures": max_figures, "rank": rank, "top": top, "per": per, "skip": skip or None,
    }  # fmt: skip
    given = {name: value for name, value in phonons.items() if value is not None}
    kind = read_header(model).get("kind")
    if kind == "phonon dos":
        from clebsch.cli.predict.phonons import predict_phonons

        predict_phonons(
            model, structures, out or Path("predictions.csv"), max_atoms, device, quiet, given
        )
        return
    if given:
        article = "an" if str(kind).startswith("electron") else "a"
        option = "--" + next(iter(given)).replace("_", "-")
        raise UserError(
            f"{model}: holds {article} {kind}, but {option} is for models of the phonon density of "
            "states; leave it out."
        )
    if kind == "electron density":
        from clebsch.cli.predict.densities import predict_density_file

        predict_density_file(
            model, structures, out or Path("densities.h5"), max_atoms, device, quiet
        )
        return
    from clebsch.cli.predict.energies import predict_energies

    predict_energies(model, structures, out or Path("predictions.extxyz"), max_atoms, device, quiet)
