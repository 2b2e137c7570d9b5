"""Cartesian tensors of any rank, index symmetry and parity, to irreps and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clebsch.o3.constants import tensor_constant
from clebsch.o3.index_formula import IndexFormula
from clebsch.o3.irreps import Irreps
from clebsch.o3.reduced_products import ReducedBasis, reduced_tensor_product
from clebsch.o3.wigner import determinant_sign

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class CartesianTensor:
    """Tensors with three components per index, and the irreps that they are made of.

    Features are in layout ``ir_mul``. The conversion is an isometry: the norm of a tensor with the
    index symmetry is that of its features.

    Args:
        formula: index symmetry, such as ``"ij=ji"``; see `IndexFormula`.
        axial: letters of the indices that belong to axial vectors (a magnetic field, a rotation
            axis), which inversion keeps. All others are polar.
        pseudo: whether the whole tensor changes sign by improper rotations besides, as the
            tensor of optical activity does.

    Raises:
        ValueError: for a formula that is none, one that only the zero tensor obeys, a letter of
            ``axial`` that is no index, or permuted indices of which one is axial.

    >>> CartesianTensor("ij=ji").irreps, CartesianTensor("ij=-ji").irreps
    (1x0e+1x2e, 1x1e)
    >>> CartesianTensor("ij", axial="j").irreps, CartesianTensor("ij=ji", pseudo=True).irreps
    (1x0o+1x1o+1x2o, 1x0o+1x2o)
    >>> import torch
    >>> symmetric = CartesianTensor("ij=ji")
    >>> t = torch.arange(9.0).view(3, 3)
    >>> torch.allclose(symmetric.to_cartesian(symmetric.from_cartesian(t)), (t + t.T) / 2)
    True
    """

    formula: str
    axial: str = ""
    pseudo: bool = False

    def __post_init__(self) -> None:
        symmetry = self.symmetry
        for letter in self.axial:
            if letter not in symmetry.letters:
                raise ValueError(f'"{self.formula}" has no index "{letter}" that could be axial')
        symmetry.expand(
            {i: "axial" if i in self.axial else "polar" for i in symmetry.letters}, "parity"
        )
        if not symmetry.has_tensors(3):
            raise ValueError(f'"{self.formula}": only the zero tensor has this symmetry in space')

    @cached_property
    def symmetry(self) -> IndexFormula:
        """The group of index permutations."""
        return IndexFormula(self.formula)

    @property
    def rank(self) -> int:
        """Number of indices."""
        return self.symmetry.rank

    @property
    def parity(self) -> int:
        """What inversion multiplies the tensor by."""
        polar = self.rank - len(set(self.axial))
        return (-1) ** (polar + self.pseudo)

    @cached_property
    def irreps(self) -> Irreps:
        """Irreps of the features."""
        return Irreps([(mul, (ir.l, self.parity)) for mul, ir in _basis(self.formula).irreps_out])

    @property
    def dim(self) -> int:
        """Number of independent components."""
        return self.irreps.dim

    def change_of_basis(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Tensor:
        """Orthonormal rows, shape (dim, 3, 3, ...); float64 unless ``dtype`` says otherwise."""
        return _basis(self.formula).change_of_basis.clone().to(dtype=dtype, device=device)

    def from_cartesian(self, tensor: Tensor) -> Tensor:
        """Features of a tensor; of one without the index symmetry, of its symmetric part.

        Args:
            tensor: shape (..., 3, 3, ...), floating point.

        Returns:
            Shape (..., dim).

        Raises:
            ValueError: for another shape, or integers.
        """
        self._check(tensor)
        flat = tensor.reshape(*tensor.shape[: tensor.dim() - self.rank], 3**self.rank)
        return flat @ _matrix(self.formula, like=tensor).T

    def from_vectors(self, *vectors: Tensor) -> Tensor:
        """Features of the tensor product of vectors, symmetrised.

        Args:
            vectors: one for each index, shape (..., 3); leading dimensions broadcast.

        Returns:
            Shape (..., dim).

        Raises:
            ValueError: for another number of vectors or another shape.

        >>> import torch
        >>> x, y = torch.eye(3)[:2]
        >>> (CartesianTensor("ij=-ji").from_vectors(x, y) * 2**0.5).round(decimals=4)
        tensor([0., 0., 1.])
        """
        if len(vectors) != self.rank:
            raise ValueError(
                f'"{self.formula}" has {self.rank} indices, but {len(vectors)} vectors are given'
            )
        for vector in vectors:
            if vector.shape[-1:] != (3,):
                raise ValueError(f"a vector must have shape (..., 3), not {tuple(vector.shape)}")
        product = vectors[0]
        for vector in vectors[1:]:
            product = (product[..., :, None] * vector[..., None, :]).flatten(-2)
        return self.from_cartesian(product.unflatten(-1, (3,) * self.rank))

    def to_cartesian(self, features: Tensor) -> Tensor:
        """The tensor of features, which has the index symmetry.

        Args:
            features: shape (..., dim), floating point.

        Returns:
            Shape (..., 3, 3, ...).

        Raises:
            ValueError: for another last dimension, or integers.
        """
        if features.shape[-1:] != (self.dim,):
            raise ValueError(
                f'features of "{self.formula}" ({self.irreps}) must have shape (..., {self.dim}), '
                f"not {tuple(features.shape)}"
            )
        _check_floating(features)
        flat = features @ _matrix(self.formula, like=features)
        return flat.reshape(*features.shape[:-1], *(3,) * self.rank)

    def symmetrize(self, tensor: Tensor) -> Tensor:
        """The nearest tensor with the index symmetry; shape (..., 3, 3, ...) as given.

        >>> import torch
        >>> t = torch.tensor([[0.0, 2, 0], [0, 1, 0], [0, 0, 0]])
        >>> CartesianTensor("ij=ji").symmetrize(t).round(decimals=4) + 0
        tensor([[0., 1., 0.],
                [1., 1., 0.],
                [0., 0., 0.]])
        """
        return self.to_cartesian(self.from_cartesian(tensor))

    def rotate(self, tensor: Tensor, R: Tensor) -> Tensor:
        """The tensor of the matter turned by R, with the signs of axial indices.

        Args:
            tensor: shape (..., 3, 3, ...).
            R: orthogonal matrices, proper or improper, shape (..., 3, 3).

        Returns:
            Shape (..., 3, 3, ...); leading dimensions broadcast. Its features are those of
            ``tensor`` times ``irreps.D_from_matrix(R)``.
        """
        self._check(tensor)
        flat = tensor.reshape(*tensor.shape[: tensor.dim() - self.rank], 3, 3 ** (self.rank - 1))
        for _ in range(self.rank):  # turn the first index, then make it the last
            flat = (R @ flat).mT
            flat = flat.reshape(*flat.shape[:-2], 3, 3 ** (self.rank - 1))
        turned = flat.reshape(*flat.shape[:-2], *(3,) * self.rank)
        if self.parity == (-1) ** self.rank:
            return turned
        return turned * determinant_sign(R)[(..., *(None,) * self.rank)]

    def _check(self, tensor: Tensor) -> None:
        if tensor.shape[tensor.dim() - min(self.rank, tensor.dim()) :] != (3,) * self.rank:
            raise ValueError(
                f'a tensor "{self.formula}" must have shape (..., {", ".join("3" * self.rank)}), '
                f"not {tuple(tensor.shape)}"
            )
        _check_floating(tensor)


def _check_floating(x: Tensor) -> None:
    if not x.is_floating_point():
        raise ValueError(f"Cartesian tensors need floating point numbers, not {x.dtype}")


def _basis(formula: str) -> ReducedBasis:
    letters = IndexFormula(formula).letters
    return reduced_tensor_product(formula, **dict.fromkeys(letters, "1o"))


def _flat_basis(formula: str) -> NDArray[np.float64]:
    basis = _basis(formula)
    return basis.array.reshape(basis.irreps_out.dim, -1)


_matrix = tensor_constant(_flat_basis)
