"""The kernel of the GRU sweep against the oracle and the scan; and it lowers for CUDA.

It runs in interpret mode on a CPU, where blocks are padded with NaN before they are masked.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.errors import UserError
from reseg_jax.recurrent.pallas_gru import LINES, gru_sweep
from reseg_jax.recurrent.sweep import sweep
from tests.support import reference
from tests.support.reference import assert_close, assert_gradient

# Of the largest entry, against float32 or float64 on the same rounded inputs. bfloat16 keeps 8
# bits: outputs, products and, in the gradient, five more arrays are rounded to half of 2^-7 each.
TOLERANCE = {"float32": (1e-5, 1e-5), "bfloat16": (1e-2, 2e-2)}  # outputs, gradients

# Steps, lines, units: one of each; a block and a part; exact blocks; units past a power of two.
SHAPES = [(1, 1, 1), (5, LINES + 3, 6), (2, 2 * LINES, 16), (3, 2, 17)]


def case(shape, dtype="float32"):
    """A recurrent kernel and projected inputs, far enough from 0 to leave the linear range."""
    steps, lines, units = shape
    rng = np.random.default_rng(1)
    recurrent_kernel = rng.normal(size=(units, 3 * units), scale=0.7)
    inputs = tuple(rng.normal(size=(3, steps, lines, units)))
    return jax.tree.map(lambda value: jnp.asarray(value, dtype), (recurrent_kernel, inputs))


def as_sweep(recurrent_kernel, inputs):
    """The same as a sweep that projects by the identity: (params, lines [T, N, 3 U])."""
    like, width = inputs[0], recurrent_kernel.shape[1]
    library = np if isinstance(like, np.ndarray) else jnp
    params = {
        "input_kernel": library.eye(width, dtype=like.dtype),
        "recurrent_kernel": recurrent_kernel,
        "bias": library.zeros(width, like.dtype),
    }
    return params, library.concatenate(inputs, axis=-1)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_loop(shape, reverse, dtype):
    arguments = case(shape, dtype)
    expected = reference.sweep(*as_sweep(*arguments), "gru", reverse)
    found = gru_sweep(*arguments, reverse)
    assert found.dtype == dtype
    assert_close(found.astype(jnp.float32), expected, TOLERANCE[dtype][0])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", SHAPES[1:])
def test_gradient_equals_that_of_the_scan(shape, reverse, dtype):
    arguments = case(shape, dtype)
    exact = jax.tree.map(lambda value: value.astype(jnp.float32), arguments)
    weights = jnp.asarray(np.random.default_rng(2).normal(size=shape), dtype)

    def slopes(function, arguments):
        outputs, pull = jax.vjp(function, *arguments)
        return pull(weights.astype(outputs.dtype))

    def scan(*arguments):
        return sweep(*as_sweep(*arguments), "gru", reverse)

    expected = slopes(scan, exact)
    found = slopes(lambda *arguments: gru_sweep(*arguments, reverse), arguments)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == dtype
        assert_close(one.astype(jnp.float32), other, TOLERANCE[dtype][1])


@pytest.mark.parametrize("reverse", [False, True])
def test_gradient_equals_finite_differences_of_the_oracle(reverse):
    shape = (4, 3, 5)
    weights = np.random.default_rng(2).normal(size=shape)
    with jax.enable_x64(True):
        arguments = jax.tree.map(np.asarray, case(shape, "float64"))
        gradient = jax.grad(lambda a: jnp.sum(weights * gru_sweep(*a, reverse)))(arguments)

    def oracle(arguments):
        return np.sum(weights * reference.sweep(*as_sweep(*arguments), "gru", reverse))

    assert_gradient(gradient, oracle, arguments)


def test_mixed_precision_gives_each_argument_a_gradient_of_its_dtype():
    recurrent_kernel, _ = case(SHAPES[3])
    _, inputs = case(SHAPES[3], "bfloat16")

    def loss(*arguments):
        return jnp.sum(gru_sweep(*arguments).astype(jnp.float32))

    found = jax.grad(loss, argnums=(0, 1))(recurrent_kernel, inputs)
    assert [leaf.dtype.name for leaf in jax.tree.leaves(found)] == ["float32"] + 3 * ["bfloat16"]


def test_vmap_jit_and_checkpoint_change_nothing():
    recurrent_kernel, inputs = case(SHAPES[1])

    def slope(scale, wrap=lambda function: function):
        def loss(recurrent_kernel):
            return jnp.sum(gru_sweep(recurrent_kernel, inputs) ** 2)

        return jax.grad(wrap(loss))(scale * recurrent_kernel)

    expected = [slope(scale) for scale in (1.0, 0.5)]
    many = jax.jit(jax.vmap(slope))(jnp.array([1.0, 0.5]))
    assert_close(many[0], expected[0], 1e-6)
    assert_close(many[1], expected[1], 1e-6)
    assert_close(slope(1.0, jax.checkpoint), expected[0], 1e-6)


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3)])
def test_nothing_in_nothing_out(shape):
    assert gru_sweep(*case(shape)).shape == shape


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_what_does_not_fit_on_chip_is_refused(dtype):
    def shape_of(units):
        return jax.eval_shape(gru_sweep, *jax.eval_shape(lambda: case((2, 3, units), dtype))).shape

    assert shape_of(128) == (2, 3, 128)
    with pytest.raises(UserError, match=r'129 units.*KiB.*implementation="scan"'):
        shape_of(129)


def test_a_second_derivative_is_refused():
    recurrent_kernel, inputs = case(SHAPES[3])
    slope = jax.grad(lambda kernel: jnp.sum(gru_sweep(kernel, inputs)))
    with pytest.raises(UserError, match="differentiated once"):
        jax.grad(lambda kernel: jnp.sum(slope(kernel)))(recurrent_kernel)


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_paper_s_shape_lowers_for_cuda(dtype):
    """No GPU is needed up to Triton's own compiler: the sweep and its gradient."""
    h100 = jax.sharding.AbstractDevice(device_kind="NVIDIA H100", num_cores=None, platform="gpu")
    arguments = (
        jax.ShapeDtypeStruct((100, 300), dtype),
        (jax.ShapeDtypeStruct((90, 600, 100), dtype),) * 3,
    )

    def loss(*arguments):
        return jnp.sum(gru_sweep(*arguments, reverse=True, interpret=False).astype(jnp.float32))

    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=h100)):
        traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(*arguments)
        traced.lower(lowering_platforms=("cuda",))
