"""Named tensor properties: textbook counts, crystal classes, rotations both ways, Voigt's forms."""

import itertools

import pytest
import torch

from clebsch.o3 import Irreps, material_tensors, rand_matrix
from clebsch.o3.material_tensors import MATERIAL_TENSORS, MaterialTensor
from clebsch.o3.rotations import axis_angle_to_matrix

TOLERANCE = {torch.float32: 5e-5, torch.float64: 1e-12}

IRREPS = {
    "POLAR_VECTOR": "1o",
    "AXIAL_VECTOR": "1e",
    "DIELECTRIC": "0e + 2e",
    "POLARISABILITY": "0e + 2e",
    "STRESS": "0e + 2e",
    "STRAIN": "0e + 2e",
    "ROTATION": "1e",
    "BORN_CHARGE": "0e + 1e + 2e",
    "GYRATION": "0o + 2o",
    "MAGNETOELECTRIC": "0o + 1o + 2o",
    "PIEZOELECTRIC": "2x1o + 2o + 3o",
    "PIEZOELECTRIC_STRAIN": "2x1o + 2o + 3o",
    "SECOND_HARMONIC": "2x1o + 2o + 3o",
    "SECOND_HARMONIC_KLEINMAN": "1o + 3o",
    "RAMAN": "2x1o + 2o + 3o",
    "HALL": "0e + 1e + 2e",
    "ELASTIC": "2x0e + 2x2e + 4e",
    "COMPLIANCE": "2x0e + 2x2e + 4e",
    "PHOTOELASTIC": "2x0e + 1e + 3x2e + 3e + 4e",
    "PIEZO_OPTIC": "2x0e + 1e + 3x2e + 3e + 4e",
    "ELECTROSTRICTION": "2x0e + 1e + 3x2e + 3e + 4e",
    "FLEXOELECTRIC": "2x0e + 3x1e + 4x2e + 2x3e + 4e",
    "KERR": "2x0e + 1e + 3x2e + 3e + 4e",
    "THIRD_HARMONIC": "0e + 1e + 2x2e + 3e + 4e",
    "THIRD_HARMONIC_KLEINMAN": "0e + 2e + 4e",
    "THIRD_ORDER_ELASTIC": "3x0e + 3x2e + 3e + 2x4e + 6e",
}
# components that a crystal class leaves (Nye 1957, appendix B and E; Brugger 1964 for rank 6)
ALLOWED = [
    ("m-3m", "ELASTIC", 3),
    ("23", "ELASTIC", 3),
    ("6/mmm", "ELASTIC", 5),
    ("4", "ELASTIC", 7),
    ("3", "ELASTIC", 7),
    ("mmm", "ELASTIC", 9),
    ("1", "ELASTIC", 21),
    ("-43m", "PIEZOELECTRIC", 1),
    ("4mm", "PIEZOELECTRIC", 3),
    ("32", "PIEZOELECTRIC", 2),
    ("3m", "PIEZOELECTRIC", 4),
    ("m-3m", "PIEZOELECTRIC", 0),
    ("432", "PIEZOELECTRIC", 0),
    ("-43m", "SECOND_HARMONIC_KLEINMAN", 1),
    ("3m", "SECOND_HARMONIC_KLEINMAN", 3),
    ("m-3m", "PHOTOELASTIC", 3),
    ("23", "PHOTOELASTIC", 4),
    ("mmm", "PHOTOELASTIC", 12),
    ("32", "GYRATION", 2),
    ("23", "GYRATION", 1),
    ("m-3m", "GYRATION", 0),
    ("-43m", "GYRATION", 0),
    ("m-3m", "DIELECTRIC", 1),
    ("6/mmm", "DIELECTRIC", 2),
    ("4mm", "POLAR_VECTOR", 1),
    ("4mm", "AXIAL_VECTOR", 0),
    ("m-3m", "THIRD_ORDER_ELASTIC", 6),
    ("6/mmm", "THIRD_ORDER_ELASTIC", 10),
    ("m-3m", "FLEXOELECTRIC", 3),
    ("m-3m", "HALL", 1),
]


def turn(n, *axis):
    axis = torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float64), dim=0)
    return axis_angle_to_matrix(axis, torch.tensor(2 * torch.pi / n, dtype=torch.float64))


INVERSION = -torch.eye(3, dtype=torch.float64)
GENERATORS = {
    "1": [],
    "mmm": [turn(2, 0, 0, 1), turn(2, 1, 0, 0), INVERSION],
    "4": [turn(4, 0, 0, 1)],
    "4mm": [turn(4, 0, 0, 1), -turn(2, 1, 0, 0)],
    "3": [turn(3, 0, 0, 1)],
    "32": [turn(3, 0, 0, 1), turn(2, 1, 0, 0)],
    "3m": [turn(3, 0, 0, 1), -turn(2, 1, 0, 0)],
    "6/mmm": [turn(6, 0, 0, 1), turn(2, 1, 0, 0), INVERSION],
    "23": [turn(2, 0, 0, 1), turn(3, 1, 1, 1)],
    "432": [turn(4, 0, 0, 1), turn(3, 1, 1, 1)],
    "-43m": [-turn(4, 0, 0, 1), turn(3, 1, 1, 1)],
    "m-3m": [turn(4, 0, 0, 1), turn(3, 1, 1, 1), INVERSION],
}


def by_name(name) -> MaterialTensor:
    return getattr(material_tensors, name)


def test_all_are_listed():
    named = [v for v in vars(material_tensors).values() if isinstance(v, MaterialTensor)]
    assert named == list(MATERIAL_TENSORS)
    assert len({t.name for t in named}) == len(named) == len(IRREPS)


@pytest.mark.parametrize("name", IRREPS)
def test_irreps(name):
    assert by_name(name).irreps == Irreps(IRREPS[name])


@pytest.mark.parametrize(("group", "name", "components"), ALLOWED)
def test_crystal_classes_leave_the_components_of_the_textbooks(group, name, components):
    """Features that all generators of the class leave alone."""
    irreps = by_name(name).irreps
    eye = torch.eye(irreps.dim, dtype=torch.float64)
    conditions = [irreps.D_from_matrix(R) - eye for R in GENERATORS[group]]
    rank = torch.linalg.matrix_rank(torch.cat(conditions), tol=1e-9) if conditions else 0
    assert irreps.dim - rank == components


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("t", MATERIAL_TENSORS, ids=lambda t: t.name)
def test_rotating_both_ways(t, dtype):
    features = torch.randn(3, t.irreps.dim, dtype=dtype)
    tensor = t.to_cartesian(features)
    options = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
    for R in (rand_matrix(3, dtype=dtype), -rand_matrix(3, dtype=dtype)):
        turned = (t.irreps.D_from_matrix(R) @ features[..., None])[..., 0]
        rotated = t.tensor.rotate(tensor, R)
        torch.testing.assert_close(t.from_cartesian(rotated), turned, **options)
        torch.testing.assert_close(t.to_cartesian(turned), rotated, **options)
        if t.voigt is not None:
            sign = torch.linalg.det(R).sign()[:, None] if t.tensor.pseudo else 1
            matrix = t.voigt.rotate(t.to_voigt(features), R) * sign
            torch.testing.assert_close(t.from_voigt(matrix), turned, **options)
            torch.testing.assert_close(t.to_voigt(turned), matrix, **options)


def test_a_cubic_crystal_has_two_scalars_and_one_cubic_harmonic():
    C = torch.zeros(6, 6, dtype=torch.float64)
    C[:3, :3] = 63.9
    C.diagonal()[:3], C.diagonal()[3:] = 165.7, 79.6
    elastic = material_tensors.ELASTIC
    features = elastic.from_voigt(C)
    torch.testing.assert_close(elastic.to_voigt(features), C, atol=1e-11, rtol=0)
    part = dict(zip("024", (features[s] for s in elastic.irreps.slices()), strict=True))
    assert part["2"].abs().max() < 1e-11
    assert part["4"].norm() > 1
    isotropic = C.clone()
    isotropic.diagonal()[3:] = (165.7 - 63.9) / 2
    assert elastic.from_voigt(isotropic)[2:].abs().max() < 1e-11


def test_zinc_blende_has_one_octupole():
    d = torch.zeros(3, 6, dtype=torch.float64)
    for i in range(3):
        d[i, 3 + i] = 1.0
    piezoelectric = material_tensors.PIEZOELECTRIC
    features = piezoelectric.from_voigt(d)
    others, octupole = features[:-7], features[-7:]
    assert others.abs().max() < 1e-14
    # xyz is one component of l = 3; six entries of the tensor are 1
    assert (octupole.abs() > 1e-12).sum() == 1
    torch.testing.assert_close(octupole.norm() ** 2, torch.tensor(6.0, dtype=torch.float64))
    tensor = piezoelectric.to_cartesian(features)
    for i, j, k in itertools.permutations(range(3)):
        torch.testing.assert_close(tensor[i, j, k].item(), 1.0)


def test_no_voigt_form_is_said():
    with pytest.raises(ValueError, match="the Raman tensor has no Voigt form"):
        material_tensors.RAMAN.to_voigt(torch.ones(18))
    with pytest.raises(ValueError, match=r"\(..., 6, 6\), not \(6, 5\)"):
        material_tensors.ELASTIC.from_voigt(torch.ones(6, 5))
