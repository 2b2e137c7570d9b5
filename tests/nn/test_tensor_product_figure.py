"""The figure of a tensor product: what is drawn, and that a file comes of it."""

import doctest
from pathlib import Path

import matplotlib.figure
import pytest
import torch

from clebsch.nn import tensor_product_figure
from clebsch.nn.tensor_product_figure import draw
from clebsch.ops import Specification


def test_examples_run():
    assert doctest.testmod(tensor_product_figure).failed == 0


@pytest.mark.parametrize(
    "spec",
    [
        Specification.convolution("8x0e + 8x1o", "0e + 1o", "0e + 1o"),
        Specification.square("4x0e + 2x1o"),
        Specification.fully_connected("2x0e", "2x1o", "3x2e"),  # no paths
        Specification.fully_connected("", "", ""),
        Specification.full("1x0e+2x1o", "+".join(["1x0e", "1x1o"] * 5)),  # more y than colours
    ],
    ids=["convolution", "square", "no paths", "nothing", "many"],
)
def test_each_path_and_block_is_drawn(spec, tmp_path, monkeypatch):
    drawn = []
    save = matplotlib.figure.Figure.savefig

    def keep(self, *args, **kwargs):
        drawn.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    draw(spec, tmp_path / "product.png", torch.randn(3, spec.weight_numel))
    assert (tmp_path / "product.png").stat().st_size > 1000
    (axes,) = drawn[0].axes
    texts = [text.get_text() for text in axes.texts]
    assert sum(text.startswith("u") for text in texts) == len(spec.paths)
    for block in (*spec.x, *spec.z):
        assert str(block) in texts
    curves = [line for line in axes.lines if len(line.get_xdata()) > 1]
    assert len(curves) == 2 * len(spec.paths)


def test_width_follows_the_weights():
    spec = Specification.fully_connected("2x0e + 2x1o", "1x0e", "2x0e + 2x1o")
    weights = torch.cat([torch.zeros(4), torch.ones(4)])
    thin, thick = tensor_product_figure._widths(spec, weights)
    assert thin < thick / 4


def test_wrong_weights_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"they must be \(..., 1\)"):
        draw(Specification.fully_connected("0e", "0e", "0e"), tmp_path / "x.png", torch.randn(2))
