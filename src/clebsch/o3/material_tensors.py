"""The tensor properties of matter: index symmetries, parities, irreps and Voigt's matrices.

Parities are those under inversion of space; reversal of time is not considered. Thermodynamic and
intrinsic symmetries only: those of a crystal's point group come on top.

Source: Nye, Physical properties of crystals (1957); Boyd, Nonlinear optics (2008), 1.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clebsch.o3 import voigt
from clebsch.o3.cartesian import CartesianTensor

if TYPE_CHECKING:
    from torch import Tensor

    from clebsch.o3.irreps import Irreps
    from clebsch.o3.voigt import VoigtForm


@dataclass(frozen=True)
class MaterialTensor:
    """A tensor property: what it means, as a Cartesian tensor, and how it is tabulated.

    Attributes:
        name: of the property.
        meaning: its definition.
        tensor: index symmetry and parity.
        voigt: how it is written as a matrix; None where that is not done.

    >>> ELASTIC.irreps, ELASTIC.voigt.shape
    (2x0e+2x2e+1x4e, (6, 6))
    >>> import torch
    >>> C = torch.diag(torch.tensor([2.0, 2, 2, 1, 1, 1]))
    >>> C[:3, :3] += 1
    >>> features = ELASTIC.from_voigt(C)  # isotropic: C_11 - C_12 = 2 C_44
    >>> features[2:].abs().max() < 1e-6, torch.allclose(ELASTIC.to_voigt(features), C, atol=1e-6)
    (tensor(True), True)
    """

    name: str
    meaning: str
    tensor: CartesianTensor
    voigt: VoigtForm | None = None

    @property
    def irreps(self) -> Irreps:
        """Irreps of the features."""
        return self.tensor.irreps

    def from_cartesian(self, tensor: Tensor) -> Tensor:
        """Features (..., dim) of a tensor (..., 3, 3, ...), see `CartesianTensor`."""
        return self.tensor.from_cartesian(tensor)

    def to_cartesian(self, features: Tensor) -> Tensor:
        """Tensor (..., 3, 3, ...) of features (..., dim)."""
        return self.tensor.to_cartesian(features)

    def from_voigt(self, matrix: Tensor) -> Tensor:
        """Features (..., dim) of a matrix as tabulated, (..., *voigt.shape).

        Raises:
            ValueError: for another shape, or where there is no such form.
        """
        return self.from_cartesian(self._form().to_tensor(matrix))

    def to_voigt(self, features: Tensor) -> Tensor:
        """Matrix as tabulated, (..., *voigt.shape), of features (..., dim).

        Raises:
            ValueError: for another shape, or where there is no such form.
        """
        return self._form().from_tensor(self.to_cartesian(features))

    def _form(self) -> VoigtForm:
        if self.voigt is None:
            raise ValueError(f"the {self.name} has no Voigt form; use its Cartesian components")
        return self.voigt


_PAIR = "ij=ji"
_SYMMETRIC_PAIR = "ijk=ikj"
_TWO_PAIRS = "ijkl=jikl=ijlk"
_EXCHANGED_PAIRS = "ijkl=jikl=ijlk=klij"

POLAR_VECTOR = MaterialTensor(
    "polar vector", "dipole, polarisation, force, pyroelectricity", CartesianTensor("i")
)
AXIAL_VECTOR = MaterialTensor(
    "axial vector", "magnetisation, torque", CartesianTensor("i", axial="i")
)
DIELECTRIC = MaterialTensor(
    "dielectric tensor", "D_i = eps_ij E_j", CartesianTensor(_PAIR), voigt.STRESS
)
POLARISABILITY = MaterialTensor(
    "polarisability", "p_i = alpha_ij E_j", CartesianTensor(_PAIR), voigt.STRESS
)
STRESS = MaterialTensor("stress", "t_i = sigma_ij n_j", CartesianTensor(_PAIR), voigt.STRESS)
STRAIN = MaterialTensor(
    "strain", "eps_ij = (d_i u_j + d_j u_i) / 2", CartesianTensor(_PAIR), voigt.STRAIN
)
ROTATION = MaterialTensor(
    "infinitesimal rotation", "w_ij = (d_i u_j - d_j u_i) / 2", CartesianTensor("ij=-ji")
)
BORN_CHARGE = MaterialTensor(
    "Born effective charge", "Z_ij = dP_i / du_j of one atom", CartesianTensor("ij")
)
GYRATION = MaterialTensor(
    "gyration tensor",
    "optical activity: g = g_ij n_i n_j along the direction n",
    CartesianTensor(_PAIR, pseudo=True),
    voigt.STRESS,
)
MAGNETOELECTRIC = MaterialTensor(
    "magnetoelectric tensor", "P_i = alpha_ij H_j", CartesianTensor("ij", axial="j")
)
PIEZOELECTRIC = MaterialTensor(
    "piezoelectric stress tensor",
    "P_i = e_ijk eps_jk",
    CartesianTensor(_SYMMETRIC_PAIR),
    voigt.PIEZOELECTRIC_STRESS,
)
PIEZOELECTRIC_STRAIN = MaterialTensor(
    "piezoelectric strain tensor",
    "P_i = d_ijk sigma_jk, eps_jk = d_ijk E_i",
    CartesianTensor(_SYMMETRIC_PAIR),
    voigt.PIEZOELECTRIC_STRAIN,
)
SECOND_HARMONIC = MaterialTensor(
    "second-harmonic susceptibility",
    "P_i(2w) = chi_ijk E_j(w) E_k(w)",
    CartesianTensor(_SYMMETRIC_PAIR),
    voigt.SECOND_HARMONIC,
)
SECOND_HARMONIC_KLEINMAN = MaterialTensor(
    "second-harmonic susceptibility with Kleinman's symmetry",
    "as above, far below resonances",
    CartesianTensor("ijk=jik=ikj"),
    voigt.SECOND_HARMONIC,
)
RAMAN = MaterialTensor(
    "Raman tensor", "R_ijk = d alpha_ij / du_k of one atom", CartesianTensor("ijk=jik")
)
HALL = MaterialTensor("Hall tensor", "E_i = R_ijk J_j B_k", CartesianTensor("ijk=-jik", axial="k"))
ELASTIC = MaterialTensor(
    "elastic stiffness", "sigma_ij = C_ijkl eps_kl", CartesianTensor(_EXCHANGED_PAIRS),
    voigt.STIFFNESS,
)  # fmt: skip
COMPLIANCE = MaterialTensor(
    "elastic compliance", "eps_ij = S_ijkl sigma_kl", CartesianTensor(_EXCHANGED_PAIRS),
    voigt.COMPLIANCE,
)  # fmt: skip
PHOTOELASTIC = MaterialTensor(
    "photoelastic tensor", "change of (1/eps)_ij = p_ijkl eps_kl", CartesianTensor(_TWO_PAIRS),
    voigt.PHOTOELASTIC,
)  # fmt: skip
PIEZO_OPTIC = MaterialTensor(
    "piezo-optic tensor", "change of (1/eps)_ij = pi_ijkl sigma_kl", CartesianTensor(_TWO_PAIRS),
    voigt.PIEZO_OPTIC,
)  # fmt: skip
ELECTROSTRICTION = MaterialTensor(
    "electrostriction", "eps_ij = Q_ijkl P_k P_l", CartesianTensor(_TWO_PAIRS)
)
FLEXOELECTRIC = MaterialTensor(
    "flexoelectric tensor", "P_i = mu_ijkl d eps_jk / dx_l", CartesianTensor("ijkl=ikjl")
)
KERR = MaterialTensor(
    "Kerr susceptibility", "P_i(w) = chi_ijkl E_j(w) E_k E_l", CartesianTensor(_TWO_PAIRS)
)
THIRD_HARMONIC = MaterialTensor(
    "third-harmonic susceptibility",
    "P_i(3w) = chi_ijkl E_j E_k E_l at w",
    CartesianTensor("ijkl=ikjl=ijlk"),
)
THIRD_HARMONIC_KLEINMAN = MaterialTensor(
    "third-harmonic susceptibility with Kleinman's symmetry",
    "as above, far below resonances; also the second hyperpolarisability",
    CartesianTensor("ijkl=jikl=ikjl=ijlk"),
)
THIRD_ORDER_ELASTIC = MaterialTensor(
    "third-order elastic stiffness",
    "energy density C_ijklmn eps_ij eps_kl eps_mn / 6",
    CartesianTensor("ijklmn=jiklmn=klijmn=ijmnkl"),
)

MATERIAL_TENSORS = (
    POLAR_VECTOR,
    AXIAL_VECTOR,
    DIELECTRIC,
    POLARISABILITY,
    STRESS,
    STRAIN,
    ROTATION,
    BORN_CHARGE,
    GYRATION,
    MAGNETOELECTRIC,
    PIEZOELECTRIC,
    PIEZOELECTRIC_STRAIN,
    SECOND_HARMONIC,
    SECOND_HARMONIC_KLEINMAN,
    RAMAN,
    HALL,
    ELASTIC,
    COMPLIANCE,
    PHOTOELASTIC,
    PIEZO_OPTIC,
    ELECTROSTRICTION,
    FLEXOELECTRIC,
    KERR,
    THIRD_HARMONIC,
    THIRD_HARMONIC_KLEINMAN,
    THIRD_ORDER_ELASTIC,
)
