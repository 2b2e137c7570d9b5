"""Weights from e3nn and back: the same function to rounding, in our layout and conventions.

Only order and factors change. Both sides are brought to one form: the matrices (or, for products,
three-index tensors) between all channels of an irrep, path coefficients included; e3nn cuts it
into instructions of blocks, we into one matrix for each irrep or into our paths. So blocks may be
cut differently (e3nn's gates sort and merge theirs), as long as channels of one irrep keep their
order.

The weights of a product along edges are the results of a radial network: its last matrix is cut
in the same way, from the order of e3nn's instructions to that of our paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from clebsch.nn.activations import second_moment_scale
from clebsch.nn.convolution import Convolution
from clebsch.nn.e3nn_constants import Scale, scale_of, use_e3nn_constants
from clebsch.nn.e3nn_cuts import (
    Cut,
    e3nn_edgewise,
    e3nn_linear,
    e3nn_product,
    is_edgewise,
    our_edgewise,
    our_linear,
    our_product,
    recut,
    recut_rows,
)
from clebsch.nn.linear import Linear
from clebsch.nn.mlp import MLP
from clebsch.nn.point_convolution import PointConvolution
from clebsch.nn.tensor_product import FullyConnectedTensorProduct, TensorProduct
from clebsch.nn.voxel_convolution import VoxelConvolution
from clebsch.o3 import Irreps
from clebsch.ops import Specification

StateDict = Mapping[str, Tensor]

#: Layers that e3nn has under other names of their parts.
_NAMES: dict[type[nn.Module], dict[str, str]] = {
    PointConvolution: {
        "self_connection": "sc",
        "mix_in": "lin1",
        "radial": "fc",
        "mix_out": "lin2",
    },
    VoxelConvolution: {"self_connection": "sc"},
}


def from_e3nn_state_dict(
    module: nn.Module,
    state_dict: StateDict,
    *,
    source: nn.Module | None = None,
    names: Mapping[str, str] | None = None,
    irreps: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, Tensor]:
    """A state dict for ``module`` out of that of an e3nn module with submodules of equal names.

    ``Linear`` (with biases), tensor products of every mode, ``MLP``, ``PointConvolution`` and
    ``VoxelConvolution`` (e3nn's names of their parts are known), ``Convolution`` beside a module
    whose product takes weights per edge, and what has parameters of e3nn's names and order (batch
    normalisation, norm activation, torch's own layers). Activations of e3nn have Monte Carlo
    constants: those inside an ``MLP`` are put into its weights, those of gates and activations are
    set by ``use_e3nn_constants`` (``load_e3nn`` does both).

    Args:
        module: our module; it is not changed.
        state_dict: of the e3nn module.
        source: the e3nn module itself. Instructions, path weights, irreps and constants are then
            read from it; without it, layers are taken to be built with e3nn's defaults and the
            options of ours.
        names: e3nn's name of a submodule by ours, where they differ (with all that is below).
        irreps: e3nn's irreps (in, out) or (in1, in2, out) by our name of a ``Linear`` or
            ``FullyConnectedTensorProduct``, where blocks are cut differently, as before an e3nn
            gate.

    Returns:
        Tensors in the precision of ``state_dict``.

    Raises:
        ValueError: a tensor is missing, there is one too many, or of a wrong size, or paths that
            ours has not or in another order; the sentence names the layer.

    Example:
        >>> import torch
        >>> e3nn_weights = {"weight": torch.randn(4 * 3 + 2 * 5), "output_mask": torch.ones(18)}
        >>> linear = Linear("4x0e + 2x1o", "3x0e + 5x1o")
        >>> linear.load_state_dict(from_e3nn_state_dict(linear, e3nn_weights))
        <All keys matched successfully>
    """
    return _Conversion(module, source, names, irreps).from_e3nn(state_dict)


def to_e3nn_state_dict(
    module: nn.Module,
    *,
    source: nn.Module | None = None,
    names: Mapping[str, str] | None = None,
    irreps: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, Tensor]:
    """The way back: parameters for an e3nn module with submodules of equal names.

    Load it with ``strict=False``: masks and empty buffers of e3nn are not in it.

    Args:
        module: our module.
        source, names, irreps: as in ``from_e3nn_state_dict``; ``source`` is the e3nn module that
            will take the weights.

    Raises:
        ValueError: as there; also paths that e3nn's module does not have.

    Example:
        >>> import torch
        >>> linear = Linear("4x0e + 2x1o", "3x0e + 5x1o")
        >>> back = from_e3nn_state_dict(linear, to_e3nn_state_dict(linear))
        >>> torch.equal(back["weight"], linear.weight)
        True
    """
    return _Conversion(module, source, names, irreps).to_e3nn()


def load_e3nn(
    module: nn.Module,
    source: nn.Module,
    *,
    names: Mapping[str, str] | None = None,
) -> None:
    """Make ``module`` compute what the e3nn module ``source`` does: weights and constants.

    Features of ours are in layout ``ir_mul``, see ``clebsch.o3.from_e3nn``. Constants of gates and
    activations are set in place and are no part of our state dict: ``use_e3nn_constants``.

    Raises:
        ValueError: see ``from_e3nn_state_dict``.
    """
    converted = from_e3nn_state_dict(module, source.state_dict(), source=source, names=names)
    module.load_state_dict(converted)
    use_e3nn_constants(module, source)


class _Conversion:
    """A walk over our modules, each with its counterpart."""

    def __init__(
        self,
        module: nn.Module,
        source: nn.Module | None,
        names: Mapping[str, str] | None,
        irreps: Mapping[str, Sequence[Any]] | None,
    ) -> None:
        self.module, self.source = module, source
        self.names, self.irreps = dict(names or {}), dict(irreps or {})
        known = dict(module.named_modules())
        for what in (self.names, self.irreps):
            unknown = [name for name in what if name not in known]
            if unknown:
                raise ValueError(f"{type(module).__name__} has no submodule {unknown[0]!r}")
        for name, part in known.items():
            for ours, theirs in _NAMES.get(type(part), {}).items():
                place = _join(name, ours)
                self.names.setdefault(place, _join(self._their_name(name), theirs))
        self.scale: Scale = scale_of(source)

    def from_e3nn(self, state_dict: StateDict) -> dict[str, Tensor]:
        used: set[str] = set()
        converted: dict[str, Tensor] = {}

        def take(key: str, like: Tensor | None, numel: int | None = None) -> Tensor:
            if key not in state_dict:
                raise ValueError(f"e3nn's state dict has no {key!r}, which {where} needs")
            used.add(key)
            value = state_dict[key].detach()
            right = value.shape == like.shape if like is not None else value.numel() == numel
            if not right:
                wanted = tuple(like.shape) if like is not None else f"{numel} numbers"
                raise ValueError(
                    f"e3nn's {key!r} is {tuple(value.shape)}, but {where} needs {wanted}"
                )
            return value

        for ours, theirs, part in self._parts():
            where = f"{type(part).__name__} {ours!r}" if ours else type(part).__name__
            if isinstance(part, MLP):
                for n, (weight, factor) in enumerate(self._layers(part)):
                    value = take(_join(theirs, f"layer{n}.weight"), weight)
                    converted[_join(ours, f"weights.{n}")] = value * factor
                edgewise = self._edgewise_cuts(ours)
                if edgewise is not None:
                    last = _join(ours, f"weights.{len(part.weights) - 1}")
                    converted[last] = recut_rows(converted[last], *edgewise[::-1], where)
                continue
            if isinstance(part, VoxelConvolution):
                used.update(_join(theirs, name) for name in ("lattice", "emb", "sh"))
            cuts = self._cuts(ours, theirs, part)
            for name, tensor in _own_tensors(part):
                if name == "weight" and cuts is not None:
                    value = take(_join(theirs, name), None, cuts[1].numel)
                    if value.dim() != 1:
                        raise ValueError(f"e3nn's {_join(theirs, name)!r} has f_in: not converted")
                    converted[_join(ours, name)] = recut(value, cuts[1], cuts[0], where)
                    continue
                converted[_join(ours, name)] = take(_join(theirs, name), tensor)
        left = [k for k in state_dict if k not in used and not _is_bookkeeping(k, state_dict[k])]
        if left:
            raise ValueError(
                f"{type(self.module).__name__} has no place for {left[0]!r} of e3nn's state dict"
                + (f" and {len(left) - 1} more" if len(left) > 1 else "")
            )
        return converted

    def to_e3nn(self) -> dict[str, Tensor]:
        converted: dict[str, Tensor] = {}
        for ours, theirs, part in self._parts():
            where = f"{type(part).__name__} {ours!r}" if ours else type(part).__name__
            if isinstance(part, MLP):
                edgewise = self._edgewise_cuts(ours)
                for n, (weight, factor) in enumerate(self._layers(part)):
                    value = weight.detach() / factor
                    if edgewise is not None and n == len(part.weights) - 1:
                        value = recut_rows(value, *edgewise, where)
                    converted[_join(theirs, f"layer{n}.weight")] = value
                continue
            cuts = self._cuts(ours, theirs, part)
            for name, tensor in _own_tensors(part):
                value = tensor.detach().clone()
                if name == "weight" and cuts is not None:
                    value = recut(value, cuts[0], cuts[1], where)
                converted[_join(theirs, name)] = value
        return converted

    def _parts(self) -> Iterator[tuple[str, str, nn.Module]]:
        """(our name, e3nn's name, our module) of all that may hold tensors."""
        inside: str | None = None
        for ours, part in self.module.named_modules():
            if inside is not None and ours.startswith(inside):
                continue
            if isinstance(part, MLP):
                inside = f"{ours}." if ours else ""
            yield ours, self._their_name(ours), part

    def _their_name(self, ours: str) -> str:
        pieces = ours.split(".")
        for cut in range(len(pieces), -1, -1):
            head = ".".join(pieces[:cut])
            if head in self.names:
                return ".".join(p for p in [self.names[head], *pieces[cut:]] if p)
        return ours

    def _their_module(self, theirs: str) -> nn.Module | None:
        if self.source is None:
            return None
        try:
            return self.source.get_submodule(theirs)
        except AttributeError:
            raise ValueError(f"the e3nn module has no submodule {theirs!r}") from None

    def _layers(self, mlp: MLP) -> Iterator[tuple[Tensor, float]]:
        """Weights of every layer, and the factor from e3nn's to ours."""
        ratio = 1.0
        if mlp.activation is not None:
            f = mlp.activation.activation
            ratio = self.scale(f) / second_moment_scale(f)
        for n, weight in enumerate(mlp.weights):
            yield weight, ratio if n else 1.0

    def _edgewise_cuts(self, mlp: str) -> tuple[Cut, Cut] | None:
        """Our cut of a product's weights per edge and e3nn's, where this network makes them."""
        head, _, name = mlp.rpartition(".")
        layer = self.module.get_submodule(head)
        if name != "radial" or not isinstance(layer, Convolution | PointConvolution):
            return None
        spec = layer.specification
        where = f"{type(layer).__name__} {head!r}" if head else type(layer).__name__
        beside = self._their_module(self._their_name(mlp).rpartition(".")[0])
        parts = () if beside is None else beside.modules()
        peers: list[nn.Module | None] = [part for part in parts if is_edgewise(part, spec)]
        found = [e3nn_edgewise(spec, peer, where) for peer in peers or [None]]
        if any(cut != found[0] for cut in found):
            raise ValueError(
                f"{where}: e3nn's has {len(found)} products beside its radial network; convert "
                "layer by layer"
            )
        return our_edgewise(spec), found[0]

    def _cuts(self, ours: str, theirs: str, part: nn.Module) -> tuple[Cut, Cut] | None:
        """Our cut of the weights and e3nn's; None where weights are taken as they are."""
        given = self.irreps.get(ours)
        peer = self._their_module(theirs) if isinstance(part, Linear | TensorProduct) else None
        if isinstance(part, Linear):
            if part.n_species:
                raise ValueError(f"Linear {ours!r}: e3nn has no weights of species")
            pair = (part.irreps_in, part.irreps_out) if given is None else _read(given, 2, ours)
            return our_linear(part), e3nn_linear(pair, peer)
        if isinstance(part, TensorProduct) and part.weight is not None:
            mine = our_product(part.specification)
            if peer is not None:
                return mine, e3nn_product(peer, part.specification, ours)
            if given is not None:
                if not isinstance(part, FullyConnectedTensorProduct):
                    raise ValueError(f"{type(part).__name__} {ours!r}: blocks can not be cut anew")
                x, y, z = _read(given, 3, ours)
                return mine, our_product(Specification.fully_connected(x, y, z))
            return mine, mine
        return None


def _join(*names: str) -> str:
    return ".".join(name for name in names if name)


def _read(given: Sequence[Any], count: int, name: str) -> tuple[Irreps, ...]:
    if len(given) != count:
        raise ValueError(f"{name!r}: give {count} irreps, not {len(given)}")
    return tuple(Irreps(str(one)) for one in given)


def _own_tensors(part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and persistent buffers of this module alone."""
    yield from part.named_parameters(recurse=False)
    for name, buffer in part.named_buffers(recurse=False):
        if name not in part._non_persistent_buffers_set:
            yield name, buffer


def _is_bookkeeping(key: str, value: Tensor) -> bool:
    """What e3nn keeps in state dicts besides parameters: masks, 3j symbols, empty buffers."""
    pieces = key.split(".")
    constant = any(p.startswith("_compiled_main") or p in ("output_mask", "mask") for p in pieces)
    return constant or value.numel() == 0
