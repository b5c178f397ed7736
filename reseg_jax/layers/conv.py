"""Convolutions; those of 3x3 pixels and stride 1 by the quickest way that a device has.

    y[i, j] = sum_{a, b} x[i + a - 1, j + b - 1] K[a, b]          zeros around x
    dx      = the same sum, of dy, with K turned by 180 degrees and its channels exchanged
    dK[a, b] = sum_{i, j} x[i + a - 1, j + b - 1]^T dy[i, j]

On a CPU that is minimal filtering if the map and the channels are large enough, see
`reseg_jax.layers.winograd`; other devices have libraries for the sums, and use them. Dilated ones
are products of matrices on CPUs, see `reseg_jax.layers.dilated_conv`.

Dimension key: `B H W` image axes, `C` channels in, `F` channels out.
"""

import functools
import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from reseg_jax import devices
from reseg_jax.layers import dilated_conv, winograd
from reseg_jax.layers.initializers import Initializer, lecun_normal
from reseg_jax.layers.mixed import add_bias, cast
from reseg_jax.layers.pooling import max_pool

# Where minimal filtering wins, see `_wins`. Each function was timed by itself, by no command that
# is kept here, on one core of an AMD EPYC 9005: ms of XLA's sums and of strips (dK: rows, strips).
#     H x W, C -> F           y, prepared     y, not prepared     dK
#     360x480,  32 ->  32     15.5 : 19.4                        35.0 : 22.5
#     360x480,  64 ->  64     71.5 : 59.9     71.5 : 60.1         116 : 55.1
#      90x120, 256 -> 256     56.1 : 24.6     56.1 : 25.0        67.0 : 46.4
#       45x60, 512 -> 512     58.5 : 23.4     58.5 : 42.1        75.0 : 59.3
#       22x30, 512 -> 512     15.7 :  7.5     15.7 : 25.2        24.5 : 43.8
#       12x15, 512 -> 512      5.8 :  2.8      5.8 : 20.8        11.5 : 30.2
_LEAST_CHANNELS = 64
_LEAST_TILES = 64  # of a batch; the kernel's transform outweighs fewer
_LEAST_TILES_PREPARED = 8
_LEAST_TILES_OF_GRADIENT = 128
# A device computes one strip after the other, mostly on one core; XLA divides its sums over all
# that the device has. On two, strips are still ahead (19 ms to 28, 256 channels on 90x120).
_MOST_CORES = 2

# Entries of a dilated kernel. Timed as above, but on two cores that had other work, 512 channels,
# in ms of XLA's sums and of products:
#     H x W, kernel, dilation -> F      y              dx             dK
#     45x60, 3x3,  2 ->  512         410 : 393      360 : 366     1337 :  471
#     46x61, 3x3, 12 -> 1024         873 : 932     1289 : 808     3175 :  876
#     23x30, 7x7,  4 -> 1024        1424 : 1060    2448 : 811     1991 : 2138
# A training step of DeepLab-LargeFOV on two frames of 240x180 took 9.4 s, and takes 6.5. Programs
# of 7x7 products take four times as long to compile.
_MOST_PRODUCTS = 16

TRANSFORMED = "transformed"
"""The collection with `winograd.transform_kernel` of kernels that do not change, see `prepare`."""

# Rows per product of `_by_rows`: of 1, 2, 3, 4, 6, 12 and 30 the quickest at VGG's sizes, or close
# (AMD EPYC).
_ROWS = 2


# --- the sum, and its derivatives of any order: each is one of two functions --------------------


@jax.custom_vjp
def convolve(
    x: jax.Array, kernel: jax.Array, transformed: winograd.Kernels | None = None
) -> jax.Array:
    """A 3x3 convolution, zeros around the image.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, F].
      transformed: `winograd.transform_kernel(kernel)`, if it is known.

    Returns:
      [B, H, W, F], see the top of this file.
    """
    return _forward(x, kernel, transformed)


@jax.custom_vjp
def kernel_gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
    """dK [3, 3, C, F] of a 3x3 convolution, see the top of this file.

    Args:
      x: [B, H, W, C], its input.
      dy: [B, H, W, F], the gradient of its result.
    """
    minimal = _wins(x.shape, dy.shape[-1], x.dtype, _LEAST_TILES_OF_GRADIENT)
    return lax.platform_dependent(
        x, dy, cpu=_by_strips if minimal else _by_rows, default=_by_convolution
    )


def _turned(kernel):
    """The kernel of the gradient of x."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


convolve.defvjp(
    # A kernel that is differentiated will change: what was transformed may be an older one.
    lambda x, kernel, transformed=None: (convolve(x, kernel), (x, kernel)),
    lambda saved, dy: (
        convolve(dy, _turned(saved[1])),
        kernel_gradient(saved[0], dy),
        None,  # `transformed` says nothing that the kernel does not
    ),
)
kernel_gradient.defvjp(
    lambda x, dy: (kernel_gradient(x, dy), (x, dy)),
    lambda saved, dk: (convolve(saved[1], _turned(dk)), convolve(saved[0], dk)),
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def conv_relu(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    transformed: winograd.Kernels | None = None,
    pool: bool = False,
) -> jax.Array:
    """`relu(convolve(x, kernel) + bias)`, and its 2x2 maxima if asked for, in one pass.

    What is differentiated is computed in several passes: the gradients read what is in between.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, F].
      bias: [F].
      transformed: as in `convolve`.
      pool: `max_pool` of the result.

    Returns:
      [B, H, W, F], pooled [B, ceil(H / 2), ceil(W / 2), F].
    """
    whole = pool and not any(side % 2 for side in x.shape[1:3])
    y = _forward(x, kernel, transformed, bias, relu=True, pool=whole)
    return max_pool(y) if pool and not whole else y


def _in_passes(x, kernel, bias, transformed, pool):
    y = nn.relu(add_bias(convolve(x, kernel, transformed), bias))
    return max_pool(y) if pool else y


conv_relu.defvjp(
    lambda x, kernel, bias, transformed, pool: jax.vjp(
        functools.partial(_in_passes, pool=pool), x, kernel, bias, transformed
    ),
    lambda pool, pull, dy: pull(dy),
)


# --- how they are computed ----------------------------------------------------------------------


def _wins(shape, features, dtype, least_tiles):
    """Whether minimal filtering is the quicker way on a CPU."""
    batch, height, width, channels = shape
    if devices.cores_per_device() > _MOST_CORES:
        return False
    tiles = batch * (height // winograd.TILE) * (width // winograd.TILE)
    return (
        dtype == jnp.float32
        and winograd.fits(height, width)
        and min(channels, features) >= _LEAST_CHANNELS
        and tiles >= least_tiles
    )


def _forward(x, kernel, transformed, bias=None, relu=False, pool=False):
    def minimal(x, kernel, transformed, bias):
        kernels = transformed or winograd.transform_kernel(kernel)

        def share(params, images, above, below):
            kernels, bias = params
            return winograd.convolve(
                *images, kernels, bias, above=above, below=below, relu=relu, pool=pool
            )

        return devices.over_rows(share, (kernels, bias), (x,), per_row=2 if pool else 1)

    def direct(x, kernel, transformed, bias):
        del transformed
        y = _direct(x, kernel)
        y = y if bias is None else add_bias(y, bias)
        y = nn.relu(y) if relu else y
        return max_pool(y) if pool else y

    least_tiles = _LEAST_TILES_PREPARED if transformed else _LEAST_TILES
    if not _wins(x.shape, kernel.shape[-1], x.dtype, least_tiles):
        return direct(x, kernel, transformed, bias)
    return lax.platform_dependent(x, kernel, transformed, bias, cpu=minimal, default=direct)


def _direct(x, kernel, padding="SAME", dilation=1, stride=1):
    if padding == "SAME" and stride > 1:  # else XLA would pad less at the top and left
        padding = [(dilation * (size // 2),) * 2 for size in kernel.shape[:2]]
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _dilated(x, kernel, padding, dilation):
    how = {"padding": padding, "dilation": dilation}
    direct = functools.partial(_direct, **how)
    # Products in 16 bits would be rounded before they are added up.
    if math.prod(kernel.shape[:2]) > _MOST_PRODUCTS or x.dtype != jnp.float32:
        return direct(x, kernel)
    products = functools.partial(dilated_conv.by_products, **how)
    return lax.platform_dependent(x, kernel, cpu=products, default=direct)


def _by_convolution(x, dy):
    kernel = jnp.zeros((3, 3, x.shape[-1], dy.shape[-1]), x.dtype)
    _, gradient = jax.vjp(lambda kernel: _direct(x, kernel), kernel)
    return gradient(dy)[0]


def _by_strips(x, dy):
    def share(_, images, above, below):
        return winograd.kernel_gradient(*images, above=above, below=below)

    return devices.over_rows(share, (), (x, dy), total=True)


def _by_rows(x, dy):
    """dK summed up block by block of rows: XLA's kernel as large as the image takes far longer.

    The nine shifted copies of x side by side, times dy, in blocks that stay small enough for a
    core's cache; each image by itself: devices divide them.
    """
    (batch, height, width, channels), outputs = x.shape, dy.shape[-1]
    blocks = -(-height // _ROWS)
    missing = blocks * _ROWS - height
    x = jnp.pad(x, ((0, 0), (1, 1 + missing), (1, 1), (0, 0)))
    dy = jnp.pad(dy, ((0, 0), (0, missing), (0, 0), (0, 0)))

    def add(dk, block):
        rows = lax.dynamic_slice_in_dim(x, block * _ROWS, _ROWS + 2, axis=1)
        shifted = jnp.concatenate(
            [rows[:, a : a + _ROWS, b : b + width] for a in range(3) for b in range(3)], axis=-1
        )
        dy_rows = lax.dynamic_slice_in_dim(dy, block * _ROWS, _ROWS, axis=1)
        product = jnp.einsum("bhwc,bhwf->bcf", shifted, dy_rows, preferred_element_type=dk.dtype)
        return dk + product, None

    # Summed in float32 at least, as a library would.
    dtype = jnp.float32 if x.dtype.itemsize < 4 else x.dtype
    dk = jnp.zeros((batch, 9 * channels, outputs), dtype)
    dk, _ = lax.scan(add, dk, jnp.arange(blocks))
    return dk.sum(axis=0).reshape(3, 3, channels, outputs).astype(x.dtype)


def prepare(params):
    """The kernels of a tree of parameters that minimal filtering could use, transformed.

    Args:
      params: nested dicts, in which a layer's are {"kernel": [h, w, C, F], ...}.

    Returns:
      The same nesting with only such kernels in it, for the collection `TRANSFORMED`.
    """
    found = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            if inner := prepare(value):
                found[name] = inner
        elif name == "kernel" and value.shape[:2] == (3, 3) and value.ndim == 4:
            few = min(value.shape[2:]) < _LEAST_CHANNELS
            if not few and value.dtype == jnp.float32:
                found[name] = _transform(value)
    return found


_transform = jax.jit(winograd.transform_kernel)


# --- the layer ----------------------------------------------------------------------------------


class Convolution(nn.Module):
    """A convolution with its parameters: [B, H, W, C] -> [B, H', W', channels].

    A kernel that `prepare` has transformed is not transformed again.

    Attributes:
      channels: F.
      kernel_size: (height, width).
      padding: "SAME", zeros around the image so that its size stays; or "VALID", no padding, which
        takes `dilation` times (kernel - 1) pixels off each axis.
      dilation: pixels from one entry of the kernel to the next.
      stride: pixels from one window to the next. With the padding "SAME" cell i of the result is
        what stride 1 has at pixel i times the stride; the kernel's sides must be odd.
      use_bias: add a bias, zero at first.
      relu: max(0, y) of the sum.
      pool: the maxima over 2x2 pixels of that, see `max_pool`.
      kernel_init: by default LeCun's; for as many channels out as in its deviation is Glorot's.
      dtype: of the product and of what is returned, see `reseg_jax.layers.mixed`; None: x's.
    """

    channels: int
    kernel_size: tuple[int, int] = (3, 3)
    padding: str = "SAME"
    dilation: int = 1
    stride: int = 1
    use_bias: bool = True
    relu: bool = False
    pool: bool = False
    kernel_init: Initializer = lecun_normal
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, x.shape[-1], self.channels)
        kernel, bias = self.param("kernel", self.kernel_init, shape), None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        x, kernel = cast(self.dtype, x, kernel)
        transformed = self.get_variable(TRANSFORMED, "kernel")
        small = (self.kernel_size, self.dilation, self.stride) == ((3, 3), 1, 1)
        if small and self.padding == "SAME" and self.relu and bias is not None:
            return conv_relu(x, kernel, bias, transformed, self.pool)
        if self.kernel_size == (1, 1):
            x = x[:, :: self.stride, :: self.stride] @ kernel[0, 0]
        elif small:
            x = convolve(x, kernel, transformed)
            x = x if self.padding == "SAME" else x[:, 1:-1, 1:-1]
        elif self.dilation > 1 and self.stride == 1:
            x = _dilated(x, kernel, self.padding, self.dilation)
        else:
            x = _direct(x, kernel, self.padding, self.dilation, self.stride)
        x = x if bias is None else add_bias(x, bias)
        x = nn.relu(x) if self.relu else x
        return max_pool(x) if self.pool else x
