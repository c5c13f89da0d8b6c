"""Prints how long our Frechet distance takes beside clean-fid's, in turn on the same moments, and how far they differ.

python benchmarks/frechet.py   (about a minute)
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from cleanfid import fid

from trainables.evaluation.frechet import Moments, frechet_distance, moments

D, ROUNDS = 2048, 3
IMAGES = (5000, 500)  # a covariance of full rank, and a singular one


def timed(distance: Callable[[Moments, Moments], float], a: Moments, b: Moments) -> tuple[float, float]:
    start = time.perf_counter()
    value = float(distance(a, b))
    return value, time.perf_counter() - start


def clean_fids(a: Moments, b: Moments) -> float:
    return fid.frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def features(n: int, seed: int, shift: float) -> np.ndarray:
    """Correlated and, as after a ReLU, never negative."""
    mixing = np.random.default_rng(0).normal(size=(D, D)) * np.exp(-np.arange(D) / 300)[:, None] / 10
    return np.maximum(np.random.default_rng(seed).normal(size=(n, D)) @ mixing + shift, 0)


def main() -> None:
    torch.set_num_threads(1)
    for n in IMAGES:
        a, b = moments(features(n, 1, 0.1)), moments(features(n, 2, 0.2))
        pairs = [(timed(frechet_distance, a, b), timed(clean_fids, a, b)) for _ in range(ROUNDS)]
        ours, theirs = (min(pair[which][1] for pair in pairs) for which in (0, 1))
        value, expected = pairs[0][0][0], pairs[0][1][0]
        print(
            f"{n} images of {D} features: {value:.6f}, clean-fid {expected:.6f}, relative {value / expected - 1:+.1e}"
        )
        print(f"  {ours:.2f} s, clean-fid {theirs:.2f} s: {theirs / ours:.1f} times")


if __name__ == "__main__":
    main()
