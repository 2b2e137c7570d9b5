"""Features of any network, trained or not, obey the symmetry of the atom's site."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import write
from ase.spacegroup import crystal

from clebsch.errors import UserError
from clebsch.models import DosConfig, PhononDosModel, save_model
from clebsch.o3 import Irrep, Irreps
from clebsch.structures.space_group import site_symmetries
from clebsch.vibrations.orbital_features import (
    OrbitalFeatures,
    allowed_functions,
    draw_orbitals,
    orbital_features,
    plotly_orbitals,
    site_table,
)
from clebsch.vibrations.symmetrised_cell import symmetrised

SPECIES = ["C", "Na", "Cl", "Ti", "O", "Sr", "Si"]


def diamond() -> Atoms:
    return bulk("C", "diamond", a=3.567)


def rocksalt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.64)


def rutile() -> Atoms:
    sites = [(0, 0, 0), (0.3053, 0.3053, 0)]
    return crystal("TiO", sites, spacegroup=136, cellpar=[4.594, 4.594, 2.959, 90, 90, 90])


def perovskite() -> Atoms:
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
    return crystal("SrTiO", sites, spacegroup=221, cellpar=[3.905] * 3 + [90] * 3)


def quartz() -> Atoms:
    sites = [(0.4697, 0, 1 / 3), (0.4133, 0.2672, 0.1188)]
    return crystal("SiO", sites, spacegroup=152, cellpar=[4.916, 4.916, 5.405, 90, 90, 120])


def triclinic() -> Atoms:
    sites = [(0.11, 0.07, 0.21), (0.4, 0.31, 0.62), (0.7, 0.15, 0.35)]
    return crystal("NaSiO", sites, spacegroup=1, cellpar=[5.1, 6.2, 5.7, 80, 95, 102])


# structure, then for every site: symbol, operations, invariant functions of degree 0..4 (Bradley
# & Cracknell's tables of subduced characters; for O_h one cubic harmonic at l = 4)
SITES = {
    diamond: {"C": ("-43m", 24, (1, 0, 0, 1, 1))},
    rocksalt: {"Na": ("m-3m", 48, (1, 0, 0, 0, 1)), "Cl": ("m-3m", 48, (1, 0, 0, 0, 1))},
    rutile: {"Ti": ("mmm", 8, (1, 0, 2, 0, 3)), "O": ("m2m", 4, (1, 1, 2, 2, 3))},
    perovskite: {
        "Sr": ("m-3m", 48, (1, 0, 0, 0, 1)),
        "Ti": ("m-3m", 48, (1, 0, 0, 0, 1)),
        "O": ("4/mmm", 16, (1, 0, 1, 0, 2)),
    },
    quartz: {"Si": ("2", 2, (1, 1, 3, 3, 5)), "O": ("1", 1, (1, 3, 5, 7, 9))},
    triclinic: dict.fromkeys(("Na", "Si", "O"), ("1", 1, (1, 3, 5, 7, 9))),
}


def random_network(dtype: torch.dtype, lmax: int = 4) -> PhononDosModel:
    torch.manual_seed(3)
    config = DosConfig(species=SPECIES, lmax=lmax, channels=16, layers=3)
    return PhononDosModel(config).to(dtype).eval()


@pytest.mark.parametrize("make", SITES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=["64", "32"]
)
def test_an_untrained_network_obeys_every_site(make, dtype, tolerance: float) -> None:
    atoms = symmetrised(make())
    rows = site_table(orbital_features(random_network(dtype), atoms, layer=1))
    assert [row.element for row in rows] == list(SITES[make])
    for row in rows:
        symbol, order, allowed = SITES[make][row.element]
        assert (row.symbol, row.order, row.allowed) == (symbol, order, allowed)
        assert row.violation < tolerance
        assert row.equivalents < tolerance
        assert row.forced == [l for l in range(5) if allowed[l] == 0]
        scale = row.rms[0]
        for l in range(5):
            # not only is nothing there that is forbidden: everything allowed is (on a general
            # site one layer of few neighbours may not reach all of it)
            assert row.rank[l] == allowed[l] or (order == 1 and 0 < row.rank[l] < allowed[l])
            if l in row.forced:
                assert row.rms[l] < tolerance * max(scale, 1)
            else:
                assert row.rms[l] > 1e-3 * scale


@pytest.mark.parametrize("make", [diamond, rutile, perovskite])
def test_deeper_layers_obey_too(make) -> None:
    for row in site_table(orbital_features(random_network(torch.float64), symmetrised(make()), 2)):
        assert row.violation < 1e-12
        assert [l for l, n in row.rank.items() if n == 0] == row.forced


def test_the_check_finds_what_breaks_the_symmetry() -> None:
    network = random_network(torch.float64)
    atoms = symmetrised(rutile())
    good = orbital_features(network, atoms)
    rattled = atoms.copy()
    rattled.positions[0] += [0.02, 0.01, 0.03]
    moved = orbital_features(network, rattled)
    broken = OrbitalFeatures(atoms, 1, moved.irreps, moved.values)
    assert max(row.violation for row in site_table(broken)) > 1e-3
    # a spurious vector on the titanium of D_2h symmetry
    values = good.values.clone()
    values[0, good.irreps.slices()[1]] += 1.0
    rows = site_table(OrbitalFeatures(atoms, 1, good.irreps, values))
    assert rows[0].violation > 0.01
    assert rows[1].violation < 1e-12


def test_parity_of_features_is_that_of_functions() -> None:
    features = orbital_features(random_network(torch.float64), symmetrised(quartz()))
    assert all(ir.p == (-1) ** ir.l for _, ir in features.irreps)
    signals = features.signals(2)
    site = next(s for s in site_symmetries(features.atoms) if s.symbol == "2")
    directions = torch.randn(50, 3, dtype=torch.float64)
    for R in torch.from_numpy(site.rotations):
        turned = signals.signal_xyz(directions @ R)[site.atom]
        torch.testing.assert_close(turned, signals.signal_xyz(directions)[site.atom])


@pytest.mark.parametrize("make", SITES)
def test_allowed_functions_are_the_rank_of_the_projector(make) -> None:
    for site in site_symmetries(symmetrised(make())):
        R = torch.from_numpy(site.rotations)
        for l, count in enumerate(allowed_functions(site.rotations, 6)):
            projector = Irreps([(1, Irrep(l, (-1) ** l))]).D_from_matrix(R).mean(0)
            assert int(torch.linalg.matrix_rank(projector, tol=1e-6)) == count
            torch.testing.assert_close(projector @ projector, projector)


def test_site_groups_are_groups_and_do_not_depend_on_the_cell() -> None:
    small = symmetrised(rutile())
    large = small.repeat((2, 1, 2))
    for a, b in zip(site_symmetries(small), site_symmetries(large), strict=True):
        assert (a.symbol, a.wyckoff, len(a.rotations)) == (b.symbol, b.wyckoff, len(b.rotations))
        products = np.einsum("aij,bjk->abik", a.rotations, a.rotations).reshape(-1, 3, 3)
        for one in products:
            assert np.abs(a.rotations - one).max((1, 2)).min() < 1e-10


def test_layers_and_channels_that_are_not_there() -> None:
    network = random_network(torch.float32, lmax=1)
    with pytest.raises(UserError, match="layers 0 to 3, not 4"):
        orbital_features(network, diamond(), 4)
    with pytest.raises(UserError, match="has one network, 0, not 1"):
        orbital_features(network, diamond(), 1, 1)
    features = orbital_features(network, diamond(), 1)
    with pytest.raises(UserError, match="channels 0 to 15, not 16"):
        features.signals(16)
    last = orbital_features(network, diamond(), 3)
    assert last.degrees == [0]
    assert last.liveliest_channel() == 0


def test_pictures(tmp_path: Path) -> None:
    network = random_network(torch.float32)
    for make in (rutile, rocksalt):
        features = orbital_features(network, symmetrised(make()))
        draw_orbitals(features, tmp_path / "x.png")
        assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
        kinds = [trace.type for trace in plotly_orbitals(features).data]
        assert kinds.count("surface") > 0
    # of degrees 0 to 2 rocksalt has nothing to draw
    empty = orbital_features(random_network(torch.float64, lmax=2), symmetrised(rocksalt()))
    assert "surface" not in [trace.type for trace in plotly_orbitals(empty).data]
    draw_orbitals(empty, tmp_path / "empty.png")


def test_the_command(tmp_path: Path) -> None:
    save_model(random_network(torch.float32), tmp_path / "m.clebsch", {})
    write(tmp_path / "rutile.cif", rutile())
    done = subprocess.run(
        [
            *(sys.executable, "-m", "clebsch.cli", "phonons", "orbitals"),
            *(str(tmp_path / "m.clebsch"), str(tmp_path / "rutile.cif")),
            *("--out", str(tmp_path / "out"), "--double"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    assert "mmm" in done.stdout
    content = json.loads((tmp_path / "out" / "rutile.json").read_text())
    assert [site["forced_to_zero"] for site in content["sites"]] == [[1, 3], []]
    assert max(site["violation"] for site in content["sites"]) < 1e-12
    assert (tmp_path / "out" / "rutile.html").exists()


@pytest.mark.parametrize("name", ["mp-149", "mp-2657"])
def test_published_structures(name: str) -> None:
    """Real cells, as their CIF rounds them, once they have their symmetry exactly."""
    import io
    import lzma
    import re

    import ase.io

    file = Path(os.environ.get("CLEBSCH_DATA", "")) / "phonon" / "petretto2018_dfpt.jsonl.xz"
    if not os.environ.get("CLEBSCH_DATA") or not file.exists():
        pytest.skip("petretto2018_dfpt.jsonl.xz is not in $CLEBSCH_DATA/phonon")
    with lzma.open(file, "rt") as lines:
        line = next(x for x in lines if re.search(f'"material_id": ?"{name}"', x))
    structure = json.loads(line)["metadata"]["structure"]
    atoms = symmetrised(ase.io.read(io.StringIO(structure), format="cif"))
    for row in site_table(orbital_features(random_network(torch.float64), atoms)):
        assert row.violation < 1e-12
        assert tuple(row.rank.values()) == row.allowed
