"""Initializers that draw from a few compiled programs, whatever the shapes.

To compile a draw takes far longer than to draw, and a network has a shape per layer. With JAX's
default generator the number at place i depends on the key and on i only: a draw of more numbers
begins with those of a smaller one. So numbers are drawn in a few sizes, cut and scaled, and are
those of `jax.nn.initializers` within rounding.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]
"""(key, shape, dtype=float32) -> an array, as Flax calls it."""

# Few, so that little is compiled (a quarter of a second each), and so that at most 2^20 numbers,
# milliseconds, are thrown away; what is larger is drawn as it is.
_SIZES = (2**16, 2**20)

TRUNCATED_DEVIATION = 0.87962566103423978
"""Standard deviation of a standard normal distribution cut off at -2 and 2."""


def _uniform(key, shape, dtype):
    return jax.random.uniform(key, shape, dtype, minval=-1)


def _truncated_normal(key, shape, dtype):
    return jax.random.truncated_normal(key, -2, 2, shape, dtype)


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _numbers(draw, key, count, dtype):
    return draw(key, (count,), dtype)


@functools.partial(jax.jit, static_argnums=2)
def _cut(numbers, scale, shape):
    return (numbers[: math.prod(shape)] * scale).reshape(shape)


def _scaled(draw, key, shape, scale, dtype):
    count = math.prod(shape)
    size = next((size for size in _SIZES if size >= count), count)
    return _cut(_numbers(draw, key, size, dtype), jnp.asarray(scale, dtype), tuple(shape))


def _fans(shape, area):
    """Numbers that one output reads, and that one input reaches; `area` counts the filter's."""
    pixels = math.prod(shape[:-2]) if area else 1
    return pixels * shape[-2], pixels * shape[-1]


def glorot_uniform(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Uniform on +-sqrt(6 / (fan in + fan out)) (Glorot and Bengio 2010, equation 16).

    Args:
      key: a random key.
      shape: [..., inputs, outputs]; axes before these are a filter's.
    """
    return _scaled(_uniform, key, shape, math.sqrt(6 / sum(_fans(shape, area=True))), dtype)


def lecun_normal(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Normal of variance 1 / fan in, cut off at two deviations (LeCun et al. 1998, equation 16)."""
    return _normal(key, shape, 1 / _fans(shape, area=True)[0], dtype)


def he_normal(
    key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32, *, area: bool = True
) -> jax.Array:
    """Normal of variance 2 / fan in, cut off at two deviations (He et al. 2015, equation 10).

    Args:
      key: a random key.
      shape: [..., inputs, outputs]; axes before these are a filter's.
      area: an output reads the filter's whole area; not with a transposed convolution whose stride
        is its size.
    """
    return _normal(key, shape, 2 / _fans(shape, area)[0], dtype)


def _normal(key, shape, variance, dtype):
    return _scaled(_truncated_normal, key, shape, math.sqrt(variance) / TRUNCATED_DEVIATION, dtype)


def gaussian(deviation: float) -> Initializer:
    """Normal of a standard deviation, not cut off."""

    def init(key, shape, dtype=jnp.float32):
        return _scaled(jax.random.normal, key, shape, deviation, dtype)

    return init


@functools.partial(jax.jit, static_argnums=1)
def orthonormal(keys: jax.Array, units: int) -> jax.Array:
    """Orthonormal matrices [N, units, units], one per key (Saxe et al. 2014).

    One after the other: a batched QR decomposition waits on the pool of threads that it runs in;
    two of them at once wait for ever on two cores (seen with jaxlib 0.10.2).
    """
    return jax.lax.map(lambda key: jax.random.orthogonal(key, units), keys)
