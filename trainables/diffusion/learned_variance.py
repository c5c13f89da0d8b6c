"""A variance of each step that the network tells, and what it is trained on.

The network's second output v says where the logarithm of the variance lies between its two bounds:

    log sigma^2 = f log beta + (1 - f) log beta~,   f = (v + 1) / 2

    L_hybrid = L_simple + 0.001 L_vlb,   L_vlb = T mean over t of L_t

L_t is in bits per dimension, as in the authors' code, and its mean is held fixed: L_vlb trains the variance alone.

Source: Nichol & Dhariwal 2021 (arXiv:2102.09672), equations 15 and 16 and section 3.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainables.diffusion.process import Process

LAMBDA = 0.001  # of L_vlb in L_hybrid
HALF_LEVEL = 1 / 255  # half of the distance between two of the 256 values of a pixel in [-1, 1]
LEAST = 1e-12  # probability, of which the logarithm is taken


def log_variance(v: Tensor, log_beta: Tensor | float, log_beta_tilde: Tensor | float) -> Tensor:
    """The logarithm of the variance that `v` says, (B, C, H, W).

    Args:
        v: the network's second output, (B, C, H, W); from -1 to 1 between the bounds.
        log_beta: the upper bound.
        log_beta_tilde: the lower one.
    """
    f = (v + 1) / 2
    return f * log_beta + (1 - f) * log_beta_tilde


class VariationalBound:
    """The terms L_t of one process."""

    def __init__(self, process: Process) -> None:
        a_t, beta = process.alphas_cumprod, process.betas
        a_s = torch.cat([a_t.new_ones(1), a_t[:-1]])
        beta_tilde = beta * (1 - a_s) / (1 - a_t)
        beta_tilde[0] = beta_tilde[1]  # the last step's is 0, which has no logarithm
        self.log_beta, self.log_beta_tilde = beta.log().float(), beta_tilde.log().float()
        self.of_x_0 = (a_s.sqrt() * beta / (1 - a_t)).float()  # in the posterior's mean, Ho et al. 2020, equation 7
        self.of_x_t = ((1 - beta).sqrt() * (1 - a_s) / (1 - a_t)).float()

    def terms(self, x_0: Tensor, x_t: Tensor, t: Tensor, guess: Tensor, v: Tensor) -> Tensor:
        """L_t of each image in bits per dimension, (B,).

        Args:
            x_0: clean images of 256 levels in [-1, 1], (B, C, H, W).
            x_t: the same with noise, (B, C, H, W).
            t: timesteps, (B,).
            guess: the x_0 that the network implies, (B, C, H, W), without a gradient.
            v: the network's second output, (B, C, H, W).

        Source: Ho et al. 2020 (arXiv:2006.11239), equations 5 to 7 and 13.
        """
        log_beta, log_beta_tilde, of_x_0, of_x_t = (
            values[t][:, None, None, None] for values in (self.log_beta, self.log_beta_tilde, self.of_x_0, self.of_x_t)
        )
        log_of_v = log_variance(v, log_beta, log_beta_tilde)
        mean, error = of_x_0 * guess + of_x_t * x_t, of_x_0 * (guess - x_0)
        divergence = (log_of_v - log_beta_tilde - 1 + (log_beta_tilde - log_of_v).exp() + error**2 / log_of_v.exp()) / 2
        last = -_log_likelihood(x_0, mean, (log_of_v / 2).exp())
        nats = torch.where(t[:, None, None, None] == 0, last, divergence)
        return nats.flatten(1).mean(1) / math.log(2)


def _log_likelihood(x_0: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """The logarithm of a Gaussian's share in each pixel's level, in nats; the outermost levels reach to infinity."""
    above = torch.special.ndtr((x_0 - mean + HALF_LEVEL) / deviation).masked_fill(x_0 > 1 - HALF_LEVEL, 1.0)
    below = torch.special.ndtr((x_0 - mean - HALF_LEVEL) / deviation).masked_fill(x_0 < -1 + HALF_LEVEL, 0.0)
    return (above - below).clamp(min=LEAST).log()
