"""Pictures of labels: in color, over the photo, beside the truth."""
