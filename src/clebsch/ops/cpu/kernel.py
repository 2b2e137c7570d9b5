"""What one kernel of the convolution computes."""

from __future__ import annotations

from dataclasses import dataclass

from clebsch.ops.specification import Specification


@dataclass(frozen=True)
class Kernel:
    """What a kernel computes.

    Attributes:
        spec: of mode ``uvu`` only, see ``supported``.
        targets: the slots it opens: ``"z"``, or some of ``"xyw"`` in this order.
        tangents: slots of ``"xyw"`` with a tangent; empty for the form itself.
        splined: weights are a spline of the edge's u; its derivative is in the place of w's.
        real: ``"float"`` or ``"double"``.
    """

    spec: Specification
    targets: str
    tangents: str = ""
    splined: bool = False
    real: str = "float"

    @property
    def item(self) -> int:
        """Bytes of a number."""
        return 4 if self.real == "float" else 8


def supported(spec: Specification) -> bool:
    """Whether every path is ``uvu`` with one channel of y and weights per edge."""
    return bool(spec.paths) and all(
        path.mode == "uvu"
        and spec.y[path.y].mul == 1
        and not (spec.shared_weights and path.weighted)
        for path in spec.paths
    )
