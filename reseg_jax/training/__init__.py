"""Training, without knowing what is trained."""
