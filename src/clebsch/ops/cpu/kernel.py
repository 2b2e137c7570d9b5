"""What one kernel of the convolution computes."""

from __future__ import annotations

from dataclasses import dataclass

from clebsch.ops.specification import Specification

WIDEST = 64  # bytes of the widest vector of any processor
_HELD = 24 * 1024  # bytes of an edge's rows, of which a first cache keeps most


@dataclass(frozen=True)
class Kernel:
    """What a kernel computes.

    Attributes:
        spec: of mode ``uvu`` only, see ``supported``.
        targets: the slots it opens: ``"z"``, or some of ``"xyw"`` in this order.
        tangents: slots of ``"xyw"`` with a tangent; empty for the form itself.
        splined: weights are a spline of the edge's u; its derivative is in the place of w's.
        real: ``"float"`` or ``"double"``.
        streamed: the rows of the open w pass by the caches; see ``streams``.
    """

    spec: Specification
    targets: str
    tangents: str = ""
    splined: bool = False
    real: str = "float"
    streamed: bool = False

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


def streams(kernel: Kernel) -> bool:
    """Whether it pays to write the open w past the caches, where w is too large for them.

    Only whole vectors at aligned places can be. Without x the fetches hide the stores as well;
    and where an edge's rows overflow the first cache, its misses and the streams wait for one
    another.
    """
    spec, item = kernel.spec, kernel.item
    if not {"x", "w"} <= set(kernel.targets) or kernel.splined:
        return False
    weighted = [n for n, path in enumerate(spec.paths) if path.weighted]
    places = [spec.weight_slices[n].start for n in weighted]
    channels = [spec.x[spec.paths[n].x].mul for n in weighted]
    if any(n * item % WIDEST for n in [spec.weight_numel, *places, *channels]):
        return False
    rows = "xxzw" + kernel.tangents  # of x twice: what is read, and the sum
    return sum(spec.widths[slot] for slot in rows) * item <= _HELD
