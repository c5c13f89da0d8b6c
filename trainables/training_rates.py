"""What changes from step to step of the training: the learning rate and the average's decay. Imports no torch."""

from __future__ import annotations

import math

from trainables.sections import Training


def learning_rate(training: Training, step: int) -> float:
    """The learning rate of step `step` (0-based): linear warm-up, then a cosine to the final factor."""
    if step < training.warmup_steps:
        return training.learning_rate * (step + 1) / training.warmup_steps
    done = (step - training.warmup_steps) / max(1, training.train_steps - training.warmup_steps)
    final = training.final_learning_rate
    return training.learning_rate * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)


def ema_decay(training: Training, step: int) -> float:
    """The decay at `step`: with `ema_warmup` short while the weights still move fast, `ema_decay` in the end."""
    return min(training.ema_decay, warmed_up_decay(step)) if training.ema_warmup else training.ema_decay


def warmed_up_decay(step: int) -> float:
    """The most that the decay can be at `step`, in (0, 1): an average of as many steps as there have been."""
    return (1 + step) / (10 + step)
