"""The masked cross-entropy of the paper, its L2 term and its class weights; a soft Jaccard loss.

Dimension key: `B H W` image axes, `K` classes.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from reseg_jax.config import VOID


def cross_entropy(
    logits: jax.Array, labels: jax.Array, class_weights: jax.Array | None = None
) -> jax.Array:
    """Cross-entropy of the softmax, summed over the pixels of each image.

    logits [B, H, W, K]; labels [B, H, W] integers 0..K-1, `VOID` where there is no truth (such
    pixels count nothing: the paper ignores void); class_weights [K] multiply the pixels of
    their class. Returns [B].

    The sum, not the mean, is what the authors ran: Adadelta's eps of 1e-6 is absolute, and the
    gradient of a mean over 172,800 pixels would drown in it.
    """
    valid = labels != VOID
    # optax yields NaN for a label out of range, also where it is masked: give it a legal one.
    legal = jnp.where(valid, labels, 0).astype(jnp.int32)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, legal)
    weight = valid.astype(loss.dtype)
    if class_weights is not None:
        weight *= jnp.asarray(class_weights, loss.dtype)[legal]
    return (loss * weight).sum(axis=(1, 2))


def soft_jaccard(
    logits: jax.Array, labels: jax.Array, image_weights: jax.Array | None = None
) -> jax.Array:
    """1 - the mean IoU of the classes in `labels`, probabilities in place of decisions. A scalar.

    I_c = sum p_c y_c, U_c = sum (p_c + y_c) - I_c over all labelled pixels of the batch (Rahman and
    Wang 2016, "Optimizing Intersection-over-Union in deep neural networks for image segmentation").
    Where the cross-entropy counts every pixel alike, this counts every class alike. Not in the
    paper.

    logits [B, H, W, K], labels [B, H, W] as in `cross_entropy`; image_weights [B]: those of images
    of weight 0 are left out. A batch without a label costs 0.
    """
    valid = labels != VOID
    if image_weights is not None:
        valid &= image_weights[:, None, None] > 0
    labelled = valid[..., None]
    legal = jnp.where(valid, labels, 0).astype(jnp.int32)
    truth = jnp.where(labelled, jax.nn.one_hot(legal, logits.shape[-1], dtype=logits.dtype), 0)
    guess = jnp.where(labelled, jax.nn.softmax(logits), 0)
    both, truth, guess = (x.sum(axis=(0, 1, 2)) for x in (guess * truth, truth, guess))
    # At least a pixel for what is in the truth; what is not has nothing in `both`.
    union = jnp.maximum(truth + guess - both, 1)
    classes = (truth > 0).sum().astype(logits.dtype)
    return jnp.where(classes > 0, 1 - (both / union).sum() / jnp.maximum(classes, 1), 0)


def l2_penalty(params: dict) -> jax.Array:
    """Sum of the squares of all kernels (no 1/2, no biases), as the released code defines it."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return sum(jnp.sum(leaf**2) for path, leaf in leaves if path[-1].key.endswith("kernel"))


def median_frequency(labels: Iterable[np.ndarray], num_classes: int) -> np.ndarray:
    """Class weights w = median(f) / f (paper section 5, after Eigen and Fergus 2015). [K] float32.

    f_c is the share of class c among all pixels, void included, of the images that contain it. A
    class that no image contains gets weight 0: nothing is ever multiplied by it.
    """
    return _median_weights(labels, num_classes, of_its_images=True)


def root_median_frequency(labels: Iterable[np.ndarray], num_classes: int) -> np.ndarray:
    """The square roots of `median_frequency`: rare classes count for more, but less so. Ours."""
    return np.sqrt(median_frequency(labels, num_classes))


def median_share(labels: Iterable[np.ndarray], num_classes: int) -> np.ndarray:
    """As `median_frequency`, but f_c is the share among the labelled pixels of all images."""
    return _median_weights(labels, num_classes, of_its_images=False)


def _median_weights(labels, num_classes, of_its_images):
    pixels = np.zeros(num_classes)
    pixels_of_images = np.zeros(num_classes)
    for label in labels:
        counts = np.bincount(label[label != VOID].ravel(), minlength=num_classes)
        pixels += counts
        pixels_of_images += np.where(counts > 0, label.size, 0) if of_its_images else counts.sum()
    present = pixels > 0
    frequency = pixels[present] / pixels_of_images[present]
    weights = np.zeros(num_classes, np.float32)
    weights[present] = np.median(frequency) / frequency
    return weights


BALANCES = {
    "median_frequency": median_frequency,
    "median_share": median_share,
    "root_median_frequency": root_median_frequency,
}
"""Ways to weight the classes, by name."""
