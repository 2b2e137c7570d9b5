"""Features of a wrong width: one sentence that names layer, irreps and dimension."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clebsch.nn.arguments import check_features
from clebsch.o3 import Irreps


def test_the_sentence_names_layer_irreps_and_dimension():
    sentence = r"Identity: x has 4 in its last dimension \(shape \(3, 4\)\), but 2x0e\+1x1o needs 5"
    with pytest.raises(ValueError, match=sentence):
        check_features(nn.Identity(), "x", torch.zeros(3, 4), Irreps("2x0e + 1x1o"))


def test_right_features_pass():
    check_features(nn.Identity(), "x", torch.zeros(3, 5), Irreps("2x0e + 1x1o"))
