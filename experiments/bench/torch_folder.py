"""A folder of images to label PNGs, as a torch user writes it; `throughput` starts it.

Decoding is in the DataLoader's processes, which start before anything else does.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from experiments.bench import torch_opponents, torch_runners, torch_weights
from experiments.bench.torch_process import MEMORY_FORMATS
from reseg_jax import saving

# Of Caffe's VGG-16, see `reseg_jax.backbones.preprocessing`.
MEAN_BGR = (103.939, 116.779, 123.68)


class Images(Dataset):
    """(path, uint8 [3, H, W]) of every PNG of a folder."""

    def __init__(self, folder: Path):
        self.paths = sorted(folder.glob("*.png"))

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        pixels = np.array(Image.open(self.paths[index]).convert("RGB"))
        return str(self.paths[index]), torch.from_numpy(pixels).permute(2, 0, 1)


def main():
    given = arguments()
    batches = iter(DataLoader(Images(given.input), given.batch, num_workers=given.threads))
    torch.set_num_threads(given.threads)
    given.output.mkdir(parents=True, exist_ok=True)
    memory_format = torch_runners.FORMATS[given.memory_format]
    network = load(given.model).to(memory_format=memory_format)
    for paths, images in batches:
        for path, labels in zip(paths, predict(network, images, memory_format), strict=True):
            Image.fromarray(labels).save(given.output / f"{Path(path).stem}_labels.png")
            print(path, flush=True)


def arguments() -> argparse.Namespace:
    """Those of this process: absl's flags of the same names belong to the commands."""
    parser = argparse.ArgumentParser(description="labels of all PNGs of a folder")
    parser.add_argument("--model", type=Path, required=True, help="file of reseg_jax.save")
    parser.add_argument("--input", type=Path, required=True, help="folder of PNGs")
    parser.add_argument("--output", type=Path, required=True, help="folder for the labels")
    parser.add_argument("--memory_format", choices=MEMORY_FORMATS, default=MEMORY_FORMATS[0])
    parser.add_argument("--batch", type=int, default=1, help="images at once")
    parser.add_argument("--threads", type=int, default=1, help="of torch, and who decode")
    return parser.parse_args()


def load(path: Path) -> torch_opponents.Network:
    """The network in a file of ours."""
    config, variables, _ = saving.read(path)
    network = torch_opponents.Network(config)
    vgg, head = network
    torch_weights.load_vgg(vgg, variables["frozen"]["vgg"])
    torch_weights.load_head(head, variables["params"], config)
    return network.eval()


def predict(network, images: torch.Tensor, memory_format: torch.memory_format) -> np.ndarray:
    """uint8 RGB [B, 3, H, W] -> uint8 labels [B, H, W]."""
    mean = torch.tensor(MEAN_BGR)[:, None, None]
    with torch.inference_mode():
        pixels = images.flip(1).float() - mean
        pixels = pixels.contiguous(memory_format=memory_format)
        return network(pixels).argmax(dim=1).to(torch.uint8).numpy()


if __name__ == "__main__":
    main()
