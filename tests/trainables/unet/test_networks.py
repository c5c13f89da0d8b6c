"""Networks that we did not write: how they are made and called, trained, averaged and kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.testing import assert_close

from search_spaces.presets import quick
from trainables.config import Config, Overrides, apply
from trainables.own_parts import PartError
from trainables.stages.ddpm import weights_of
from trainables.training import Trainer, build
from trainables.unet.networks import OwnNetwork, network_of
from trainables.unet.unet import UNet

NETS = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, image_channels, image_size, width=4):
        super().__init__()
        self.told = image_channels, image_size, width
        self.first, self.last = nn.Conv2d(image_channels, width, 1), nn.Conv2d(width, image_channels, 1)

    def forward(self, x_t, t):
        return self.last(self.first(x_t) * (1 + t[:, None, None, None] / 1000))

class Normed(Plain):
    def __init__(self, image_channels, image_size):
        super().__init__(image_channels, image_size)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x_t, t):
        return self.last(self.norm(self.first(x_t)))

class Tied(Plain):
    def __init__(self, image_channels, image_size):
        super().__init__(image_channels, image_size)
        self.first, self.second = nn.Conv2d(image_channels, 4, 1), nn.Conv2d(4, 4, 1)
        self.third = nn.Conv2d(4, 4, 1)
        self.third.weight = self.second.weight

    def forward(self, x_t, t):
        return self.last(self.third(self.second(self.first(x_t))))

class Nameless(nn.Module):  # asks for nothing by name
    def __init__(self, **options):
        super().__init__()
        self.options, self.layer = options, nn.Conv2d(1, 1, 1)

    def forward(self, x_t, t):
        return self.layer(x_t)

def factory(in_channels):
    return nn.Conv2d(in_channels, in_channels, 1)

def no_module(image_channels):
    return [image_channels]

class Refusing(nn.Module):
    def __init__(self, image_channels):
        raise ValueError("no such width")
"""
DIFFUSERS = {
    "network": "diffusers:UNet2DModel",
    "network_args.block_out_channels": [8, 8],
    "network_args.down_block_types": ["DownBlock2D", "DownBlock2D"],
    "network_args.up_block_types": ["UpBlock2D", "UpBlock2D"],
    "network_args.norm_num_groups": 4,
    "network_args.layers_per_block": 1,
}
CPU = torch.device("cpu")
SMALL = {"data.image_size": 8, "training.train_steps": 3, "training.batch_size": 4, "segmentation.blocks": ("first",)}


@pytest.fixture(autouse=True)
def nets(own_folder: Path) -> None:
    (own_folder / "nets.py").write_text(NETS)


def config(changes: str | Overrides) -> Config:
    return apply(quick(), SMALL | ({"network": f"nets.py:{changes}"} if isinstance(changes, str) else dict(changes)))


def inputs(channels: int = 1) -> tuple[Tensor, Tensor]:
    return torch.randn(2, channels, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 700])


def trained(changes: str) -> Trainer:
    images = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    trainer = Trainer(config(changes), images)
    list(trainer.run())
    return trainer


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_is_told_of_the_data_what_it_asks_for_by_name(channels: int) -> None:
    network = network_of(config("Plain"), channels)
    assert isinstance(network, OwnNetwork) and network.network.told == (channels, 8, 4)
    wide = network_of(config({"network": "nets.py:Plain", "network_args.width": 6, "network_args.image_size": 5}), 1)
    assert wide.network.told == (1, 5, 6)  # what is given counts
    assert network_of(config("factory"), channels).network.in_channels == channels
    assert network_of(config({"network": "nets.py:Nameless", "network_args.a": 1}), 1).network.options == {"a": 1}


def test_its_prediction_and_its_features_are_the_networks_own() -> None:
    torch.manual_seed(0)
    network, (x_t, t) = network_of(config("Plain"), 1), inputs()
    assert torch.equal(network(x_t, t), network.network(x_t, t))
    features = network.features(x_t, t, ("last", "first"))
    assert list(features) == ["last", "first"]
    assert torch.equal(features["first"], network.network.first(x_t))


def test_a_network_of_diffusers_is_called_as_ours_is() -> None:
    from diffusers import UNet2DModel

    network, (x_t, t) = build(config(DIFFUSERS), 3, CPU).eval(), inputs(3)
    inner = network.network
    assert isinstance(inner, UNet2DModel)
    assert (inner.config.in_channels, inner.config.out_channels, inner.config.sample_size) == (3, 3, 8)
    assert inner.config.block_out_channels == [8, 8]
    output = network(x_t, t)
    assert torch.equal(output, inner(x_t, t).sample) and output.shape == x_t.shape
    assert [m.shape for m in network.features(x_t, t, ("up_blocks.*",)).values()] == [(2, 8, 8, 8), (2, 8, 8, 8)]


def test_without_a_network_of_ones_own_it_is_our_unet() -> None:
    ours = apply(quick(), {"unet.base_channels": 8})
    assert isinstance(network_of(ours, 1), UNet)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = UNet(ours.unet, 1, ours.data.image_size).state_dict()
        torch.manual_seed(0)
        found = network_of(ours, 1).state_dict()
    assert list(found) == list(expected) and all(map(torch.equal, found.values(), expected.values()))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ("Refusing", r"^nets\.py:Refusing: cannot be made or run: ValueError: no such width \(nets\.py, line \d+\)$"),
        ("no_module", r"^nets\.py:no_module: must make a torch\.nn\.Module, but makes list$"),
        ("Absent", r"^nets\.py:Absent: there is no Absent in it; it has Nameless, Normed, Plain"),
        ({"network": "nets.py:Plain", "network_args.depth": 3}, r"nets\.py:Plain: cannot be made .*'depth'"),
    ],
    ids=str,
)
def test_a_network_that_cannot_be_made_is_told_in_one_line(changes: str | Overrides, says: str) -> None:
    with pytest.raises(PartError, match=says) as caught:
        network_of(config(changes), 1)
    assert "\n" not in str(caught.value)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    first = [build(config("Plain"), 1, CPU).state_dict() for _ in range(2)]
    other = build(apply(config("Plain"), {"seed": 1}), 1, CPU).state_dict()
    assert all(map(torch.equal, first[0].values(), first[1].values()))
    assert not torch.equal(first[0]["network.first.weight"], other["network.first.weight"])


def test_running_means_reach_the_average() -> None:
    trainer = trained("Normed")
    model, average = trainer.model.network.norm, trainer.ema.network.norm
    assert int(average.num_batches_tracked) == 3
    assert torch.equal(average.running_mean, model.running_mean) and float(model.running_mean.abs().max()) > 0
    assert torch.equal(average.running_var, model.running_var)
    assert not torch.equal(average.weight, model.weight)  # that is averaged


def test_weights_that_are_shared_are_kept_and_come_back() -> None:
    trainer = trained("Tied")
    kept = load(save(weights_of(trainer.ema)))
    assert set(kept) == set(trainer.ema.state_dict())
    assert torch.equal(kept["network.third.weight"], kept["network.second.weight"])
    again, (x_t, t) = build(apply(config("Tied"), {"seed": 5}), 1, CPU), inputs()
    again.load_state_dict(kept)
    assert_close(again(x_t, t), trainer.ema(x_t, t), rtol=0, atol=0)


def test_the_weights_of_our_unet_are_kept_as_they_are() -> None:
    network: nn.Module = build(apply(quick(), {"unet.base_channels": 8}), 1, CPU)
    kept = weights_of(network)
    assert list(kept) == list(network.state_dict())
    assert all(map(torch.equal, kept.values(), network.state_dict().values()))
