"""Recurrent sweeps in JAX alone: what stands beside torch.nn.GRU."""
