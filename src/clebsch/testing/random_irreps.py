"""Irreps to test with."""

from __future__ import annotations

import random

from clebsch.o3 import Irreps


def random_irreps(
    *,
    lmax: int = 4,
    mul_min: int = 0,
    mul_max: int = 5,
    len_min: int = 0,
    len_max: int = 4,
    allow_empty: bool = True,
    rng: random.Random | None = None,
) -> Irreps:
    """Irreps of random degrees, parities and multiplicities.

    Args:
        lmax: largest degree.
        mul_min, mul_max: bounds of each multiplicity.
        len_min, len_max: bounds of the number of blocks.
        allow_empty: whether irreps of dimension zero may come.
        rng: the source of randomness, Python's global one by default.

    Raises:
        ValueError: bounds that nothing fulfils.

    >>> random_irreps(lmax=2, len_min=3, len_max=3, rng=random.Random(1))
    4x0o+0x1o+3x2o
    """
    if lmax < 0 or not 0 <= mul_min <= mul_max or not 0 <= len_min <= len_max:
        raise ValueError(
            f"no irreps have lmax={lmax}, multiplicities {mul_min} to {mul_max} "
            f"and {len_min} to {len_max} blocks"
        )
    if not allow_empty and (mul_max == 0 or len_max == 0):
        raise ValueError("irreps that are not empty need mul_max and len_max of at least 1")
    rng = rng or random.Random(random.random())
    length = rng.randint(len_min if allow_empty else max(1, len_min), len_max)
    blocks = [
        (rng.randint(mul_min, mul_max), (rng.randint(0, lmax), rng.choice((1, -1))))
        for _ in range(length)
    ]
    if not allow_empty and not any(mul for mul, _ in blocks):
        blocks[-1] = (rng.randint(1, mul_max), blocks[-1][1])
    return Irreps(blocks)
