#!/usr/bin/env python3
"""Images per second of torchvision's DataLoader with two workers, for examples/load_images.rs.

    pip install torch torchvision
    scripts/images/compare_loading.py FOLDER [IMAGES]

RandomResizedCrop(224, scale from 0.08) and RandomHorizontalFlip of a folder for each class, to normalised
tensors in batches of 64.
"""

import sys
import time

import torch
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    varied = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, scale=(0.08, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.0] * 3, [1.0] * 3),
        ]
    )
    images = ImageFolder(sys.argv[1], varied)
    count = min(int(sys.argv[2]) if len(sys.argv) > 2 else len(images), len(images))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
    loader = DataLoader(Subset(images, order.tolist()), batch_size=64, num_workers=2)
    began = time.perf_counter()
    seen = sum(len(x) for x, _ in loader)
    print(f"torchvision: {seen} at {seen / (time.perf_counter() - began):.0f} a second, workers' start included")


if __name__ == "__main__":
    main()
