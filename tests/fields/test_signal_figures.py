"""Surfaces of signals: e3nn's, and files that can be read again."""

import pytest
import torch
from matplotlib.image import imread

from clebsch.fields import SphericalSignal, draw_signal, plotly_signals, signal_surface


@pytest.mark.parametrize("radius", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_surfaces_equal_e3nn(radius, relu, float64):
    io = pytest.importorskip("e3nn.io")
    signal, center = SphericalSignal(torch.randn(16)), torch.randn(3)
    points, values = signal_surface(signal, center, 20, radius, relu)
    expected = io.SphericalTensor(3, 1, -1).plot(signal.coefficients, center, 20, radius, relu)
    torch.testing.assert_close(points, expected[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(values, expected[1], rtol=0, atol=1e-12)
    figure = plotly_signals(SphericalSignal(signal.coefficients[None]), center, 20, radius, relu)
    theirs = io.SphericalTensor(3, 1, -1).plotly_surface(
        signal.coefficients, center, 20, radius, relu
    )
    for name, array in theirs[0].items():
        torch.testing.assert_close(torch.tensor(figure.data[0][name]), torch.tensor(array))


def test_png(tmp_path):
    path = tmp_path / "signal.png"
    draw_signal(SphericalSignal.with_peaks_at(torch.eye(3), 4), path, res=30)
    image = imread(path)
    assert image.shape[0] > 300
    red, _, blue = image[..., 0], image[..., 1], image[..., 2]
    assert (red - blue).max() > 0.5  # the peaks
    assert (blue - red).max() > 0.2  # what is negative between them


def test_refusals():
    batch = SphericalSignal(torch.zeros(2, 9))
    with pytest.raises(ValueError, match="one signal"):
        signal_surface(batch)
    with pytest.raises(ValueError, match="as many centers"):
        plotly_signals(batch, torch.zeros(3, 3))
