"""The metrics on one atom in closed form against PySCF's integrals."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from clebsch.density import metric_matrix
from clebsch.density.metric import METRICS, Metric
from clebsch.density.on_site import on_site_block, on_site_matrix
from clebsch.errors import UserError


@pytest.mark.parametrize("metric", METRICS)
def test_is_the_diagonal_of_the_metric(density, metric: Metric) -> None:
    pytest.importorskip("pyscf")
    whole = metric_matrix(density.basis, density.numbers, density.positions, metric)
    ours = on_site_matrix(density.basis, density.numbers, metric)
    offsets = density.basis.offsets(density.numbers).tolist()
    for first, last in pairwise(offsets):
        here = slice(first, last)
        torch.testing.assert_close(ours[here, here], whole[here, here], rtol=1e-10, atol=1e-12)
        whole[here, here] = ours[here, here] = 0.0
    assert float(ours.abs().max()) == 0.0
    assert float(whole.abs().max()) > 0.1


def test_functions_are_normalised(density) -> None:
    for z in density.basis.elements:
        for block in density.basis.blocks(z):
            overlap = on_site_block(block, "overlap")
            np.testing.assert_allclose(np.diag(overlap), 1.0, rtol=1e-14)
            assert np.linalg.eigvalsh(overlap)[0] > 0
            assert np.linalg.eigvalsh(on_site_block(block, "coulomb"))[0] > 0


def test_an_unknown_metric_is_refused(density) -> None:
    with pytest.raises(UserError, match='"coulomb" or "overlap"'):
        on_site_block(density.basis.blocks(8)[0], "euclid")  # type: ignore[arg-type]
