"""Kernels written by hand for GPUs. Experimental: none has been measured on one."""
