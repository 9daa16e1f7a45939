#!/usr/bin/env python3
"""Makes a folder of larger JPEG images for each class out of small ones: enlarged, with noise.

    scripts/images/enlarge.py IMAGES FOLDER [--count N] [--side PIXELS]

IMAGES has a folder for each class, such as CIFAR-10 as JPEG. What comes out has the size of ImageNet's images
and the cost of decoding them; nothing can be learned from it that was not in the small ones. Needs numpy and
pillow.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image


def enlarge(job: tuple[Path, Path, int, int]) -> None:
    """Writes one image."""
    source, target, side, seed = job
    with Image.open(source) as image:
        large = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(seed).normal(0, 8, (side, side, 3))
    pixels = np.clip(np.asarray(large, np.float32) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(target, quality=85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--side", type=int, default=256)
    options = parser.parse_args()
    classes = sorted(path for path in options.images.iterdir() if path.is_dir())
    sources = {c.name: sorted(c.iterdir()) for c in classes}
    jobs = []
    for number in range(options.count):
        name = classes[number % len(classes)].name
        place = number // len(classes)
        target = options.folder / name / f"{place:06}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        jobs.append((sources[name][place % len(sources[name])], target, options.side, number))
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(enlarge, jobs, chunksize=64):
            pass
    print(f"{options.folder}: {len(jobs)} images of {options.side} x {options.side}")


if __name__ == "__main__":
    main()
