"""The batched ensemble against its members as separate networks, the vote, and a problem that it must learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from trainables.evaluation import pixel_classifier
from trainables.evaluation.features import FeatureMaps
from trainables.evaluation.pixel_classifier import Ensemble, Labelled, Trainer, vote
from trainables.sections import Segmentation

IGNORE, FEATURES, CLASSES, SIZE = 255, 6, 4, 8
HIDDEN = pytest.mark.parametrize("hidden", [(16, 8), (5,), ()], ids=str)


def _segmentation(**settings: object) -> Segmentation:
    return Segmentation(**{"ensemble_size": 3, "hidden_channels": (16, 8), "batch_size": 8, "epochs": 2} | settings)


def _maps(maps: list[Tensor]) -> FeatureMaps:
    return FeatureMaps([m.permute(0, 2, 3, 1).contiguous() for m in maps], SIZE)


def _trainer(maps: FeatureMaps, masks: Tensor, segmentation: Segmentation, seed: int = 0) -> Trainer:
    return Trainer(Labelled(maps, masks, IGNORE), None, CLASSES, segmentation, seed)


def _problem(images: int = 2) -> tuple[FeatureMaps, Tensor]:
    """Random maps of two sizes and random masks, a fifth of them ignored."""
    g = torch.Generator().manual_seed(0)
    maps = _maps([torch.randn(images, c, s, s, generator=g) for c, s in ((2, 4), (4, SIZE))])
    masks = torch.randint(CLASSES, (images, SIZE, SIZE), generator=g)
    masks[torch.rand(masks.shape, generator=g) < 0.2] = IGNORE
    return maps, masks


def _trained(maps: FeatureMaps, masks: Tensor, segmentation: Segmentation, seed: int = 0) -> Ensemble:
    return _result(_trainer(maps, masks, segmentation, seed))


def _result(trainer: Trainer) -> Ensemble:
    making = trainer.run()
    while True:
        try:
            next(making)
        except StopIteration as done:
            return done.value


def _randomised(ensemble: Ensemble) -> Ensemble:
    """No bias, gain or running statistic at its initial value."""
    torch.manual_seed(1)
    for parameter in ensemble.parameters():
        nn.init.normal_(parameter, std=0.5)
    for norm in ensemble.norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return ensemble


def _member(ensemble: Ensemble, member: int) -> nn.Sequential:
    """One member as a network of its own, with copied weights."""
    layers: list[nn.Module] = []
    for depth, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
        linear = nn.Linear(weight.shape[1], weight.shape[2])
        linear.weight.data, linear.bias.data = weight[member].T.detach().clone(), bias[member, 0].detach().clone()
        layers.append(linear)
        if depth < len(ensemble.norms):
            width = weight.shape[2]
            norm, own = nn.BatchNorm1d(width), slice(member * width, (member + 1) * width)
            for name, value in ensemble.norms[depth].state_dict().items():
                norm.state_dict()[name].copy_(value[own] if value.ndim else value)
            layers += [nn.ReLU(), norm]
    return nn.Sequential(*layers)


@HIDDEN
@pytest.mark.parametrize("training", [True, False])
def test_forward_is_that_of_separate_networks(hidden: tuple[int, ...], training: bool) -> None:
    ensemble = _randomised(Ensemble(FEATURES, CLASSES, _segmentation(hidden_channels=hidden), seed=0))
    members = [_member(ensemble, m).train(training) for m in range(3)]
    ensemble.train(training)
    x = torch.randn(3, 10, FEATURES, generator=torch.Generator().manual_seed(2))
    for _ in range(2):  # the second time the running statistics have moved
        found = ensemble(x)
        assert_close(
            found, torch.stack([net(part) for net, part in zip(members, x, strict=True)]), rtol=1e-4, atol=1e-5
        )
    after = [_member(ensemble, m).state_dict() for m in range(3)]
    for net, state in zip(members, after, strict=True):
        for name, value in net.state_dict().items():
            assert_close(value, state[name])


@HIDDEN
def test_training_moves_each_member_as_training_it_alone(
    hidden: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    maps, masks = _problem()
    segmentation = _segmentation(hidden_channels=hidden, learning_rate=1e-2)
    batches: list[tuple[Tensor, Tensor]] = []
    original = pixel_classifier._epoch

    def spied(*args: object) -> list[tuple[Tensor, Tensor]]:
        found = list(original(*args))
        batches.extend(found)
        return found

    monkeypatch.setattr(pixel_classifier, "_epoch", spied)
    start = Ensemble(FEATURES, CLASSES, segmentation, seed=7)
    end = _trained(maps, masks, segmentation, seed=7)
    assert len(batches) > 10
    for m in range(3):
        net, expected = _member(start, m), _member(end, m).state_dict()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(net(x[m]), y[m]).backward()
            optimizer.step()
        for name, value in net.state_dict().items():
            assert_close(value, expected[name], rtol=1e-3, atol=2e-4)
        untrained = _member(start, m).state_dict()
        moved = max(float((expected[k] - v).abs().max()) for k, v in untrained.items() if v.ndim)
        assert moved > 0.05  # or the comparison above would say nothing


@pytest.mark.parametrize("chunk", [1, 3 * 8 * FEATURES * 2, 2**24])
def test_every_member_meets_every_labelled_pixel_once_an_epoch_in_its_own_order(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_classifier, "CHUNK", chunk)
    pixels = torch.arange(2.0 * SIZE**2).reshape(2, 1, SIZE, SIZE)
    maps = _maps([pixels.expand(-1, FEATURES, -1, -1)])
    masks = torch.arange(2 * SIZE**2).reshape(2, SIZE, SIZE)  # a pixel's number, to be told again by its features
    masks.flatten()[1::2] = -1
    wanted = torch.arange(0, 2 * SIZE**2, 2)
    labelled = Labelled(maps, masks, -1)
    orders = []
    for epoch in (0, 1):
        x, y = zip(*pixel_classifier._epoch(labelled, _segmentation(), 0, epoch, done=0), strict=True)
        assert {tuple(part.shape) for part in x} == {(3, 8, FEATURES)}
        numbers = torch.cat(y, dim=1)
        assert torch.equal(torch.cat(x, dim=1)[:, :, 0].long(), numbers)
        assert all(torch.equal(member.sort().values, wanted) for member in numbers)
        orders += [tuple(member.tolist()) for member in numbers]
    assert len(set(orders)) == 6


@pytest.mark.parametrize("hidden", [(16, 8), (1,)], ids=["up-sampled first", "projected first"])
def test_predict_is_the_forward_on_all_pixels(hidden: tuple[int, ...]) -> None:
    maps, _ = _problem()
    ensemble = _randomised(Ensemble(FEATURES, CLASSES, _segmentation(hidden_channels=hidden), seed=0)).eval()
    ensemble.weights[0].data *= 10  # so that the features decide, and not the biases
    for image in range(2):
        index = torch.arange(image * SIZE**2, (image + 1) * SIZE**2)
        logits = ensemble(maps.pixels(index).expand(3, -1, -1))
        expected = vote(logits.argmax(-1).reshape(3, SIZE, SIZE), CLASSES)
        assert len(expected.unique()) > 1
        found = ensemble.predict(maps, image)
        # Two orders of summation: a near tie may fall to the other side.
        assert float((found.classes == expected).float().mean()) > 0.98
        p = logits.detach().softmax(-1).double().numpy()
        divergence = stats.entropy(p.mean(0), axis=-1) - stats.entropy(p, axis=-1).mean(0)
        assert_close(found.disagreement.flatten().double(), torch.from_numpy(divergence), rtol=1e-3, atol=1e-4)
        assert found.uncertainty == pytest.approx(np.sort(divergence)[-6:].mean(), rel=1e-2)


def test_a_linear_probe_learns_what_a_line_tells_apart_and_predicts_by_one_matrix() -> None:
    g = torch.Generator().manual_seed(0)
    small = torch.randn(2, 4, SIZE, SIZE, generator=g)
    maps, masks = _maps([small]), small[:, :CLASSES].argmax(1)
    probe = _trained(maps, masks, _segmentation(hidden_channels=(), epochs=40, learning_rate=0.05))
    assert [tuple(weight.shape) for weight in probe.weights] == [(3, 4, CLASSES)] and not probe.norms
    for image in range(2):
        logits = torch.einsum("mdk,dhw->mhwk", probe.weights[0], small[image]) + probe.biases[0][:, None]
        found = probe.predict(maps, image).classes
        assert torch.equal(found, vote(logits.argmax(-1), CLASSES))
        assert float((found == masks[image]).float().mean()) > 0.9


@pytest.mark.parametrize("values", [1, 2**23], ids=["a member at a time", "all members at once"])
def test_how_many_members_predict_at_once_does_not_matter(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, _ = _problem()
    ensemble = _randomised(Ensemble(FEATURES, CLASSES, _segmentation(), seed=0)).eval()
    expected = ensemble.predict(maps, 1)
    monkeypatch.setattr(pixel_classifier, "PREDICT_VALUES", values)
    found = ensemble.predict(maps, 1)
    assert torch.equal(found.classes, expected.classes)
    assert_close(found.disagreement, expected.disagreement, rtol=1e-4, atol=1e-6)


def test_members_that_agree_have_no_divergence() -> None:
    maps, _ = _problem()
    ensemble = _randomised(Ensemble(FEATURES, CLASSES, _segmentation(ensemble_size=1), seed=0)).eval()
    assert float(ensemble.predict(maps, 0).disagreement.max()) < 1e-5


def test_image_by_image_a_batch_is_of_one_image_and_no_pixel_comes_twice() -> None:
    maps, masks = _problem(images=4)
    labelled = Labelled(maps, torch.where(masks == IGNORE, IGNORE, masks), IGNORE)
    segmentation = _segmentation(pixel_order="by_image")
    order = pixel_classifier._order(labelled, segmentation, 0, 0, 0)
    batches = order.reshape(-1, segmentation.batch_size) // SIZE**2
    assert all(len(batch.unique()) == 1 for batch in batches)
    assert len(order.unique()) == len(order)
    assert len(batches[:, 0].unique_consecutive()) == 4
    assert len(order) > 0.8 * int((masks != IGNORE).sum())
    assert not torch.equal(order, pixel_classifier._order(labelled, segmentation, 0, 1, 0))


def test_validation_loss_is_that_of_the_members_on_pixels_they_did_not_see() -> None:
    maps, masks = _problem()
    other, truth = _problem(images=3)
    validation = Labelled(other, truth, IGNORE)
    trainer = Trainer(Labelled(maps, masks, IGNORE), validation, CLASSES, _segmentation(), 0)
    alone = _trainer(maps, masks, _segmentation())
    ensemble, plain = _result(trainer), _result(alone)
    index = torch.cat(validation.pixels())
    logits = ensemble(other.pixels(index).expand(3, -1, -1))
    expected = F.cross_entropy(logits.flatten(0, 1), truth.flatten()[index].repeat(3))
    assert trainer.history[-1][1]["classifier_validation_loss"] == pytest.approx(expected.item(), rel=1e-4)
    # Measuring it changes nothing.
    assert all(torch.equal(a, b) for a, b in zip(ensemble.parameters(), plain.parameters(), strict=True))


def test_validation_images_that_are_all_void_give_no_loss() -> None:
    maps, masks = _problem()
    void = Labelled(maps, torch.full_like(masks, IGNORE), IGNORE)
    trainer = Trainer(Labelled(maps, masks, IGNORE), void, CLASSES, _segmentation(), 0)
    _result(trainer)
    assert set(trainer.history[-1][1]) == {"classifier_loss"}


def test_predict_is_in_eval_mode() -> None:
    maps, _ = _problem()
    ensemble = _randomised(Ensemble(FEATURES, CLASSES, _segmentation(), seed=0)).train()
    before = [norm.running_mean.clone() for norm in ensemble.norms]
    ensemble.predict(maps, 0)
    assert all(torch.equal(norm.running_mean, b) for norm, b in zip(ensemble.norms, before, strict=True))


@pytest.mark.parametrize("members", [1, 2, 5, 10])
def test_vote_is_the_mode_and_ties_go_to_the_smallest(members: int) -> None:
    predicted = torch.randint(CLASSES, (members, 30, 30), generator=torch.Generator().manual_seed(0))
    assert torch.equal(vote(predicted, CLASSES), torch.from_numpy(stats.mode(predicted.numpy(), axis=0).mode))


@pytest.mark.parametrize(("votes", "winner"), [([3, 1], 1), ([0, 3, 3], 3), ([2, 2, 0, 0, 1], 0), ([3, 2, 1, 0], 0)])
def test_vote_by_hand(votes: list[int], winner: int) -> None:
    assert vote(torch.tensor(votes)[:, None, None], CLASSES).item() == winner


def test_separable_problem_is_learnt_and_ignored_pixels_are_not() -> None:
    g = torch.Generator().manual_seed(0)
    truth = torch.randint(CLASSES, (4, SIZE, SIZE), generator=g)
    noise = torch.randn(4, FEATURES, SIZE, SIZE, generator=g)
    maps = _maps([F.one_hot(truth, FEATURES).permute(0, 3, 1, 2) * 4 + noise * 0.3])
    masks = truth.clone()
    masks[0] = IGNORE
    ensemble = _trained(maps, masks, _segmentation(epochs=30, learning_rate=1e-2))
    predicted = torch.stack([ensemble.predict(maps, i).classes for i in range(4)])
    assert not ensemble.training
    assert float((predicted == truth).float().mean()) > 0.99


def test_members_start_apart_from_a_normal_of_002_by_the_seed() -> None:
    one, again, other = (Ensemble(200, CLASSES, _segmentation(), seed) for seed in (0, 0, 1))
    assert float(one.weights[0].detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not any(bias.any() for bias in one.biases)
    assert torch.equal(one.weights[0], again.weights[0])
    assert not torch.equal(one.weights[0], other.weights[0])
    assert not torch.equal(one.weights[0][0], one.weights[0][1])


def test_same_seed_trains_the_same_ensemble() -> None:
    maps, masks = _problem()
    torch.manual_seed(0)
    one, again = _trained(maps, masks, _segmentation()), _trained(maps, masks, _segmentation())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))


def test_trainer_that_takes_over_ends_with_the_same_ensemble_to_the_last_bit() -> None:
    maps, masks = _problem()
    whole = _trained(maps, masks, _segmentation(epochs=3))
    first = _trainer(maps, masks, _segmentation(epochs=3))
    running = first.run()
    while first.epoch < 1:
        next(running)
    state = first.state()
    list(running)
    second = _trainer(maps, masks, _segmentation(epochs=3))
    second.load_state(state)
    assert second.epoch == 1
    ended = _result(second).state_dict()
    assert all(torch.equal(value, ended[name]) for name, value in whole.state_dict().items())
    assert second.history == first.history


def test_progress_counts_the_steps_of_all_epochs() -> None:
    maps, masks = _problem()
    batches = int((masks != IGNORE).sum()) // 8
    seen = [p for p in _trainer(maps, masks, _segmentation(epochs=3)).run() if p.metrics]
    assert [(p.step, p.steps) for p in seen] == [(batches * e, batches * 3) for e in (1, 2, 3)]
    losses = [p.metrics["classifier_loss"] for p in seen]
    assert losses[0] == pytest.approx(torch.tensor(float(CLASSES)).log().item(), abs=0.1)


def test_batch_larger_than_the_labelled_pixels_names_the_setting() -> None:
    maps, masks = _problem()
    with pytest.raises(ValueError, match=r"segmentation\.batch_size must be at most the \d+ labelled pixels.*got 999"):
        _trainer(maps, masks, _segmentation(batch_size=999))
