"""The one hot operator: weighted tensor products, gathered and scattered along edges."""

from clebsch.ops.dispatch import backend
from clebsch.ops.operator import Edges, convolve, tensor_product
from clebsch.ops.specification import Path, Specification, Term

__all__ = ["Edges", "Path", "Specification", "Term", "backend", "convolve", "tensor_product"]
