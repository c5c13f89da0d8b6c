"""What the network puts out, and what follows from it: `PREDICTIONS`.

With signal = sqrt(alphas_cumprod[t]), noise = sqrt(1 - alphas_cumprod[t]) and x_t = signal x_0 + noise eps each of eps,
x_0 and v tells the others, but eps tells nothing of x_0 where no signal is left.

Source: Salimans & Ho 2022 (arXiv:2202.00512), section 4 and appendix D.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Factor = Tensor | float  # (B, 1, 1, 1), or of one timestep


@dataclass(frozen=True)
class Prediction:
    """One way to say what an image is without its noise; images are (B, C, H, W).

    Args:
        target: what the network should put out, from (x_0, eps, signal, noise).
        x_0: the clean images that its output implies, not clipped, from (output, x_t, signal, noise).
        x_0_weight: the squared error of its output over that of this x_0, from the SNR, (T,).
    """

    target: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    x_0: Callable[[Tensor, Tensor, Factor, Factor], Tensor]
    x_0_weight: Callable[[Tensor], Tensor]


PREDICTIONS: dict[str, Prediction] = {
    "eps": Prediction(
        target=lambda x_0, eps, signal, noise: eps,
        x_0=lambda output, x_t, signal, noise: (x_t - noise * output) / signal,
        x_0_weight=lambda snr: snr,
    ),
    "x_0": Prediction(
        target=lambda x_0, eps, signal, noise: x_0,
        x_0=lambda output, x_t, signal, noise: output,
        x_0_weight=lambda snr: snr.new_ones(snr.shape),
    ),
    "v": Prediction(
        target=lambda x_0, eps, signal, noise: signal * eps - noise * x_0,
        x_0=lambda output, x_t, signal, noise: signal * x_t - noise * output,
        x_0_weight=lambda snr: snr + 1,
    ),
}
