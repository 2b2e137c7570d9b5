"""Features that are functions on the sphere: which degrees, how many channels, which parities."""

from __future__ import annotations

from dataclasses import dataclass

from clebsch.nn.arguments import named
from clebsch.o3 import Irreps
from clebsch.o3.irreps import IrrepsLike


@dataclass(frozen=True)
class SignalIrreps:
    """Coefficients of ``channels`` functions on the sphere, each of the degrees ``ls``.

    The inversion makes p_val f(p_arg r) of f(r), so that degree l has parity p_val p_arg^l. In
    the layout ``ir_mul`` the features are a matrix (harmonics, channels).

    Attributes:
        irreps: ``channels`` copies of every degree, each degree once.
        parities: the pairs (p_val, p_arg) that fit; more than one where all l are even, or odd.
    """

    irreps: Irreps
    ls: tuple[int, ...]
    channels: int
    parities: tuple[tuple[int, int], ...]

    @property
    def harmonics(self) -> int:
        """Number of coefficients of one function."""
        return sum(2 * l + 1 for l in self.ls)


def signal_irreps(layer: str, name: str, irreps: IrrepsLike) -> SignalIrreps:
    """Read irreps as functions on the sphere.

    Raises:
        ValueError: no irreps, a degree twice, different numbers of channels, or parities that no
            function has.

    >>> signal_irreps("Layer", "irreps", "4x0e + 4x1o + 4x2e").parities
    ((1, -1),)
    """
    irreps = Irreps(irreps).simplify()
    ls = tuple(ir.l for _, ir in irreps)
    channels = {mul for mul, _ in irreps}
    signs = [(p_val, p_arg) for p_val in (1, -1) for p_arg in (1, -1)]
    parities = tuple(
        (p_val, p_arg)
        for p_val, p_arg in signs
        if all(ir.p == p_val * p_arg**ir.l for _, ir in irreps)
    )
    if not ls:
        complaint = "there are none"
    elif len(set(ls)) != len(ls):
        complaint = f"l={max(ls, key=ls.count)} occurs twice"
    elif len(channels) > 1:
        complaint = "every degree needs as many channels"
    elif not parities:
        complaint = "the parities must be p_val p_arg^l, such as 0e+1o+2e or 0o+1o+2o"
    else:
        return SignalIrreps(irreps, ls, channels.pop(), parities)
    raise ValueError(
        f"{layer}: {name} {named(irreps)} are not functions on the sphere: {complaint}"
    )
