"""The training's objective: the error of what the network predicts."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from trainables.diffusion.losses import LOSSES, WEIGHTINGS
from trainables.diffusion.process import Process
from trainables.own_parts import PartError, chosen
from trainables.sections import Training


class Objective:
    """What a training minimises.

    Args:
        process: on the device of the images.
    """

    def __init__(self, process: Process, training: Training) -> None:
        self.process, self.per_image = process, partial(chosen(LOSSES, training.loss), **training.loss_args)
        self.plain = training.loss == "mse" and training.loss_weighting == "uniform"
        weighting, x_0_weight = WEIGHTINGS[training.loss_weighting], process.prediction.x_0_weight(process.snr)
        self.weights = weighting(process.snr, x_0_weight, training).float()

    def loss(self, model: nn.Module, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The mean over the images of the network's weighted error, a scalar.

        Source: Ho et al. 2020 (arXiv:2006.11239), equation 14 (L_simple), for eps with uniform weights.
        """
        output = model(self.process.q_sample(x_0, t, eps), t).float()
        return self._error(output, self.process.target(x_0, t, eps), t)

    def _error(self, output: Tensor, target: Tensor, t: Tensor) -> Tensor:
        if self.plain:  # another order of the sums has other last digits than the figures of before
            return F.mse_loss(output, target)
        errors = self.per_image(output, target)
        if errors.shape != t.shape:
            raise PartError(f"must give a loss for each image, {tuple(t.shape)}, not {tuple(errors.shape)}")
        return (self.weights[t] * errors).mean()
