"""From images to labels and probabilities."""
