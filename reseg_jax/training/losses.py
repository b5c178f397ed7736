"""The loss of a batch, composed of parts: cross-entropy, soft Jaccard, auxiliary terms, L2.

Dimension key: `B H W` image axes, `K` classes.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import optax

from reseg_jax.labels import VOID, void_as_class


@dataclasses.dataclass(frozen=True)
class Loss:
    """What a training minimizes.

        mean over images of (cross-entropy summed over pixels) + jaccard x pixels x soft Jaccard
        + auxiliary x (the first, of every auxiliary output) + l2 x sum of squared kernels

    Attributes:
      l2: weight of `l2_penalty`.
      class_weights: [K] numbers that multiply the pixels of their class, or None.
      jaccard: weight of `soft_jaccard`, times the pixels of an image: as cross-entropy is a sum.
      void_class: train void as the class of this number; None leaves it out of the loss.
      auxiliary: weight of the auxiliary outputs' cross-entropy (Zhao et al. 2017, PSPNet: 0.4).
      bootstrap: the share of each image's pixels, the `hardest`, whose cross-entropy counts.
    """

    l2: float = 0.0
    class_weights: tuple[float, ...] | None = None
    jaccard: float = 0.0
    void_class: int | None = None
    auxiliary: float = 0.4
    bootstrap: float = 1.0

    def __call__(
        self,
        logits: jax.Array,
        labels: jax.Array,
        weight: jax.Array,
        params: dict | None,
        auxiliary: dict[str, jax.Array] | None = None,
        total: jax.Array | None = None,
        pixel_weights: jax.Array | None = None,
    ) -> jax.Array:
        """The loss, a scalar.

        Args:
          logits: [B, H, W, K].
          labels: [B, H, W] integers.
          weight: [B]; 0 for an image that only fills the batch up.
          params: the trained parameters, for the L2 term; None leaves it out.
          auxiliary: more logits [B, H, W, K] by name.
          total: what the sum over images is divided by, if these are a part of a batch: the sum of
            all its weights. The parts' losses then add up to the batch's.
          pixel_weights: [B, H, W] as in `cross_entropy`.
        """
        if self.void_class is not None:
            labels = void_as_class(labels, self.void_class)

        def mean_over_images(logits):
            per_image = cross_entropy(
                logits, labels, self.class_weights, pixel_weights, self.bootstrap
            )
            return (per_image * weight).sum() / (weight.sum() if total is None else total)

        loss = mean_over_images(logits)
        if params is not None:
            loss += self.of_params(params)
        if self.jaccard:
            pixels = math.prod(labels.shape[1:])
            loss += self.jaccard * pixels * soft_jaccard(logits, labels, weight)
        for more in (auxiliary or {}).values():
            loss += self.auxiliary * mean_over_images(more)
        return loss

    def of_params(self, params: dict) -> jax.Array:
        """The part that no image has: the L2 term."""
        return self.l2 * l2_penalty(params)


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    class_weights: jax.Array | tuple | None = None,
    pixel_weights: jax.Array | None = None,
    bootstrap: float = 1.0,
) -> jax.Array:
    """Cross-entropy of the softmax, summed over the pixels of each image.

    The sum, not the mean, is what the authors ran: Adadelta's eps of 1e-6 is absolute, and the
    gradient of a mean over 172,800 pixels would drown in it.

    Args:
      logits: [B, H, W, K].
      labels: [B, H, W] integers 0..K-1, `VOID` if there is no truth: such pixels count nothing
        (the paper ignores void).
      class_weights: [K] numbers that multiply the pixels of their class.
      pixel_weights: [B, H, W] numbers that are added to these (Ronneberger et al. 2015, equation
        2), or to 1 without them.
      bootstrap: the share of each image's labeled pixels, the `hardest`, that count.

    Returns:
      [B].
    """
    valid = labels != VOID
    # optax yields NaN for a label out of range, also if it is masked: give it a legal one.
    legal = jnp.where(valid, labels, 0).astype(jnp.int32)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, legal)
    weight = valid.astype(loss.dtype)
    if class_weights is not None:
        weight *= jnp.asarray(class_weights, loss.dtype)[legal]
    if pixel_weights is not None:
        weight += jnp.where(valid, pixel_weights, 0)
    if bootstrap < 1:
        weight *= hardest(loss, valid, bootstrap)
    return (loss * weight).sum(axis=(1, 2))


def hardest(loss: jax.Array, valid: jax.Array, share: float) -> jax.Array:
    """The K pixels of each image whose right class has the least probability, as weights.

    The bootstrapped cross-entropy of Pohlen et al. 2017 (FRRN), section 4, counts these only.
    K is a share of the labeled pixels here, so that images may have any size, and at least 1.

    Args:
      loss: [B, H, W], -log of the right class' probability.
      valid: bool [B, H, W], which pixels have a label.
      share: above 0, up to 1.

    Returns:
      [B, H, W] constants that add up to K in each image: 1 for its hardest pixels and 0 for others;
      pixels as hard as the K-th divide what is left.
    """
    loss = jax.lax.stop_gradient(jnp.where(valid, loss, -jnp.inf))
    labeled = valid.sum(axis=(1, 2), keepdims=True).astype(loss.dtype)
    count = jnp.maximum(jnp.round(share * labeled), jnp.minimum(labeled, 1))
    ordered = jnp.sort(loss.reshape(len(loss), 1, -1), descending=True)
    last = jnp.maximum(count - 1, 0).astype(jnp.int32)
    threshold = jnp.take_along_axis(ordered, last, axis=-1)
    above, equal = (found.astype(loss.dtype) for found in (loss > threshold, loss == threshold))
    left = count - above.sum(axis=(1, 2), keepdims=True)
    return above + equal * left / equal.sum(axis=(1, 2), keepdims=True)


def soft_jaccard(
    logits: jax.Array, labels: jax.Array, image_weights: jax.Array | None = None
) -> jax.Array:
    """1 - the mean IoU of the classes in `labels`, probabilities in place of decisions. A scalar.

    I_c = sum p_c y_c, U_c = sum (p_c + y_c) - I_c over all labeled pixels of the batch (Rahman and
    Wang 2016, "Optimizing Intersection-over-Union in deep neural networks for image segmentation").
    The cross-entropy counts every pixel alike, this counts every class alike. Not in the paper.

    Args:
      logits: [B, H, W, K].
      labels: [B, H, W] as in `cross_entropy`.
      image_weights: [B]: images of weight 0 are left out.

    Returns:
      A scalar from 0 to 1; a batch without a label costs 0.
    """
    valid = labels != VOID
    if image_weights is not None:
        valid &= image_weights[:, None, None] > 0
    labeled = valid[..., None]
    legal = jnp.where(valid, labels, 0).astype(jnp.int32)
    truth = jnp.where(labeled, jax.nn.one_hot(legal, logits.shape[-1], dtype=logits.dtype), 0)
    guess = jnp.where(labeled, jax.nn.softmax(logits), 0)
    both, truth, guess = (x.sum(axis=(0, 1, 2)) for x in (guess * truth, truth, guess))
    # At least a pixel for what is in the truth; what is not has nothing in `both`.
    union = jnp.maximum(truth + guess - both, 1)
    classes = (truth > 0).sum().astype(logits.dtype)
    return jnp.where(classes > 0, 1 - (both / union).sum() / jnp.maximum(classes, 1), 0)


def l2_penalty(params: dict) -> jax.Array:
    """Sum of the squares of all kernels (no 1/2, no biases), as the released code defines it."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return sum(jnp.sum(leaf**2) for path, leaf in leaves if path[-1].key.endswith("kernel"))
