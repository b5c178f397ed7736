"""Oracles of the layers that networks share, in NumPy float64 and plain loops.

As in `tests.support.reference`, nothing is shared with `reseg_jax` but names and layouts.
"""

import numpy as np

from tests.support.reference import float64


def convolution(x, kernel, padding="SAME", dilation=1, stride=1):
    """[B,H,W,C], [h,w,C,F] -> [B,H',W',F]: cross-correlation, odd kernels."""
    x, kernel = float64(x), float64(kernel)
    h, w, _, filters = kernel.shape
    if padding == "SAME":
        around = [(dilation * (size // 2),) * 2 for size in (h, w)]
        x = np.pad(x, ((0, 0), *around, (0, 0)))
    rows = -(-(x.shape[1] - dilation * (h - 1)) // stride)
    columns = -(-(x.shape[2] - dilation * (w - 1)) // stride)
    out = np.zeros((x.shape[0], rows, columns, filters))
    for i in range(rows):
        for j in range(columns):
            for a in range(h):
                for b in range(w):
                    pixel = x[:, stride * i + dilation * a, stride * j + dilation * b]
                    out[:, i, j] += pixel @ kernel[a, b]
    return out


def painted(x, kernel, stride):
    """[B,H,W,C], [h,w,C,F] -> [B,(H-1)*stride+h,(W-1)*stride+w,F]: transposed convolution."""
    x, kernel = float64(x), float64(kernel)
    batch, rows, columns, _ = x.shape
    h, w, _, filters = kernel.shape
    out = np.zeros((batch, (rows - 1) * stride + h, (columns - 1) * stride + w, filters))
    for i in range(rows):
        for j in range(columns):
            for a in range(h):
                for b in range(w):
                    out[:, stride * i + a, stride * j + b] += x[:, i, j] @ kernel[a, b]
    return out


def max_pool(x):
    """[B,H,W,C] -> [B,ceil(H/2),ceil(W/2),C]: maxima over what there is of each 2x2 window."""
    batch, height, width, channels = x.shape
    out = np.zeros((batch, -(-height // 2), -(-width // 2), channels))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            out[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max(axis=(1, 2))
    return out


def max_pool_centered(x, size, stride):
    """[B,H,W,C] -> [B,ceil(H/stride),ceil(W/stride),C]: maxima around every stride-th pixel."""
    (batch, height, width, channels), reach = x.shape, size // 2
    out = np.zeros((batch, -(-height // stride), -(-width // stride), channels))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            top, left = (max(0, stride * n - reach) for n in (i, j))
            window = x[:, top : stride * i + reach + 1, left : stride * j + reach + 1]
            out[:, i, j] = window.max(axis=(1, 2))
    return out


def batch_norm(x, scale, bias, mean=None, var=None, epsilon=1e-5):
    """[N,...,C] -> (normalized, mean [C], variance [C]); by given statistics or those of x."""
    x = float64(x)
    if mean is None:
        values = x.reshape(-1, x.shape[-1])
        mean = values.sum(axis=0) / len(values)
        var = ((values - mean) ** 2).sum(axis=0) / len(values)
    return scale * (x - mean) / np.sqrt(var + epsilon) + bias, mean, var
