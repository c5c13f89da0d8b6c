"""Prints the time and the memory of the metrics of nearest neighbours, on features of the Inception's length.

python benchmarks/neighbours.py [IMAGES]   (of each kind, 5000 unless told; the time grows with their square)

The memory is the peak above what the two sets of features take; N x N distances would take 8 N^2 bytes.
"""

import resource
import sys
import time

import numpy as np
import torch

from trainables.evaluation.neighbours import nearest, prdc, radii

D, K = 2048, 5


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    images, device = int(sys.argv[1]) if len(sys.argv) > 1 else 5000, torch.device("cpu")
    torch.set_num_threads(1)
    real, samples = (np.random.default_rng(seed).normal(size=(images, D)) for seed in (0, 1))
    before, begun = peak_mb(), time.perf_counter()
    found = prdc(samples, real, radii(real, K, device), K, device)
    found["copies"] = nearest(samples, real, device).copies
    spent, held = time.perf_counter() - begun, peak_mb() - before
    print(", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    print(f"{images} images of each kind, {D} features: {spent:.0f} s on one core, {held:.0f} MiB above the features")
    print(f"(all distances at once would be {8 * images**2 / 2**20:.0f} MiB)")


if __name__ == "__main__":
    main()
