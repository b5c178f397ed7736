"""The GRU sweep of one direction as one kernel: all steps in one launch. Experimental.

**Unmeasured.** The kernels have run in Pallas's interpret mode on a CPU and have been lowered for
CUDA; they have not run on a GPU yet, so nothing is known of their speed. They are off by default.

Dimension key: `T` steps, `N` lines, `U` units, `P` units padded to a power of two.

A scan launches several programs per step on a GPU, and a step of this size is shorter than its
launches. Here each block of lines stays on one multiprocessor, which loads the recurrent kernel
once and walks all T steps with the state in registers. What needs no state stays outside, in
large products over all steps at once: the projection of the inputs, the weight gradient, and the
gates for the backward walk, computed again from the outputs, so that nothing else is stored.

Triton or Mosaic GPU? Pallas's Triton lowering is deprecated since JAX 0.11, and Mosaic GPU is
what lasts. But Mosaic GPU has no `dot`: its products are instructions of one GPU or another
(Hopper's `wgmma`, float32 only as TF32; Blackwell's `tcgen05`), on operands whose copies,
layouts and waits are placed by hand, and its interpreter runs a `wgmma` at once, whatever the
waits. Such a kernel is worth what its first run on a GPU shows. Triton's lowering takes `jnp.dot`,
is there in every JAX version that we support, and its program can be checked down to machine
code without a GPU. So: Triton until there is a measurement to beat, then Mosaic GPU. Only
`plgpu.load`, `plgpu.store` and `CompilerParams` below are Triton's own; the steps are plain JAX.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from reseg_jax.errors import UserError
from reseg_jax.recurrent.cells import sigmoid

# Lines of a block: the rows of the smallest product of tensor cores (mma.m16n8k8, m16n8k16), so
# that there are many blocks: 600 lines make 38, for the 132 multiprocessors of an H100.
LINES = 16

# 8 warps: with U = 100, T = 90 and N = 600, Triton 3.9 compiles both kernels for compute
# capability 9.0 in 74 to 176 registers a thread and spills none (`ptxas -v`); float32 at matmul
# precision "highest" does spill. Unmeasured.
WARPS = 8

# The shared memory of a block on compute capability 9.0 and 10.0, 227 KiB (CUDA C++ programming
# guide, technical specifications). 100 units are padded to 128; the recurrent kernel, 3 x 128 x
# 128, takes 192 KiB in float32 and 96 KiB in bfloat16, and with the blocks of lines [16, 128]
# that change their layout, Triton 3.9 reports 200 and 100 KiB forward, 208 and 100 KiB backward.
# Twice the units would be four times the kernel. An A100 has 163 KiB: only bfloat16 fits there.
ON_CHIP_BYTES = 227 * 1024


@functools.partial(jax.jit, static_argnames=("reverse", "interpret"))
def gru_sweep(
    recurrent_kernel: jax.Array,
    inputs: tuple[jax.Array, jax.Array, jax.Array],
    reverse: bool = False,
    interpret: bool | None = None,
) -> jax.Array:
    """Sweep a GRU along every line in one launch. Experimental: never measured on a GPU.

    r, u = sigmoid(x + h U); c = tanh(x + r * (h U)); h' = (1 - u) h + u c, as `cells.gru_step`,
    with x the projected input of each gate. The state is float32 for both dtypes. Products of
    float32 follow `jax_default_matmul_precision`: on a GPU they are TF32, except for "highest",
    which does not use tensor cores.

    Args:
      recurrent_kernel: [U, 3 U], the gates in the order reset, update, candidate; it is read in
        the dtype of the inputs.
      inputs: x W + b of those gates, three arrays [T, N, U], float32 or bfloat16.
      reverse: walk from step T - 1 to 0. Outputs stay aligned with inputs.
      interpret: run the kernel as plain JAX; None does so if there is no GPU.

    Returns:
      [T, N, U] in the dtype of the inputs, differentiable once by both arguments.

    Raises:
      UserError: the recurrent kernel does not fit on chip, or a second derivative is asked for.
    """
    units, dtype = recurrent_kernel.shape[0], inputs[0].dtype
    if 0 in inputs[0].shape:
        return inputs[0]
    size = 3 * _padded(units) ** 2 * dtype.itemsize
    if size > ON_CHIP_BYTES:
        raise UserError(
            f'implementation="pallas" keeps the recurrent kernel on chip, but {units} units in '
            f"{dtype} take {size // 1024} KiB of {ON_CHIP_BYTES // 1024} KiB; "
            'use implementation="scan" or fewer units.'
        )
    if interpret is None:
        interpret = jax.default_backend() != "gpu"
    return _sweep(reverse, interpret, recurrent_kernel.astype(dtype), inputs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _sweep(reverse, interpret, recurrent_kernel, inputs):
    gates = jnp.stack(jnp.split(recurrent_kernel, 3, axis=1))
    (outputs,) = _walk(_step, 1, reverse, interpret, gates, inputs)
    return outputs


def _sweep_forward(reverse, interpret, recurrent_kernel, inputs):
    outputs = _sweep(reverse, interpret, recurrent_kernel, inputs)
    return outputs, (recurrent_kernel, inputs, outputs)


def _sweep_backward(reverse, interpret, residuals, gradient):
    """Only the gradient of the state has to be walked; the rest is known for all steps."""
    recurrent_kernel, inputs, outputs = residuals
    dtype, state = gradient.dtype, _state_dtype(gradient.dtype)
    zero = jnp.zeros_like(outputs[:1])
    parts = [outputs[1:], zero] if reverse else [zero, outputs[:-1]]
    before = jnp.concatenate(parts)  # the state that each step began with

    hidden = jnp.matmul(before, recurrent_kernel, preferred_element_type=state)
    hidden_r, hidden_u, hidden_c = jnp.split(hidden, 3, axis=-1)
    x_r, x_u, x_c = (x.astype(state) for x in inputs)
    r = sigmoid(x_r + hidden_r)
    u = sigmoid(x_u + hidden_u)
    c = jnp.tanh(x_c + r * hidden_c)
    r, u, c, hidden_c = (value.astype(dtype) for value in (r, u, c, hidden_c))

    gates = jnp.stack(jnp.split(recurrent_kernel, 3, axis=1)).swapaxes(1, 2)
    arrays = (gradient, before, r, u, c, hidden_c)
    d_r, d_u, d_c = _walk(_step_back, 3, not reverse, interpret, gates, arrays)
    d_hidden = jnp.concatenate([d_r, d_u, d_c * r], axis=-1)
    d_kernel = jnp.einsum("tnu,tng->ug", before, d_hidden, preferred_element_type=state)
    return d_kernel.astype(dtype), (d_r, d_u, d_c)


_sweep.defvjp(_sweep_forward, _sweep_backward)


def _step(product, h, x_r, x_u, x_c):
    """(state, what this step reads) -> (new state, what it writes), each [lines, P]."""
    r = sigmoid(x_r + product(h, 0))
    u = sigmoid(x_u + product(h, 1))
    c = jnp.tanh(x_c + r * product(h, 2))
    h = (1 - u) * h + u * c
    return h, (h,)


def _step_back(product, d_h, gradient, h, r, u, c, hidden_c):
    """d_h: gradient by the state after the step, through later steps -> by the state before."""
    d_h = d_h + gradient
    d_u = d_h * (c - h) * u * (1 - u)
    d_c = d_h * u * (1 - c * c)
    d_r = d_c * hidden_c * r * (1 - r)
    d_h = d_h * (1 - u) + product(d_r, 0) + product(d_u, 1) + product(d_c * r, 2)
    return d_h, (d_r, d_u, d_c)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3))
def _walk(step, results, reverse, interpret, gates, arrays):
    """Walk `step` along all `arrays` [T, N, U], with one matrix per gate [3, U, U] on chip.

    Returns `results` arrays [T, N, U].
    """
    steps, lines, units = arrays[0].shape
    padded = _padded(units)
    gates = jnp.pad(gates, ((0, 0), (0, padded - units), (0, padded - units)))
    block = pl.BlockSpec((steps, LINES, padded), lambda i: (0, i, 0))
    return pl.pallas_call(
        functools.partial(_kernel, step, reverse, lines, units, len(arrays)),
        grid=(pl.cdiv(lines, LINES),),
        in_specs=[pl.BlockSpec(gates.shape, lambda i: (0, 0, 0))] + [block] * len(arrays),
        out_specs=[block] * results,
        out_shape=[jax.ShapeDtypeStruct(arrays[0].shape, arrays[0].dtype)] * results,
        # One stage: no load inside the loop feeds a product, so there is nothing to pipeline.
        compiler_params=plgpu.CompilerParams(num_warps=WARPS, num_stages=1),
        interpret=interpret,
    )(gates, *arrays)


@_walk.defjvp
def _differentiated_twice(*_):
    raise UserError(
        'implementation="pallas" can be differentiated once; use implementation="scan".'
    )


def _kernel(step, reverse, lines, units, count, gates_ref, *refs):
    """One block of lines, from its first step to its last.

    A block is padded with zeros as it is loaded, and the padding is never stored. The zeros are
    exact: lines do not see each other, and a unit beyond U meets zero rows and columns
    in the gates and zero inputs, so that its state stays (1 - 1/2) 0 + 1/2 tanh(0) = 0, and so
    does its gradient, being a sum of products with zeros.
    """
    arrays, outputs = refs[:count], refs[count:]
    steps, *block = arrays[0].shape
    dtype, state = arrays[0].dtype, _state_dtype(arrays[0].dtype)
    line = pl.program_id(0) * LINES + jax.lax.broadcasted_iota(jnp.int32, block, 0)
    unit = jax.lax.broadcasted_iota(jnp.int32, block, 1)
    valid = (line < lines) & (unit < units)
    gates = [gates_ref[gate] for gate in range(3)]  # before the loop: this is what stays on chip

    def product(values, gate):
        return jnp.dot(values.astype(dtype), gates[gate], preferred_element_type=state)

    def body(i, carry):
        t = steps - 1 - i if reverse else i
        read = [plgpu.load(ref.at[t], mask=valid, other=0).astype(state) for ref in arrays]
        carry, written = step(product, carry, *read)
        for ref, values in zip(outputs, written, strict=True):
            plgpu.store(ref.at[t], values.astype(dtype), mask=valid)
        return carry

    jax.lax.fori_loop(0, steps, body, jnp.zeros(block, state))


def _padded(units):
    """Triton's arrays are powers of two, and its products at least 16 deep."""
    return max(16, pl.next_power_of_2(units))


def _state_dtype(dtype):
    """float32; float64 for float64, which interpret mode has."""
    return dtype if dtype == jnp.float64 else jnp.float32
