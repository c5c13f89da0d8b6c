"""The sample sets of one trained model, and the strip that shows how one of them came out of the noise."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.checkpoints import Checkpoints, State, on_cpu
from trainables.config import Config
from trainables.diffusion.process import Process
from trainables.diffusion.samplers import denoise, respaced
from trainables.diffusion.self_conditioning import SelfConditioned
from trainables.finite import Diverged
from trainables.images import to_uint8
from trainables.progress import Progress
from trainables.randomness import generator

STRIP_IMAGES, STRIP_FRAMES = 6, 11


@dataclass
class Drawn:
    """What has been drawn so far: uint8 images (samples, C, H, W), repeat after repeat, and the strip's frames.

    Args:
        batches: each (size, C, H, W).
        frames: each (N, C, H, W), the noise first and the clean images last.
        timesteps: of the frames; -1 is the clean image.
        begun: the batch that is being drawn: its `x_t`, the `steps` done, the state `rng` of its random stream,
            whether all was `finite` so far, and a self-conditioned network's last `estimate`.
    """

    batches: list[NDArray[np.uint8]] = field(default_factory=list)
    frames: list[NDArray[np.uint8]] = field(default_factory=list)
    timesteps: list[int] = field(default_factory=list)
    begun: State = field(default_factory=dict)

    def samples(self, repeats: int) -> NDArray[np.uint8]:
        """The sample sets, (repeats, samples, C, H, W)."""
        images = np.concatenate(self.batches)
        return images.reshape(repeats, -1, *images.shape[1:])

    def see(self, t: int, x_t: Tensor) -> None:
        """Adds a frame to the strip."""
        self.timesteps.append(t)
        self.frames.append(to_uint8(x_t[:STRIP_IMAGES]).cpu().numpy())

    def state(self) -> State:
        """All of it, for a checkpoint."""
        tensors = {name: [torch.from_numpy(a) for a in getattr(self, name)] for name in ("batches", "frames")}
        return {**tensors, "timesteps": list(self.timesteps), "begun": on_cpu(self.begun)}

    @staticmethod
    def from_state(state: State) -> Drawn:
        """What another run had drawn."""
        arrays = {name: [tensor.numpy() for tensor in state[name]] for name in ("batches", "frames")}
        return Drawn(timesteps=state["timesteps"], begun=state.get("begun", {}), **arrays)


class InParts(nn.Module):
    """A network that takes its batch in `parts`, one after the other: less memory, the same output."""

    def __init__(self, network: nn.Module, parts: int) -> None:
        super().__init__()
        self.network, self.parts = network, parts

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The network's output, (B, C, H, W)."""
        if self.parts == 1:
            return self.network(x_t, t)
        parts = min(self.parts, len(x_t))
        halves = zip(x_t.tensor_split(parts), t.tensor_split(parts), strict=True)
        return torch.cat([self.network(x, at) for x, at in halves])


class Watched(nn.Module):
    """A network whose output is seen to be finite: the clip of x_0 would hide one that is not."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.network, self.finite = network, torch.tensor(True, device=device)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The network's output, (B, C, H, W)."""
        output = self.network(x_t, t)
        self.finite = self.finite & torch.isfinite(output).all()  # a GPU is asked once, at the end of the batch
        return output


def draw(
    config: Config, model: nn.Module, image_shape: torch.Size, device: torch.device, checkpoints: Checkpoints
) -> Generator[Progress, None, Drawn]:
    """Progress, counted in calls of the network; returns the sample sets, each batch from its own random stream.

    Args:
        model: the network, which predicts what the config says.
        image_shape: (C, H, W).
        checkpoints: where what is drawn is saved now and then, and found again.

    Raises:
        Diverged: the model's output was not finite.
    """
    sampling = config.sampling
    process = Process(config.diffusion).to(device)
    batches = list(_batches(config))
    kept, total = _strip_timesteps(config), len(batches) * sampling.sampling_steps
    watched, state = Watched(model, device), checkpoints.latest()
    network = SelfConditioned(watched, process, config.training.self_conditioning)
    drawn = Drawn.from_state(state) if state else Drawn()
    yield Progress(_calls(drawn, sampling.sampling_steps), total)
    for repeat, batch, size in batches[len(drawn.batches) :]:
        rng, first = generator(config.seed, "sampling", repeat, batch, device=device), not drawn.batches
        if not drawn.begun:
            x_T = torch.randn((size, *image_shape), generator=rng, device=device)
            drawn.begun = {"x_t": x_T, "steps": 0, "rng": rng.get_state(), "finite": torch.tensor(True)}
            if first:
                drawn.see(process.timesteps - 1, x_T)
        rng.set_state(drawn.begun["rng"])
        x_t = drawn.begun["x_t"].to(device).contiguous(memory_format=torch.channels_last)
        watched.finite, estimate = drawn.begun["finite"].to(device), drawn.begun.get("estimate")
        network.estimate = None if estimate is None else estimate.to(device)
        for t, x_s in denoise(network, process, x_t, sampling, rng, drawn.begun["steps"]):
            steps, rng_state = drawn.begun["steps"] + 1, rng.get_state()
            drawn.begun = {"x_t": x_s, "steps": steps, "rng": rng_state, "finite": watched.finite}
            drawn.begun |= {"estimate": network.estimate} if network.on else {}
            if first and t in kept:
                drawn.see(t, x_s)
            calls = _calls(drawn, sampling.sampling_steps)
            yield Progress(calls, total)
            checkpoints.save_now_and_then(calls, drawn.state)
        if not bool(watched.finite):
            raise Diverged("the network's output is not finite while sampling")
        drawn.batches.append(to_uint8(drawn.begun["x_t"]).cpu().numpy())
        drawn.begun = {}
    return drawn


def _calls(drawn: Drawn, sampling_steps: int) -> int:
    """How often the network has been called."""
    return len(drawn.batches) * sampling_steps + int(drawn.begun.get("steps", 0))


def _strip_timesteps(config: Config) -> set[int]:
    visited = [*respaced(config.diffusion.timesteps, config.sampling.sampling_steps)[1:], -1]
    frames = min(STRIP_FRAMES - 1, len(visited))
    return {visited[round((i + 1) * len(visited) / frames) - 1] for i in range(frames)}


def _batches(config: Config) -> Iterator[tuple[int, int, int]]:
    """(repeat, number of the batch in it, size) of each batch to draw."""
    sampling = config.sampling
    for repeat in range(sampling.sampling_repeats):
        for batch, start in enumerate(range(0, sampling.samples, sampling.batch_size)):
            yield repeat, batch, min(sampling.batch_size, sampling.samples - start)
