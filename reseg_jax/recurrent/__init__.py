"""Recurrent sweeps that need JAX and nothing else: what stands beside torch.nn.GRU."""
