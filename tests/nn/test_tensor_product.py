"""Tensor products: against e3nn for random instructions, shapes, weights, equivariance, errors."""

import doctest
import random

import pytest
import torch

from clebsch.nn import (
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    Norm,
    TensorProduct,
    TensorSquare,
    tensor_product,
    tensor_square,
)
from clebsch.o3 import Irreps, from_e3nn, rand_matrix, to_e3nn
from clebsch.ops import Edges, Path, Specification, backend, convolve, correlate
from clebsch.ops.specification import CHANNELS, PAIRS

MODES = [*CHANNELS, *PAIRS]


@pytest.mark.parametrize("module", [tensor_product, tensor_square])
def test_examples_run(module):
    assert doctest.testmod(module).failed == 0


def random_instructions(seed: int):
    """Irreps and instructions of every mode between them, some blocks without channels."""
    draw = random.Random(seed)
    x, y, z, instructions = [], [], [], []
    for _ in range(draw.randint(0, 5)):
        mode = draw.choice(MODES)
        a, b = ((draw.randint(0, 2), draw.choice((1, -1))) for _ in range(2))
        c = (draw.randint(abs(a[0] - b[0]), a[0] + b[0]), a[1] * b[1])
        u, v, w = (draw.choice((0, 1, 2, 3, 5)) for _ in range(3))
        mul_x, mul_y, mul_z = {
            "uvw": (u, v, w),
            "uvu": (u, v, u),
            "uvv": (u, v, v),
            "uuw": (u, u, w),
            "uuu": (u, u, u),
            "uvuv": (u, v, u * v),
            "uvu<v": (u, u, u * (u - 1) // 2),
            "u<vw": (u, u, w),
        }[mode]
        weighted = mode in ("uvw", "uuw", "u<vw") or draw.random() < 0.5  # as e3nn has it
        for _ in range(draw.choice((1, 1, 2))):
            place = (len(x), len(y), len(z))
            instructions.append((*place, mode, weighted, draw.uniform(0.1, 3)))
        for blocks, mul, ir in ((x, mul_x, a), (y, mul_y, b), (z, mul_z, c)):
            blocks.append((mul, ir))
    z.append((2, (1, 1)))  # nothing arrives here
    draw.shuffle(instructions)
    return x, y, z, instructions, draw


def random_options(draw, x, y, z):
    options = {
        "irrep_normalization": draw.choice(["component", "norm", "none"]),
        "path_normalization": draw.choice(["element", "path", "none"]),
    }
    for name, irreps in (("in1_var", x), ("in2_var", y), ("out_var", z)):
        if draw.random() < 0.5:
            options[name] = [draw.uniform(0.3, 3) for _ in irreps]
    return options


def same(ours, oracle, lead, weights=None, tolerance=1e-10):
    """The two agree on features of this leading shape, weights in equal order."""
    x, y = (irreps.randn(*lead, -1) for irreps in (ours.irreps_in1, ours.irreps_in2))
    got = ours(x, y, weights)
    expected = oracle(to_e3nn(x, ours.irreps_in1), to_e3nn(y, ours.irreps_in2), weights)
    expected = from_e3nn(expected, ours.irreps_out)
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("seed", range(30))
def test_random_instructions_equal_e3nn(seed, shared, float64):
    o3 = pytest.importorskip("e3nn.o3")
    x, y, z, instructions, draw = random_instructions(seed)
    options = {**random_options(draw, x, y, z), "shared_weights": shared}
    ours = TensorProduct.from_instructions(x, y, z, instructions, internal_weights=False, **options)
    oracle = o3.TensorProduct(x, y, z, instructions, internal_weights=False, **options)
    assert ours.weight_numel == oracle.weight_numel
    lead = (3, 2)
    weights = torch.randn(*(() if shared else lead), ours.weight_numel)
    with backend("reference" if seed % 3 else "auto"):  # kernels are built for a third of them
        same(ours, oracle, lead, weights)
    for n, ins in enumerate(oracle.instructions):
        assert ours.specification.paths[n].coefficient == pytest.approx(ins.path_weight, rel=1e-14)
    if shared and ours.weight_numel:
        for a, b in zip(ours.weight_views(weights), oracle.weight_views(weights), strict=True):
            assert torch.equal(a, b)


IRREPS = "3x0e + 2x1o + 1x2e"
OTHER = "2x0e + 4x1o"


def pair(name, o3, **options):
    """A module of ours and e3nn's."""
    if name == "full":
        return FullTensorProduct(IRREPS, OTHER, **options), o3.FullTensorProduct(
            IRREPS, OTHER, **options
        )
    if name == "fully connected":
        z = "2x0e + 3x1o + 2x1e"
        return FullyConnectedTensorProduct(
            IRREPS, OTHER, z, **options
        ), o3.FullyConnectedTensorProduct(IRREPS, OTHER, z, **options)
    if name == "elementwise":
        return ElementwiseTensorProduct(IRREPS, OTHER, **options), o3.ElementwiseTensorProduct(
            IRREPS, OTHER, **options
        )
    raise AssertionError(name)


@pytest.mark.parametrize("normalization", ["component", "norm", "none"])
@pytest.mark.parametrize("name", ["full", "fully connected", "elementwise"])
def test_named_products_equal_e3nn(name, normalization, float64):
    o3 = pytest.importorskip("e3nn.o3")
    ours, oracle = pair(name, o3, irrep_normalization=normalization)
    assert str(ours.irreps_out) == str(oracle.irreps_out)
    same(ours, oracle, (4,), ours.weight)


@pytest.mark.parametrize("name", ["full", "elementwise"])
def test_filtered_products_equal_e3nn(name, float64):
    o3 = pytest.importorskip("e3nn.o3")
    kept = ["0e", "1o", "2e"]
    if name == "full":
        ours, oracle = (
            FullTensorProduct(IRREPS, OTHER, kept),
            o3.FullTensorProduct(IRREPS, OTHER, [o3.Irrep(ir) for ir in kept]),
        )
    else:
        ours, oracle = (
            ElementwiseTensorProduct(IRREPS, OTHER, kept),
            o3.ElementwiseTensorProduct(IRREPS, OTHER, [o3.Irrep(ir) for ir in kept]),
        )
    assert str(ours.irreps_out) == str(oracle.irreps_out)
    same(ours, oracle, (4,))


@pytest.mark.parametrize("path_normalization", ["element", "path"])
@pytest.mark.parametrize("shared", [True, False])
def test_fully_connected_options_equal_e3nn(shared, path_normalization, float64):
    o3 = pytest.importorskip("e3nn.o3")
    options = {"shared_weights": shared, "path_normalization": path_normalization}
    ours, oracle = pair("fully connected", o3, internal_weights=False, **options)
    same(ours, oracle, (5,), torch.randn(*(() if shared else (5,)), ours.weight_numel))


@pytest.mark.parametrize("normalization", ["component", "norm", "none"])
@pytest.mark.parametrize("z", [None, "2x0e + 3x1o + 1x1e + 2x2e + 4x0o"])
def test_square_equals_e3nn(z, normalization, float64):
    o3 = pytest.importorskip("e3nn.o3")
    x = "3x0e + 4x1o + 1x1e + 2x2e"
    ours = TensorSquare(x, z, irrep_normalization=normalization)
    oracle = o3.TensorSquare(x, z, irrep_normalization=normalization)
    assert ours.irreps_out == Irreps(str(oracle.irreps_out))
    features = ours.irreps_in.randn(3, 2, -1)
    expected = oracle(to_e3nn(features, x), ours.weight)
    got = ours(features)
    torch.testing.assert_close(got, from_e3nn(expected, ours.irreps_out), atol=1e-10, rtol=1e-10)
    kept = TensorSquare(x, keep="0e + 2e") if z is None else None
    if kept is not None:
        oracle = o3.TensorSquare(x, filter_ir_out=[o3.Irrep("0e"), o3.Irrep("2e")])
        expected = from_e3nn(oracle(to_e3nn(features, x)), kept.irreps_out)
        torch.testing.assert_close(kept(features), expected, atol=1e-10, rtol=1e-10)


def test_square_shares_variance_and_weights_of_rows(float64):
    x = "3x0e + 4x1o"
    square = TensorSquare(x, "2x0e + 2x2e", shared_weights=False)
    w = torch.randn(5, square.weight_numel)
    features = square.irreps_in.randn(5, -1)
    one = TensorSquare(x, "2x0e + 2x2e", internal_weights=False)
    rows = [one(f, v) for f, v in zip(features, w, strict=True)]
    torch.testing.assert_close(square(features, w), torch.stack(rows))


@pytest.mark.parametrize("squared", [False, True])
def test_norm_equals_e3nn(squared, float64):
    o3 = pytest.importorskip("e3nn.o3")
    x = Irreps("4x0e + 3x1o + 0x1e + 2x2e")
    features = x.randn(3, 2, -1)
    got = Norm(x, squared=squared)(features)
    expected = o3.Norm(str(x), squared=squared)(to_e3nn(features, x))
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)
    if squared:
        product = TensorProduct(Specification.norm(x))
        torch.testing.assert_close(product(features, features), got)


def test_right_equals_e3nn(float64):
    o3 = pytest.importorskip("e3nn.o3")
    z = "2x0e + 3x1o"
    ours = FullyConnectedTensorProduct(IRREPS, OTHER, z, shared_weights=False)
    oracle = o3.FullyConnectedTensorProduct(
        IRREPS, OTHER, z, shared_weights=False, compile_right=True
    )
    y, w = ours.irreps_in2.randn(4, -1), torch.randn(4, ours.weight_numel)
    x = ours.irreps_in1.randn(4, -1)
    expected = torch.einsum("bi, bik -> bk", to_e3nn(x, IRREPS), oracle.right(to_e3nn(y, OTHER), w))
    got = torch.einsum("bi, bik -> bk", x, ours.right(y, w))
    torch.testing.assert_close(got, from_e3nn(expected, z), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    ("of_x", "of_y", "of_w"),
    [
        ((), (), ()),
        ((3,), (), ()),
        ((2, 1), (5,), (2, 5)),
        ((2, 3), (2, 3), (1, 3)),
        ((0,), (1,), (0,)),
        ((2, 0), (2, 1), ()),
    ],
)
def test_leading_dimensions_broadcast(of_x, of_y, of_w, float64):
    spec = Specification.fully_connected(IRREPS, OTHER, "2x1o + 2x0e", shared_weights=False)
    product = TensorProduct(spec)
    x, y = spec.x.randn(*of_x, -1), spec.y.randn(*of_y, -1)
    w = torch.randn(*of_w, spec.weight_numel)
    got = product(x, y, w)
    lead = torch.broadcast_shapes(of_x, of_y, of_w)
    assert got.shape == (*lead, spec.z.dim)
    flat = (
        [t.expand(*lead, t.shape[-1]).reshape(-1, t.shape[-1]) for t in (x, y, w)]
        if got.numel()
        else None
    )
    if flat is not None:
        rows = torch.stack([product(*row) for row in zip(*flat, strict=True)])
        torch.testing.assert_close(got.reshape(rows.shape), rows)


def test_weights_path_by_path_and_views_that_write(float64):
    product = FullyConnectedTensorProduct(IRREPS, OTHER, "2x1o + 2x0e")
    x, y = product.irreps_in1.randn(3, -1), product.irreps_in2.randn(3, -1)
    torch.testing.assert_close(product(x, y, list(product.weight_views())), product(x, y))
    with torch.no_grad():
        for n in range(len(product.specification.paths)):
            product.weight_view(n).zero_()
    assert torch.equal(product(x, y), torch.zeros(3, product.irreps_out.dim))
    of_rows = TensorProduct(Specification.fully_connected(IRREPS, OTHER, "2x1o", False))
    w = torch.randn(3, of_rows.weight_numel)
    assert of_rows.weight_view(0, w).shape == (3, 3, 4, 2)
    torch.testing.assert_close(of_rows(x, y, list(of_rows.weight_views(w))), of_rows(x, y, w))


def every_mode() -> Specification:
    """A path of every mode, with pairs u < v of blocks that other modes use as well."""
    return Specification.from_instructions(
        "4x1o + 3x0e + 2x2e",
        "4x1o + 1x0e + 2x1o",
        "5x2e + 4x1o + 4x1e + 4x0e + 2x1o + 6x1e + 6x1o + 3x0e",
        [
            (0, 0, 0, "uvw", True),
            (0, 1, 1, "uvu", True),
            (1, 0, 1, "uvv", True),
            (0, 0, 2, "uuu", False),
            (0, 0, 3, "uuu", True),
            (2, 2, 4, "uuw", True),
            (1, 2, 6, "uvuv", True),
            (0, 0, 5, "uvu<v", False),
            (0, 0, 5, "uvu<v", True),
            (0, 0, 7, "u<vw", True),
            (2, 2, 4, "u<vw", True),
        ],
    )


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", ["auto", "reference"])
def test_derivatives_of_every_mode(name, shared):
    spec = every_mode()
    spec = Specification(spec.x, spec.y, spec.z, spec.paths, shared)
    product = TensorProduct(spec, internal_weights=False)
    x, y = (irreps.randn(2, -1, dtype=torch.float64) for irreps in (spec.x, spec.y))
    w = torch.randn(*(() if shared else (2,)), spec.weight_numel, dtype=torch.float64)
    inputs = tuple(t.requires_grad_() for t in (x, y, w))
    with backend(name):
        assert torch.autograd.gradcheck(product, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(product, inputs, fast_mode=True)


def modules():
    return {
        "every mode": TensorProduct(every_mode()),
        "full": FullTensorProduct(IRREPS, OTHER),
        "fully connected": FullyConnectedTensorProduct(IRREPS, OTHER, "2x0e + 3x1o + 2x1e"),
        "elementwise": ElementwiseTensorProduct(IRREPS, OTHER),
        "square": TensorSquare("3x0e + 4x1o + 2x2e"),
        "weighted square": TensorSquare("3x0e + 4x1o + 2x2e", "2x0e + 3x1o + 2x1e + 2x2e"),
        "norm": Norm(IRREPS),
    }


@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("name", modules())
def test_equivariance_of_modules_built_in_float32(name, improper):
    module = modules()[name].double()
    rotation = rand_matrix(dtype=torch.float64) * (-1 if improper else 1)
    given = (
        [module.irreps_in]
        if hasattr(module, "irreps_in")
        else [module.irreps_in1, module.irreps_in2]
    )
    inputs = [irreps.randn(4, -1, dtype=torch.float64) for irreps in given]
    turned = [x @ irreps.D_from_matrix(rotation).T for x, irreps in zip(inputs, given, strict=True)]
    expected = module(*inputs) @ module.irreps_out.D_from_matrix(rotation).T
    assert (module(*turned) - expected).abs().max().item() <= 1e-12 * max(1, expected.abs().max())


@pytest.mark.parametrize("name", modules())
def test_float32_is_float64_rounded(name):
    module = modules()[name]
    given = (
        [module.irreps_in]
        if hasattr(module, "irreps_in")
        else [module.irreps_in1, module.irreps_in2]
    )
    inputs = [irreps.randn(4, -1) for irreps in given]
    got = module(*inputs)
    assert got.dtype == torch.float32
    exact = module.double()(*(x.double() for x in inputs))
    torch.testing.assert_close(got.double(), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", modules())
def test_empty_batches_have_gradients(name):
    module = modules()[name]
    given = (
        [module.irreps_in]
        if hasattr(module, "irreps_in")
        else [module.irreps_in1, module.irreps_in2]
    )
    inputs = [irreps.randn(0, -1).requires_grad_() for irreps in given]
    got = module(*inputs)
    assert got.shape == (0, module.irreps_out.dim)
    wanted = [*inputs, *module.parameters()]
    for gradient, t in zip(torch.autograd.grad(got.sum(), wanted), wanted, strict=True):
        assert torch.equal(gradient, torch.zeros_like(t))


@pytest.mark.parametrize(
    ("x", "y", "z"),
    [
        ("", "", ""),
        ("2x1o", "", "1x0e"),
        ("2x1o", "0x1o", "3x0e"),
        ("0x1o + 2x0e", "1x0e", "2x0e + 0x1o"),
    ],
)
def test_products_of_nothing_are_zero(x, y, z):
    product = FullyConnectedTensorProduct(x, y, z)
    a, b = (
        irreps.randn(3, -1).requires_grad_() for irreps in (product.irreps_in1, product.irreps_in2)
    )
    got = product(a, b)
    assert got.shape == (3, product.irreps_out.dim)
    if not product.weight_numel:
        assert torch.equal(got, torch.zeros_like(got))
    for gradient in torch.autograd.grad(got.sum(), (a, b), allow_unused=True):
        assert gradient is None or torch.isfinite(gradient).all()


def test_unit_variance_of_squares():
    """Each block's mean square over random features; 5 % is several standard errors."""
    square = TensorSquare("3x0e + 4x1o + 2x2e")
    with torch.no_grad():
        y = square(square.irreps_in.randn(40_000, -1))
    mean = torch.stack([y[:, s].square().mean() for s in square.irreps_out.slices()])
    # a scalar times itself has mean 1, so its mean square is three times its variance over three
    torch.testing.assert_close(mean, torch.ones_like(mean), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda: TensorProduct.from_instructions("1o", "1o", "3e", [(0, 0, 0, "uvw", True)]),
            r"1o \(x\) 1o does not contain 3e",
        ),
        (
            lambda: TensorProduct.from_instructions("1o", "1o", "0e", [(0, 1, 0, "uvw", True)]),
            "y = 1x1o has no block 1",
        ),
        (
            lambda: TensorProduct.from_instructions("1o", "1o", "0e", [(0, 0, 0, "uvx", True)]),
            "no mode 'uvx'",
        ),
        (
            lambda: TensorProduct.from_instructions("1o", "1o", "0e", [(0, 0, 0)]),
            "is no instruction",
        ),
        (
            lambda: TensorProduct.from_instructions(
                "2x1o", "3x1o", "0e", [(0, 0, 0, "u<vw", True)]
            ),
            "does not fit channels 2, 3",
        ),
        (
            lambda: TensorProduct.from_instructions(
                "3x1o", "3x1o", "2x0e", [(0, 0, 0, "uvu<v", True)]
            ),
            "does not fit channels 3, 3 -> 2",
        ),
        (
            lambda: TensorProduct.from_instructions(
                "1o", "1o", "0e", [(0, 0, 0, "uvw", True)], in1_var=[1, 2]
            ),
            "in1_var has 2 values",
        ),
        (
            lambda: TensorProduct.from_instructions(
                "1o", "1o", "0e", [(0, 0, 0, "uvw", True, -1.0)]
            ),
            "not negative",
        ),
        (
            lambda: TensorProduct.from_instructions(
                "1o", "1o", "0e", [], path_normalization="paths"
            ),
            "path_normalization is",
        ),
        (
            lambda: FullTensorProduct("1o", "1o", irrep_normalization="norms"),
            "irrep_normalization is",
        ),
        (lambda: ElementwiseTensorProduct("2x1o", "3x1o"), "2x1o has 2 channels and 3x1o has 3"),
        (lambda: TensorSquare("2x1o", "0e", keep="0e"), "not both"),
        (
            lambda: (
                TensorProduct(every_mode(), internal_weights=True)
                and TensorProduct(
                    Specification.convolution("1o", "1o", "0e"), internal_weights=True
                )
            ),
            "cannot be internal",
        ),
    ],
)
def test_impossible_products_are_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_wrong_features_and_weights_are_refused():
    product = FullyConnectedTensorProduct("2x1o", "1o", "3x0e")
    x, y = torch.randn(4, 6), torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"FullyConnectedTensorProduct: x has 5 .* 2x1o needs 6"):
        product(x[:, 1:], y)
    with pytest.raises(ValueError, match=r"FullyConnectedTensorProduct: y has 6 .* 1x1o needs 3"):
        product(x, x)
    with pytest.raises(ValueError, match="do not broadcast"):
        product(x, y[:3])
    with pytest.raises(ValueError, match=r"weights are \(5,\), but 2x1o .* needs \(6\)"):
        product(x, y, torch.randn(5))
    with pytest.raises(ValueError, match="2 tensors of weights are given, but 1"):
        product(x, y, [torch.randn(6), torch.randn(6)])
    rows = TensorProduct(Specification.fully_connected("2x1o", "1o", "3x0e", False))
    with pytest.raises(ValueError, match="give the 6 weights"):
        rows(x, y)
    with pytest.raises(ValueError, match=r"TensorSquare: x has 3 .* 2x1o needs 6"):
        TensorSquare("2x1o")(y)
    with pytest.raises(ValueError, match="path 0 has no weights"):
        FullTensorProduct("1o", "1o").weight_view(0)


@pytest.mark.parametrize("name", ["every mode", "square", "weighted square", "elementwise"])
def test_compiled_and_exported(name):
    module = modules()[name].double()
    given = (
        [module.irreps_in] if name.endswith("square") else [module.irreps_in1, module.irreps_in2]
    )
    inputs = tuple(irreps.randn(4, -1, dtype=torch.float64) for irreps in given)
    expected = module(*inputs)
    exported = torch.export.export(module, inputs).module()
    torch.testing.assert_close(exported(*inputs), expected)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), expected)


# torch.func's forward mode compiles its own decompositions with torch.jit.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_functorch_sees_pairs():
    square = TensorSquare("2x0e + 2x1o").double()
    x = square.irreps_in.randn(3, -1, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(square))(x)
    forward = torch.func.vmap(torch.func.jacfwd(square))(x)
    expected = torch.stack([torch.autograd.functional.jacobian(square, row) for row in x])
    torch.testing.assert_close(jacobian, expected)
    torch.testing.assert_close(forward, expected)


def test_specifications_of_pairs_are_data():
    spec = every_mode()
    assert Specification.from_key(spec.key) == spec
    assert spec.paths[7] == Path(0, 0, 5, "uvu<v", spec.paths[7].coefficient, False)
    assert "sum" in spec.table()
    pairs = Specification.from_instructions("4x1o", "4x1o", "3x0e", [(0, 0, 0, "u<vw", True)])
    plain = Specification.from_instructions("6x1o", "6x1o", "3x0e", [(0, 0, 0, "uuw", True)])
    assert pairs.costs.multiply_adds == plain.costs.multiply_adds
    assert pairs.costs.paths[0].weights == pairs.weight_numel == 18
    assert pairs.costs.paths[0].name == "4x1o (x) 4x1o -> 3x0e"


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_pairs_along_edges(name, float64):
    """Convolution and correlation gather pairs and skip empty paths as the product does."""
    instructions = [
        (0, 0, 0, "uvu<v", False),
        (0, 0, 1, "u<vw", True),
        (1, 1, 2, "uvw", True),
        (0, 0, 3, "uuu", True),
    ]
    spec = Specification.from_instructions(
        "4x1o + 0x0e",
        "4x1o + 2x0e",
        "6x1e + 2x0e + 3x0e + 4x2e",
        instructions,
        shared_weights=False,
    )
    src, dst = torch.tensor([0, 2, 1, 1, 0]), torch.tensor([0, 0, 1, 3, 3])
    edges = Edges(src, dst, 4)
    x, y, z = spec.x.randn(3, -1), spec.y.randn(5, -1), spec.z.randn(4, -1)
    w = torch.randn(5, spec.weight_numel, requires_grad=True)
    with backend(name):
        rows = TensorProduct(spec)(x[src], y, w)
        got = convolve(spec, x, y, w, edges)
        correlation = correlate(spec, x, y, z, edges)
    torch.testing.assert_close(got, torch.zeros_like(got).index_add(0, dst, rows))
    (expected,) = torch.autograd.grad((got * z).sum(), w)
    torch.testing.assert_close(correlation, expected)
