"""Training of the DDPM: AdamW on the objective, with an exponential moving average of the weights."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trainables.checkpoints import Checkpoints, State, on_cpu
from trainables.config import Config
from trainables.diffusion.objective import Objective
from trainables.diffusion.process import Process
from trainables.finite import Diverged, check_weights
from trainables.images import to_unit
from trainables.progress import Progress
from trainables.randomness import derived_seed, generator
from trainables.training_rates import ema_decay, learning_rate
from trainables.unet.networks import OwnNetwork, network_of
from trainables.unet.unet import UNet

Network = UNet | OwnNetwork

LOGGED_POINTS = 200  # of the loss curve, at most
HEARTBEAT_S = 2.0  # a progress record at least this often


def build(config: Config, image_channels: int, device: torch.device) -> Network:
    """The network of `config` with its initial weights, which depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "init"))
        model = network_of(config, image_channels)
    return model.to(device).to(memory_format=torch.channels_last)


class Trainer:
    """One DDPM in training. `run` trains to the end; afterwards `ema` holds the model to use.

    A trainer that is given another one's `state` goes on as that one would have, bit for bit on a CPU.

    Args:
        config: the trial's.
        images: the training images, uint8 (N, C, H, W), on the device to train on.
        micro_batches: parts that a batch is computed in, their gradients added up, where memory is short.
    """

    def __init__(self, config: Config, images: Tensor, micro_batches: int = 1) -> None:
        self.config, self.training, self.images = config, config.training, images
        self.micro_batches = micro_batches
        self.device = images.device
        self.model = build(config, images.shape[1], self.device)
        self.ema = build(config, images.shape[1], self.device).requires_grad_(False).eval()
        self.process = Process(config.diffusion).to(self.device)
        self.objective = Objective(self.process, config.training)
        fused = self.device.type in ("cpu", "cuda")
        rate, decay = self.training.learning_rate, self.training.weight_decay
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=decay, fused=fused)
        self.noise = generator(config.seed, "training noise", device=self.device)
        self.step = 0
        self.losses: list[tuple[int, float]] = []
        self._pending: list[Tensor] = []  # read together, so that a GPU is not made to wait at every step

    def run(self, checkpoints: Checkpoints | None = None) -> Iterator[Progress]:
        """Records of the training's progress, until it is done.

        Args:
            checkpoints: where to save the state now and then, and to go on from if there is one.

        Raises:
            Diverged: the loss or the weights are not finite.
        """
        if checkpoints and (state := checkpoints.latest()):
            self.load_state(state)
        if self.step == 0:  # dropout is the one thing that draws from the global generator
            torch.manual_seed(derived_seed(self.config.seed, "dropout"))
        steps, log_every = self.training.train_steps, max(1, self.training.train_steps // LOGGED_POINTS)
        yield Progress(self.step, steps, history=[(step, {"loss": loss}) for step, loss in self.losses])
        beat = time.monotonic()
        while self.step < steps:
            self._pending.append(self._train_step())
            if self.step % log_every == 0 or self.step == steps:
                loss = self._mean_finite(torch.stack(self._pending).tolist())
                self.losses.append((self.step, loss))
                self._pending, beat = [], time.monotonic()
                yield Progress(self.step, steps, {"loss": loss})
            elif time.monotonic() - beat > HEARTBEAT_S:
                beat = time.monotonic()
                yield Progress(self.step, steps)
            if checkpoints:
                checkpoints.save_now_and_then(self.step, self.state)
        # The last update comes after the last loss.
        check_weights(self.model, f"after step {steps} the network")
        check_weights(self.ema, f"after step {steps} the average")

    def state(self) -> State:
        """All that the next step depends on, as copies on the CPU."""
        return {
            "step": self.step,
            "model": on_cpu(self.model.state_dict()),
            "ema": on_cpu(self.ema.state_dict()),
            "optimizer": on_cpu(self.optimizer.state_dict()),
            "noise": self.noise.get_state(),
            "dropout": self._dropout_state(),
            "losses": list(self.losses),
            "pending": [float(loss) for loss in self._pending],
        }

    def load_state(self, state: State) -> None:
        """Goes on from another trainer's `state`."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.noise.set_state(state["noise"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["dropout"], self.device)
        else:
            torch.set_rng_state(state["dropout"])
        self.losses = [(step, loss) for step, loss in state["losses"]]
        self._pending = [torch.tensor(loss, device=self.device) for loss in state["pending"]]

    def _dropout_state(self) -> Tensor:
        return torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else torch.get_rng_state()

    def _train_step(self) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.training, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(*self._batch())
        nn.utils.clip_grad_norm_(self.model.parameters(), self.training.grad_clip)
        self.optimizer.step()
        weight = 1 - ema_decay(self.training, self.step)
        with torch.no_grad():  # else the average would hold the graph of every step so far
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), weight)
            for averaged, buffer in zip(self.ema.buffers(), self.model.buffers(), strict=True):
                averaged.copy_(buffer)  # running means, which are averages already; our own U-Net has none
        self.step += 1
        return loss

    def _backward(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The batch's loss, with its gradients added up over the micro-batches."""
        total = torch.zeros((), device=self.device)
        micro_batches = min(self.micro_batches, len(t))
        estimated = self._estimated()
        parts = zip(*(part.tensor_split(micro_batches) for part in (x_0, t, eps)), strict=True)
        for x_0_part, t_part, eps_part in parts:
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.training.precision == "bf16"):
                loss = self.objective.loss(self.model, x_0_part, t_part, eps_part, estimated)
            loss = loss * (len(t_part) / len(t))
            loss.backward()
            total += loss.detach()
        return total

    def _estimated(self) -> bool:
        """Whether a self-conditioned network is shown its own estimate at this step: it is at half of them."""
        if not self.training.self_conditioning:
            return False
        coin = torch.rand((), generator=generator(self.config.seed, "self-conditioning", self.step))
        return bool(coin < 0.5)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """x_0 in [-1, 1], t and eps of the current step; they depend on the seed and the step alone."""
        size = self.training.batch_size
        first = self.step * size
        rows = torch.cat([self._order(epoch)[a:b] for epoch, a, b in _spans(first, size, len(self.images))])
        x_0 = self._flipped(to_unit(self.images[rows.to(self.device)]))
        t = torch.randint(self.process.timesteps, (size,), generator=self.noise, device=self.device)
        eps = torch.randn(x_0.shape, generator=self.noise, device=self.device)
        return x_0, t, eps.contiguous(memory_format=torch.channels_last)

    def _flipped(self, x_0: Tensor) -> Tensor:
        if not self.training.flips:
            return x_0
        coins = torch.rand(len(x_0), 1, 1, 1, generator=generator(self.config.seed, "flips", self.step))
        return torch.where(coins.to(self.device) < 0.5, x_0.flip(-1), x_0)

    def _order(self, epoch: int) -> Tensor:
        return torch.randperm(len(self.images), generator=generator(self.config.seed, "order", epoch))

    def _mean_finite(self, losses: list[float]) -> float:
        for i, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise Diverged(f"at step {self.step - len(losses) + i + 1}: the loss is {loss}")
        return sum(losses) / len(losses)


def _spans(first: int, size: int, length: int) -> Iterator[tuple[int, int, int]]:
    """(epoch, start, stop) of the rows `first .. first + size` of an endless row of epochs of `length`."""
    while size:
        epoch, start = divmod(first, length)
        stop = min(length, start + size)
        yield epoch, start, stop
        first, size = first + stop - start, size - (stop - start)
