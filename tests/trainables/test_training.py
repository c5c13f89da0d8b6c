"""The training loop: what it is shown, what it does with it, and when it gives up."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from search_spaces.presets import quick
from trainables import data
from trainables.config import Config, apply
from trainables.diffusion.objective import Objective
from trainables.images import to_uint8
from trainables.sections import Training
from trainables.training import Diverged, Trainer, build, ema_decay, learning_rate

CPU = torch.device("cpu")
SMALL = {
    "unet.base_channels": 8,
    "unet.channel_mults": (1, 2, 2),
    "unet.attention_resolutions": (4,),
    "training.train_steps": 5,
    "training.batch_size": 4,
    "training.warmup_steps": 0,
}
Batch = tuple[Tensor, Tensor, Tensor]


def _config(**overrides: Any) -> Config:
    return apply(quick(), SMALL | {name.replace("__", "."): value for name, value in overrides.items()})


def _images(count: int = 10, size: int = 16) -> Tensor:
    """Image i has the value i throughout, so that it can be told again."""
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, size, size).contiguous()


def _trained(config: Config, images: Tensor | None = None) -> Trainer:
    trainer = Trainer(config, _images() if images is None else images)
    for _ in trainer.run():
        pass
    return trainer


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """The batches that every training of the test is shown."""
    batches: list[Batch] = []
    original = Objective.loss

    def spied(self: Objective, model: Any, x_0: Tensor, t: Tensor, eps: Tensor, *more: Any) -> Tensor:
        batches.append((x_0, t, eps))
        return original(self, model, x_0, t, eps, *more)

    monkeypatch.setattr(Objective, "loss", spied)
    return batches


def _equal(one: Trainer, other: Trainer) -> bool:
    return all(
        torch.equal(a, b)
        for nets in ((one.model, other.model), (one.ema, other.ema))
        for a, b in zip(*(net.parameters() for net in nets), strict=True)
    )


def test_loss_falls_on_real_digits() -> None:
    config = apply(
        quick(),
        {"training.train_steps": 40, "training.batch_size": 32, "data.image_size": 16, "training.warmup_steps": 5},
    )
    losses = [loss for _, loss in _trained(config, data.load(config.data).train).losses]
    assert losses[0] == pytest.approx(1, abs=0.05)  # no noise is predicted yet
    assert sum(losses[-5:]) / 5 < 0.6


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_same_seed_gives_the_same_weights_to_the_last_bit(dropout: float) -> None:
    torch.manual_seed(0)
    one = _trained(_config(unet__dropout=dropout))
    torch.manual_seed(1)
    assert _equal(one, _trained(_config(unet__dropout=dropout)))
    assert not _equal(one, _trained(_config(unet__dropout=dropout, seed=1)))


@pytest.mark.parametrize(
    "variant",
    [
        {"unet__block": "convnext"},
        {"unet__attention_resolutions": ()},
        {"diffusion__beta_schedule": "cosine"},
        {"training__learning_rate": 1e-5},
        {"unet__dropout": 0.5},
        {"diffusion__prediction": "v"},
        {"training__loss_weighting": "min_snr"},
        {"training__self_conditioning": True},
        {"diffusion__learned_variance": True, "sampling__sampler": "ddpm"},
    ],
    ids=str,
)
def test_variants_of_one_seed_see_identical_batches(variant: dict[str, Any], seen: list[Batch]) -> None:
    _trained(_config())
    _trained(_config(**variant))
    assert len(seen) == 10
    for one, other in zip(seen[:5], seen[5:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_seeds_and_steps_see_different_batches(seen: list[Batch]) -> None:
    _trained(_config())
    _trained(_config(seed=1))
    for part in range(3):
        assert len({batch[part].numpy().tobytes() for batch in seen}) == 10


@pytest.mark.parametrize(("batch_size", "steps"), [(4, 5), (7, 10), (10, 3), (25, 4)])
def test_every_epoch_visits_every_image_once_in_its_own_order(batch_size: int, steps: int, seen: list[Batch]) -> None:
    _trained(_config(training__batch_size=batch_size, training__train_steps=steps))
    assert {len(x_0) for x_0, _, _ in seen} == {batch_size}
    order = torch.cat([to_uint8(x_0)[:, 0, 0, 0] for x_0, _, _ in seen])
    epochs = order[: len(order) // 10 * 10].reshape(-1, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs.tolist())
    assert len(epochs.unique(dim=0)) == len(epochs) >= 2


def test_timesteps_are_uniform_and_the_noise_is_standard(seen: list[Batch]) -> None:
    _trained(_config(training__batch_size=200, training__train_steps=3))
    t, eps = torch.cat([t for _, t, _ in seen]).double(), torch.cat([eps for _, _, eps in seen]).double()
    assert 0 <= int(t.min()) < 20
    assert 980 < int(t.max()) <= 999
    assert float(t.mean()) == pytest.approx(499.5, abs=5 * 1000 / math.sqrt(12 * 600))
    assert float(eps.mean()) == pytest.approx(0, abs=5 / math.sqrt(eps.numel()))
    assert float(eps.var()) == pytest.approx(1, abs=5 * math.sqrt(2 / eps.numel()))


def test_flips_mirror_half_of_the_images_left_to_right_and_change_nothing_else(seen: list[Batch]) -> None:
    images = torch.arange(16, dtype=torch.uint8).expand(10, 1, 16, 16).contiguous()
    settings = {"training__batch_size": 40, "training__train_steps": 3}
    _trained(_config(**settings), images)
    _trained(_config(**settings, training__flips=True), images)
    flipped = 0
    for (plain, t, eps), (other, t_too, eps_too) in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(t, t_too)
        assert torch.equal(eps, eps_too)
        mirrored = (other == plain.flip(-1)).flatten(1).all(1)
        assert (mirrored ^ (other == plain).flatten(1).all(1)).all()
        flipped += int(mirrored.sum())
    assert flipped == pytest.approx(60, abs=5 * 30**0.5)
    again = Trainer(_config(**settings, training__flips=True), images)
    again.step = 2
    assert torch.equal(again._flipped(plain), other)  # of seed and step alone
    masks = [(other[:, 0, 0, 0] > -0.95).tolist() for other, _, _ in seen[3:]]
    assert masks[0] != masks[1] != masks[2]  # every step throws its own coins


def test_a_self_conditioned_network_is_shown_its_estimate_at_half_of_the_steps() -> None:
    trainer = Trainer(_config(training__self_conditioning=True), _images())
    shown = []
    for trainer.step in range(400):
        shown.append(trainer._estimated())
    assert sum(shown) == pytest.approx(200, abs=50)
    assert trainer.model.stem.weight.shape[1] == 2
    trainer.step = 7
    assert trainer._estimated() == shown[7]
    assert not Trainer(_config(), _images())._estimated()


def test_micro_batches_of_a_self_conditioned_network_are_shown_alike() -> None:
    config = _config(training__self_conditioning=True)
    whole, split = Trainer(config, _images()), Trainer(config, _images(), micro_batches=2)
    for trainer in (whole, split):
        list(trainer.run())
    assert [loss for _, loss in split.losses] == pytest.approx([loss for _, loss in whole.losses], rel=1e-4)


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0), (6, 0.55 + 0.45 / math.sqrt(2)), (8, 0.55), (12, 0.1)],
)
def test_learning_rate_warms_up_and_follows_a_cosine(step: int, factor: float) -> None:
    training = Training(learning_rate=2.0, warmup_steps=4, train_steps=12, final_learning_rate=0.1)
    assert learning_rate(training, step) == pytest.approx(2 * factor)


@pytest.mark.parametrize("step", [0, 3, 9])
def test_learning_rate_is_constant_unless_it_is_told_otherwise(step: int) -> None:
    assert learning_rate(Training(learning_rate=0.3, train_steps=10), step) == 0.3


@pytest.mark.parametrize(("step", "decay"), [(0, 0.1), (8, 0.5), (80, 0.9), (890, 0.99), (891, 0.99), (10**6, 0.99)])
def test_ema_decay_grows_to_the_setting(step: int, decay: float) -> None:
    assert ema_decay(Training(ema_decay=0.99), step) == pytest.approx(decay)


def test_optimiser_takes_the_learning_rate_of_its_step() -> None:
    config = _config(training__warmup_steps=2, training__final_learning_rate=0.0)
    trainer, taken = Trainer(config, _images()), []
    for progress in trainer.run():
        if progress.metrics:  # a step was made
            taken.append(trainer.optimizer.param_groups[0]["lr"])
    assert taken == pytest.approx([learning_rate(config.training, step) for step in range(5)])
    assert len(set(taken)) == 4  # the warm-up's last is the cosine's first


def test_ema_is_the_average_that_the_decays_say() -> None:
    config = _config(training__ema_decay=0.2)
    trainer = Trainer(config, _images())
    expected = [p.detach().clone() for p in build(config, 1, CPU).parameters()]
    for step, _ in enumerate(p for p in trainer.run() if p.metrics):
        decay = [0.1, 2 / 11, 0.2, 0.2, 0.2][step]
        expected = [
            decay * e + (1 - decay) * p.detach() for e, p in zip(expected, trainer.model.parameters(), strict=True)
        ]
        for e, p in zip(expected, trainer.ema.parameters(), strict=True):
            assert_close(p.detach(), e, rtol=0, atol=1e-6)
    assert not torch.equal(trainer.ema.head.weight, trainer.model.head.weight)


def test_gradients_are_clipped_to_the_norm() -> None:
    trainer = _trained(_config(training__grad_clip=1e-3))
    norm = torch.stack([p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    one = build(_config(), 1, CPU).stem.weight
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    assert torch.equal(build(_config(training__learning_rate=1.0), 1, CPU).stem.weight, one)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(build(_config(seed=1), 1, CPU).stem.weight, one)


def test_untrained_is_the_initial_network() -> None:
    trainer = _trained(_config(training__train_steps=0))
    initial = build(_config(), 1, CPU)
    assert all(torch.equal(a, b) for a, b in zip(trainer.ema.parameters(), initial.parameters(), strict=True))
    assert trainer.losses == []


@pytest.mark.parametrize(("steps", "logged"), [(1, [1]), (5, [1, 2, 3, 4, 5]), (401, [*range(2, 401, 2), 401])])
def test_loss_curve_ends_at_the_last_step_and_keeps_the_means(
    steps: int, logged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(_config(training__train_steps=steps), _images())
    _loss_of_each_step(trainer, monkeypatch, [float(step) for step in range(1, steps + 1)])
    records = [(p.step, p.metrics["loss"]) for p in trainer.run() if p.metrics]
    starts = [0, *logged[:-1]]
    means = [(start + 1 + stop) / 2 for start, stop in zip(starts, logged, strict=True)]
    assert records == trainer.losses == list(zip(logged, means, strict=True))


def _loss_of_each_step(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Has step i (1-based) report `losses[i - 1]`, without the work of a step."""

    def step() -> Tensor:
        trainer.step += 1
        return torch.tensor(losses[trainer.step - 1])

    monkeypatch.setattr(trainer, "_train_step", step)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(("steps", "step"), [(5, 1), (5, 5), (1000, 7), (1000, 10), (1000, 1000)])
def test_diverged_names_the_step(bad: float, steps: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(_config(training__train_steps=steps), _images())
    losses = [0.5] * steps
    losses[step - 1 :] = [bad] * (steps - step + 1)
    _loss_of_each_step(trainer, monkeypatch, losses)
    with pytest.raises(Diverged, match=rf"at step {step}: the loss is {bad}$"):
        list(trainer.run())


def test_absurd_learning_rate_diverges_at_the_step_that_it_names(seen: list[Batch]) -> None:
    config = _config(training__learning_rate=1e30, training__train_steps=400)
    trainer = Trainer(config, _images())
    with pytest.raises(Diverged, match=r"at step \d+") as caught:
        list(trainer.run())
    step = int(str(caught.value).split("at step ")[1].split(":")[0])
    # Again by hand: the losses before that step are finite, its own is not.
    again, losses = Trainer(config, _images()), []
    for _ in range(step):
        losses.append(float(again._train_step()))
    assert [math.isfinite(loss) for loss in losses] == [True] * (step - 1) + [False]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"unet__dropout": 0.5},
        {"training__flips": True},
        {"training__self_conditioning": True, "unet__dropout": 0.5},
        {"diffusion__learned_variance": True, "sampling__sampler": "ddpm"},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [1, 3])
def test_trainer_that_takes_over_ends_with_the_same_weights_to_the_last_bit(steps: int, settings: dict) -> None:
    config = _config(**settings)
    whole, first = _trained(config), Trainer(config, _images())
    running = first.run()
    while first.step < steps:
        next(running)
    state = first.state()
    list(running)  # the state must not change with the one that it was taken of
    torch.manual_seed(99)
    second = Trainer(config, _images())
    second.load_state(state)
    assert second.step == steps
    told = [loss for p in second.run() for loss in [*(h["loss"] for _, h in p.history), *p.metrics.values()]]
    assert _equal(second, whole)
    assert second.losses == whole.losses
    assert told == [loss for _, loss in whole.losses]


def test_state_keeps_the_losses_that_are_not_yet_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(training__train_steps=1000)  # every fifth is logged
    losses = [float(step) for step in range(1, 1001)]
    whole, first, second = (Trainer(config, _images()) for _ in range(3))
    _loss_of_each_step(whole, monkeypatch, losses)
    list(whole.run())
    first.step, first._pending = 7, [torch.tensor(6.0), torch.tensor(7.0)]
    second.load_state(first.state())
    _loss_of_each_step(second, monkeypatch, losses)
    list(second.run())
    assert second.losses == whole.losses[1:]


@pytest.mark.parametrize(
    ("batch_size", "parts"),
    [
        (4, 2),
        (5, 2),
        (5, 3),
        (1, 2),
    ],
)
def test_micro_batches_add_up_to_the_batch(batch_size: int, parts: int) -> None:
    config = _config(training__batch_size=batch_size)
    whole, split = Trainer(config, _images()), Trainer(config, _images(), micro_batches=parts)
    for trainer in (whole, split):
        list(trainer.run())
    assert [loss for _, loss in split.losses] == pytest.approx([loss for _, loss in whole.losses], rel=1e-4)
    assert_close(split.model.head.weight, whole.model.head.weight, rtol=1e-2, atol=1e-4)


def test_bf16_trains_fp32_weights_by_almost_the_same_losses() -> None:
    fp32, bf16 = (_trained(_config(training__precision=p)) for p in ("fp32", "bf16"))
    assert {p.dtype for p in (*bf16.model.parameters(), *bf16.ema.parameters())} == {torch.float32}
    assert bf16.losses != fp32.losses
    assert [loss for _, loss in bf16.losses] == pytest.approx([loss for _, loss in fp32.losses], rel=0.02)


def test_the_average_holds_no_graph() -> None:
    trainer = Trainer(_config(), data.load(_config().data).train)
    list(trainer.run())
    assert all(p.grad_fn is None and not p.requires_grad for p in trainer.ema.parameters())


def test_a_step_is_adamws_written_out() -> None:
    """Loshchilov & Hutter 2019 (arXiv:1711.05101), algorithm 2, with the decay 0.01 times the learning rate."""
    config = _config(training__learning_rate=0.02, training__train_steps=3)
    trainer = Trainer(config, _images())
    weights = [p.detach().double().clone() for p in trainer.model.parameters()]
    firsts, seconds = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for step, _ in enumerate((p for p in trainer.run() if p.metrics), start=1):
        rate = learning_rate(config.training, step - 1)
        for i, parameter in enumerate(trainer.model.parameters()):
            grad = parameter.grad.double()
            firsts[i] = 0.9 * firsts[i] + 0.1 * grad
            seconds[i] = 0.999 * seconds[i] + 0.001 * grad**2
            first, second = firsts[i] / (1 - 0.9**step), seconds[i] / (1 - 0.999**step)
            weights[i] = weights[i] - rate * (first / (second.sqrt() + 1e-8) + 0.01 * weights[i])
            assert_close(parameter.detach().double(), weights[i], rtol=0, atol=2e-5)
    assert step == 3
