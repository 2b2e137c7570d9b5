import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from clebsch.errors import UserError
from clebsch.simulate import diffusion_coefficient, linear_drift, msd, rdf


def shell_count(distribution, pair, density, low, high):
    inside = (distribution.r > low) & (distribution.r < high)
    width = distribution.r[1] - distribution.r[0]
    edges = distribution.r - width / 2
    shells = 4 / 3 * np.pi * ((edges + width) ** 3 - edges**3)
    return density * (distribution.pairs[pair] * shells)[inside].sum()


def test_rdf_counts_the_shells_of_fcc():
    """12, 6 and 24 neighbours at a/sqrt(2), a and a sqrt(3/2), beyond half the small cell."""
    a = 4.0
    atoms = bulk("Al", "fcc", a=a)
    result = rdf([atoms, atoms], rmax=5.5, bins=550)
    assert result.periodic
    density = 4 / a**3
    for distance, count in ((a / 2**0.5, 12), (a, 6), (a * 1.5**0.5, 24)):
        found = shell_count(result, "Al-Al", density, distance - 0.1, distance + 0.1)
        assert found == pytest.approx(count, abs=1e-9)


def test_rdf_of_an_alloy_counts_unlike_neighbours():
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    result = rdf([atoms], rmax=4.5, bins=450)
    assert list(result.pairs) == ["Cl-Cl", "Cl-Na", "Na-Na"]
    density = 4 / 5.6**3  # of one of the two elements
    assert shell_count(result, "Cl-Na", density, 2.7, 2.9) == pytest.approx(6)
    assert shell_count(result, "Na-Na", density, 3.8, 4.1) == pytest.approx(12)


def test_rdf_of_an_ideal_gas_is_one(rng):
    frames = [
        Atoms("Ar200", cell=[12, 13, 14], pbc=True, scaled_positions=rng.random((200, 3)))
        for _ in range(20)
    ]
    result = rdf(frames, rmax=5.0, bins=20)
    # pairs per shell: N^2 / 2V * shell * frames, Poisson; g is (N-1)/N on average
    shells = 4 / 3 * np.pi * np.diff(np.linspace(0, 5, 21) ** 3)
    pairs = 20 * 200 * 199 / 2 * shells / (12 * 13 * 14)
    error = np.abs(result.pairs["Ar-Ar"] - 199 / 200)
    assert (error < 5 / np.sqrt(pairs)).all()


def test_rdf_of_a_molecule_counts_pairs():
    atoms = molecule("CH4")
    result = rdf([atoms], rmax=3.0, bins=300)
    assert not result.periodic
    width = result.r[1] - result.r[0]
    assert (result.pairs["C-H"] * width).sum() == pytest.approx(4)
    assert (result.pairs["H-H"] * width).sum() == pytest.approx(3)


def test_rdf_without_frames():
    with pytest.raises(UserError, match="empty"):
        rdf([])


def random_walk(rng, steps=2000, atoms=60, sigma=0.1, wrap=False):
    """Gaussian steps of sigma per component: <r^2> = 3 sigma^2 n, D = sigma^2 / 2 dt."""
    start = rng.random((atoms, 3)) * 5
    path = start + np.concatenate(
        [np.zeros((1, atoms, 3)), np.cumsum(rng.normal(0, sigma, (steps, atoms, 3)), axis=0)]
    )
    frames = [Atoms(f"Ar{atoms}", positions=p, cell=[5, 5, 5], pbc=True) for p in path]
    if wrap:
        for frame in frames:
            frame.wrap()
    return frames


def test_msd_of_a_random_walk_gives_its_diffusion_coefficient(rng):
    frames = random_walk(rng)
    curve = msd(frames)["Ar"]
    lag = 0.01 * np.arange(len(frames))
    # The centre of mass of N walkers is removed: factor (N - 1) / N.
    exact = 0.1**2 / (2 * 0.01) * 59 / 60
    assert curve[0] == pytest.approx(0.0, abs=1e-9)
    assert curve[1] == pytest.approx(3 * 0.1**2 * 59 / 60, rel=0.02)
    # 60 atoms x 3 components x ~4 independent windows of half the length: ~5 % (1 sigma)
    assert diffusion_coefficient(lag, curve) == pytest.approx(exact, rel=0.15)


def test_msd_undoes_wrapping_and_drift(rng):
    free = random_walk(rng, steps=100)
    curve = msd(free)["Ar"]
    for number, frame in enumerate(free):
        frame.positions += [0.02 * number, 0, -0.05 * number]
        frame.wrap()
    np.testing.assert_allclose(msd(free)["Ar"], curve, atol=1e-9)


def test_msd_equals_the_direct_sum(rng):
    frames = random_walk(rng, steps=12, atoms=3)
    positions = np.stack([f.positions for f in frames])
    positions -= positions.mean(axis=1, keepdims=True)
    direct = [
        np.square(positions[lag:] - positions[: len(frames) - lag]).sum(axis=-1).mean()
        for lag in range(len(frames))
    ]
    np.testing.assert_allclose(msd(frames)["Ar"], direct, atol=1e-12)


def test_msd_in_a_triclinic_cell(rng):
    cell = np.array([[5.0, 0.3, 0], [1.5, 4.5, 0.2], [0.1, -0.7, 5.2]])
    steps = np.cumsum(rng.normal(0, 0.1, (50, 10, 3)), axis=0)
    free = [Atoms("Ar10", positions=p, cell=cell, pbc=True) for p in steps]
    wrapped = [f.copy() for f in free]
    for frame in wrapped:
        frame.wrap()
    np.testing.assert_allclose(msd(wrapped)["Ar"], msd(free)["Ar"], atol=1e-9)


def test_diffusion_needs_three_lags():
    assert np.isnan(diffusion_coefficient(np.arange(4.0), np.arange(4.0)))


def test_linear_drift_finds_a_line_under_noise(rng):
    time = np.arange(400.0)
    result = linear_drift(time, 0.03 * time - 5 + rng.normal(0, 2.0, 400))
    # ordinary least squares: sigma / sqrt(sum (t - mean)^2)
    exact = 2.0 / np.sqrt(((time - time.mean()) ** 2).sum())
    assert result.standard_error == pytest.approx(exact, rel=0.25)
    assert abs(result.slope - 0.03) < 4 * exact
    assert result.rms == pytest.approx(2.0, rel=0.15)


def test_linear_drift_standard_error_counts_correlation(rng):
    """For an AR(1) process with rho = 0.9 the inefficiency is (1 + rho) / (1 - rho) = 19."""
    slopes, errors = [], []
    for _ in range(60):
        noise = np.zeros(1000)
        kicks = rng.normal(size=1000)
        for i in range(1, 1000):
            noise[i] = 0.9 * noise[i - 1] + kicks[i]
        result = linear_drift(np.arange(1000.0), noise)
        slopes.append(result.slope)
        errors.append(result.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.35)


def test_linear_drift_of_too_few_points():
    assert np.isnan(linear_drift(np.arange(2.0), np.arange(2.0)).slope)
