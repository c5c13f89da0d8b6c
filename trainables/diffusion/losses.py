"""What the training minimises: a loss of each image, and what each timestep weighs.

A weight is of the loss of what the network puts out. The authors of `min_snr` give it for x_0, those of `p2` for eps;
for another output it is divided by what this output's squared error is over that of the x_0 that it implies (SNR for
eps, 1 for x_0, SNR + 1 for v; `predictions`), so that the mean square is the same objective whatever is predicted.

    weighting | x_0                   | eps                   | v
    uniform   | 1                     | 1                     | 1
    min_snr   | min(SNR, gamma)       | min(SNR, gamma) / SNR | min(SNR, gamma) / (SNR + 1)
    p2        | SNR / (k + SNR)^gamma | 1 / (k + SNR)^gamma   | SNR / ((SNR + 1) (k + SNR)^gamma)
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from trainables.sections import Training


def mse(output: Tensor, target: Tensor) -> Tensor:
    """The mean square of each image's error, (B,), from (B, C, H, W)."""
    return F.mse_loss(output, target, reduction="none").flatten(1).mean(1)


def l1(output: Tensor, target: Tensor) -> Tensor:
    """The mean size of each image's error, (B,), from (B, C, H, W)."""
    return F.l1_loss(output, target, reduction="none").flatten(1).mean(1)


def huber(output: Tensor, target: Tensor) -> Tensor:
    """The mean of each image's Huber loss, (B,), from (B, C, H, W): e^2 / 2 up to an error of 1, |e| - 1/2 beyond.

    Source: Huber 1964 (Robust estimation of a location parameter), with delta = 1.
    """
    return F.huber_loss(output, target, reduction="none").flatten(1).mean(1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "l1": l1, "huber": huber}


def uniform(snr: Tensor, x_0_weight: Tensor, training: Training) -> Tensor:
    """The same weight for every timestep, (T,).

    Source: Ho et al. 2020 (arXiv:2006.11239), equation 14 (L_simple), of eps.
    """
    return snr.new_ones(snr.shape)


def min_snr(snr: Tensor, x_0_weight: Tensor, training: Training) -> Tensor:
    """Weights that count no timestep more than an SNR of gamma does, (T,).

    Args:
        snr: at each timestep, (T,).
        x_0_weight: the squared error of the network's output over that of x_0, (T,).

    Source: Hang et al. 2023 (arXiv:2303.09556): min(SNR, gamma) for x_0.
    """
    return snr.clamp(max=training.min_snr_gamma) / x_0_weight


def p2(snr: Tensor, x_0_weight: Tensor, training: Training) -> Tensor:
    """Weights that fall where little noise is left to be told, (T,).

    Args:
        snr: at each timestep, (T,).
        x_0_weight: the squared error of the network's output over that of x_0, (T,).

    Source: Choi et al. 2022 (arXiv:2204.00227): eps's weight over (k + SNR)^gamma.
    """
    return snr / (training.p2_k + snr) ** training.p2_gamma / x_0_weight


WEIGHTINGS: dict[str, Callable[[Tensor, Tensor, Training], Tensor]] = {
    "uniform": uniform,
    "min_snr": min_snr,
    "p2": p2,
}
