"""The one hot operator: weighted tensor products, gathered and scattered along edges."""

from clebsch.ops.arguments import Edges
from clebsch.ops.dispatch import backend
from clebsch.ops.operator import convolve, correlate, tensor_product
from clebsch.ops.segments import segment_softmax
from clebsch.ops.so2 import convolve_directions
from clebsch.ops.specification import Path, Specification, Term
from clebsch.ops.splined import convolve_splined

__all__ = [
    "Edges",
    "Path",
    "Specification",
    "Term",
    "backend",
    "convolve",
    "convolve_directions",
    "convolve_splined",
    "correlate",
    "segment_softmax",
    "tensor_product",
]
