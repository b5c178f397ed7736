"""The oracles of training and scoring: losses, metrics and Adadelta, in NumPy float64 and loops."""

import numpy as np

from tests.support.reference import float64

VOID = 255


def cross_entropy(logits, labels, class_weights=None, pixel_weights=None, count=None):
    """-sum over the labeled pixels of (w_c + w_x) log softmax(logits)_c, one number per image: [B].

    count: how many pixels of each image count, those of the least softmax; all without it.
    """
    logits = float64(logits)
    pixels = [[] for _ in logits]  # (log probability, its weighted negative) each
    for b, row, column in np.ndindex(labels.shape):
        label = labels[b, row, column]
        if label == VOID:
            continue
        scores = np.exp(logits[b, row, column] - logits[b, row, column].max())
        log = np.log(scores[label] / scores.sum())
        weight = 1 if class_weights is None else class_weights[label]
        weight += 0 if pixel_weights is None else pixel_weights[b, row, column]
        pixels[b].append((log, -weight * log))
    counted = (
        pixels if count is None else [sorted(p)[:n] for p, n in zip(pixels, count, strict=True)]
    )
    return np.array([sum(loss for _, loss in image) for image in counted])


def soft_jaccard(logits, labels):
    """1 - the mean over the classes in `labels` of sum(p y) / sum(p + y - p y)."""
    logits, ious = float64(logits), []
    scores = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p = (scores / scores.sum(axis=-1, keepdims=True))[labels != VOID]
    labeled = labels[labels != VOID]
    for c in np.unique(labeled):
        y = labeled == c
        ious.append((p[:, c] * y).sum() / (p[:, c] + y - p[:, c] * y).sum())
    return 1 - np.mean(ious)


def confusion_matrix(labels, predictions, num_classes):
    """[K+1,K+1] counts, rows truth, columns prediction, the last ones void."""
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for truth, guess in zip(labels.ravel(), predictions.ravel(), strict=True):
        row, column = (num_classes if value == VOID else value for value in (truth, guess))
        matrix[row, column] += 1
    return matrix


def mean(values):
    """The mean of what is defined."""
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def scores(labels, predictions, num_classes):
    """The metrics straight from their definitions, pixel by pixel; no matrix."""
    pixels = list(zip(labels.ravel().tolist(), predictions.ravel().tolist(), strict=True))
    labeled = [(truth, guess) for truth, guess in pixels if truth != VOID]

    def iou(pairs, c):
        union = sum(truth == c or guess == c for truth, guess in pairs)
        both = sum(truth == c and guess == c for truth, guess in pairs)
        return both / union if union else None

    def dice(c):
        both = sum(truth == c and guess == c for truth, guess in labeled)
        either = sum((truth == c) + (guess == c) for truth, guess in labeled)
        return 2 * both / either if either else None

    def accuracy(c):
        guesses = [guess for truth, guess in labeled if truth == c]
        return guesses.count(c) / len(guesses) if guesses else None

    found = {
        "global_accuracy": mean([float(truth == guess) for truth, guess in labeled]),
        "iou": [iou(labeled, c) for c in range(num_classes)],
        "iou_void_counted": [iou(pixels, c) for c in range(num_classes)],
        "accuracy": [accuracy(c) for c in range(num_classes)],
        "dice": [dice(c) for c in range(num_classes)],
    }
    return found | {
        "miou": mean(found["iou"]),
        "miou_void_counted": mean(found["iou_void_counted"]),
        "mean_class_accuracy": mean(found["accuracy"]),
        "mean_dice": mean(found["dice"]),
    }


def adadelta(gradient, x, steps, learning_rate=1.0, rho=0.95, epsilon=1e-6):
    """Zeiler 2012, algorithm 1, on one array; the whole path [steps+1, ...]."""
    x = np.asarray(x, np.float64)
    squared_gradients, squared_updates = np.zeros_like(x), np.zeros_like(x)
    path = [x]
    for _ in range(steps):
        g = gradient(x)
        squared_gradients = rho * squared_gradients + (1 - rho) * g**2
        update = -np.sqrt(squared_updates + epsilon) / np.sqrt(squared_gradients + epsilon) * g
        squared_updates = rho * squared_updates + (1 - rho) * update**2
        x = x + learning_rate * update
        path.append(x)
    return np.stack(path)
