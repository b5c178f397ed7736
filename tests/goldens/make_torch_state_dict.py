"""Make torch_zip.pth and torch_legacy.pth: one state dict in both formats of torch.save.

Needs torch, which the suite does not: `pip install torch==2.13.0`, then run this file. The values
follow from `arange`, so that the test can write them down without torch. Among them are the ways
in which a tensor can lie in its storage: shared, shifted, transposed, strided, repeated, empty.
"""

import collections
import pathlib

import torch


def state_dict():
    shared = torch.arange(70, dtype=torch.float32)
    weight = torch.arange(64 * 3 * 3 * 3, dtype=torch.float32).reshape(64, 3, 3, 3) / 1024
    state = collections.OrderedDict(
        {
            "features.0.weight": torch.nn.Parameter(weight),
            "features.0.bias": shared[5:69],
            "strided": shared[1:13:2],
            "transposed": torch.arange(6, dtype=torch.float64).reshape(2, 3).T,
            "repeated": torch.arange(2, dtype=torch.float32).expand(3, 2),
            "empty": torch.zeros(0, 4),
            "scalar": torch.tensor(7),
            "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
            "bool": torch.tensor([True, False]),
            "int32": torch.tensor([-3], dtype=torch.int32),
        }
    )
    state._metadata = collections.OrderedDict({"": {"version": 1}})  # as Module.state_dict has
    return state


if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    for name, new in (("torch_zip.pth", True), ("torch_legacy.pth", False)):
        torch.save(state_dict(), folder / name, _use_new_zipfile_serialization=new)
