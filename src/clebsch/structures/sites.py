"""Sites of a structure: whether each is one atom of one element."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.geometry import complete_cell
from scipy.spatial import cKDTree

_SAME_PLACE = 0.01  # Å, below which two atoms are one
_FEW = 64  # atoms, up to which all pairs are compared


def shared_site(atoms: Atoms) -> str | None:
    """The first site with partial occupancies, as ASE notes them when it reads a CIF.

    >>> atoms = Atoms("Cu", info={"occupancy": {"0": {"Cu": 0.5, "Ni": 0.5}}})
    >>> shared_site(atoms)
    'site 0 is occupied by Cu 0.5, Ni 0.5'
    """
    sites = atoms.info.get("occupancy")
    if not isinstance(sites, Mapping):
        return None
    for site, shares in sites.items():
        if isinstance(shares, Mapping) and not is_whole(shares):
            return describe_shares(str(site), shares)
    return None


def describe_shares(site: str, shares: Mapping[str, float]) -> str:
    """Half a sentence that says which elements share a site."""
    listed = ", ".join(f"{element} {float(share):g}" for element, share in shares.items())
    return f"site {site} is occupied by {listed}"


def is_whole(shares: Mapping[str, float]) -> bool:
    """Whether one element has the site to itself; files round occupancies."""
    return len(shares) == 1 and abs(float(next(iter(shares.values()))) - 1) < 1e-3


def coincident_atoms(atoms: Atoms) -> tuple[int, int] | None:
    """Two atoms less than 0.01 Å apart, counting periodic images; None where there are none.

    >>> coincident_atoms(Atoms("Si2", [[0, 0, 0], [0, 0, 5]], cell=[5, 5, 5], pbc=True))
    (0, 1)
    """
    if len(atoms) < 2:
        return None
    cell = complete_cell(atoms.cell.array)
    share = np.linalg.solve(cell.T, atoms.positions.T).T
    share[:, atoms.pbc] %= 1.0
    share[share >= 1.0] -= atoms.pbc[np.nonzero(share >= 1.0)[1]]  # -1e-20 % 1 is 1
    # In shares of the cell the ball is an ellipsoid; this cube holds it.
    reach = _SAME_PLACE * float(np.linalg.norm(np.linalg.inv(cell), axis=0).max())
    for i, j in _near(share, atoms.pbc, reach):
        apart = share[i] - share[j]
        apart[atoms.pbc] -= np.round(apart[atoms.pbc])
        if np.linalg.norm(apart @ cell) < _SAME_PLACE:
            return i, j
    return None


def _near(
    share: npt.NDArray[np.float64], pbc: npt.NDArray[np.bool_], reach: float
) -> list[tuple[int, int]]:
    """Pairs of points within ``reach`` along each direction; of period 1 along some."""
    if len(share) > _FEW:
        tree = cKDTree(share, boxsize=np.where(pbc, 1.0, 0.0))
        return sorted(tree.query_pairs(reach, p=np.inf))
    apart = share[:, None] - share
    apart -= np.round(apart) * pbc
    near = (np.abs(apart) < reach).all(axis=-1)
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(near, 1))]
