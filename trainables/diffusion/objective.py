"""The training's objective: the error of what the network predicts, and of its variance if that is learned."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.diffusion.learned_variance import LAMBDA, VariationalBound
from trainables.diffusion.losses import LOSSES, WEIGHTINGS
from trainables.diffusion.process import Process
from trainables.diffusion.self_conditioning import beside
from trainables.own_parts import PartError, chosen
from trainables.sections import Training


class Objective:
    """What a training minimises.

    Args:
        process: on the device of the images.
    """

    def __init__(self, process: Process, training: Training) -> None:
        self.process, self.training = process, training
        self.per_image = partial(chosen(LOSSES, training.loss), **training.loss_args)
        self.plain = training.loss == "mse" and training.loss_weighting == "uniform"
        weighting, x_0_weight = WEIGHTINGS[training.loss_weighting], process.prediction.x_0_weight(process.snr)
        self.weights = weighting(process.snr, x_0_weight, training).float()
        self.bound = VariationalBound(process) if process.learned_variance else None

    def loss(self, model: nn.Module, x_0: Tensor, t: Tensor, eps: Tensor, estimated: bool = False) -> Tensor:
        """The mean over the images of the network's weighted error, a scalar; with a learned variance L_hybrid.

        Args:
            estimated: whether a self-conditioned network is shown its own estimate; else it is shown zeros.

        Source: Ho et al. 2020 (arXiv:2006.11239), equation 14 (L_simple), for eps with uniform weights.
        """
        x_t = self.process.q_sample(x_0, t, eps)
        output, v = self.process.split(self._output(model, x_t, t, estimated).float())
        loss = self._error(output, self.process.target(x_0, t, eps), t)
        if self.bound is None or v is None:
            return loss
        guess = self.process.implied_x_0(x_t, t, output.detach())
        return loss + LAMBDA * self.process.timesteps * self.bound.terms(x_0, x_t, t, guess, v).mean()

    def _output(self, model: nn.Module, x_t: Tensor, t: Tensor, estimated: bool) -> Tensor:
        if not self.training.self_conditioning:
            return model(x_t, t)
        estimate = torch.zeros_like(x_t)
        if estimated:
            with torch.no_grad():
                estimate = self.process.predict_x_0(x_t, t, model(beside(x_t, estimate), t).float())
        return model(beside(x_t, estimate), t)

    def _error(self, output: Tensor, target: Tensor, t: Tensor) -> Tensor:
        if self.plain:  # another order of the sums has other last digits than the figures of before
            return F.mse_loss(output, target)
        errors = self.per_image(output, target)
        if errors.shape != t.shape:
            raise PartError(f"must give a loss for each image, {tuple(t.shape)}, not {tuple(errors.shape)}")
        return (self.weights[t] * errors).mean()
