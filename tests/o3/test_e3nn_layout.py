import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clebsch.errors import UserError
from clebsch.o3 import Irrep, Irreps, from_e3nn, to_e3nn

terms = st.tuples(st.integers(0, 4), st.builds(Irrep, st.integers(0, 3), st.sampled_from([-1, 1])))


@given(st.lists(terms, max_size=5).map(Irreps))
def test_round_trip_and_meaning(irreps):
    x = torch.arange(2 * irreps.dim, dtype=torch.float64).reshape(2, irreps.dim)
    theirs = to_e3nn(x, irreps)
    assert torch.equal(from_e3nn(theirs, irreps), x)
    for part, (mul, ir) in zip(irreps.slices(), irreps, strict=True):
        ours = x[:, part].reshape(2, ir.dim, mul)
        assert torch.equal(theirs[:, part].reshape(2, mul, ir.dim), ours.mT)


def test_no_rows_and_wrong_length():
    assert to_e3nn(torch.zeros(0, 9), "3x1o").shape == (0, 9)
    with pytest.raises(UserError, match="9 long"):
        from_e3nn(torch.zeros(2, 8), "3x1o")
