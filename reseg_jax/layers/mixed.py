"""Mixed precision: products in bfloat16, all that is added up or kept in float32.

A layer with a `dtype` casts its input and its kernel to it; parameters stay in float32, and so
gradients arrive there in float32. bfloat16 keeps 8 bits: adding ones to a sum in it ends at 256. So
biases are added, batch statistics taken and recurrent states kept in float32.
"""

import jax

DTYPES = ("float32", "bfloat16")


def cast(dtype: str | None, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays in `dtype`; as they are if it is None."""
    return arrays if dtype is None else tuple(array.astype(dtype) for array in arrays)


def add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """y [..., F] + bias [F], computed in the bias' dtype and returned in y's.

    The bias' gradient is a sum over all pixels, and taken in that dtype, too.
    """
    return (y.astype(bias.dtype) + bias[(None,) * (y.ndim - 1)]).astype(y.dtype)
