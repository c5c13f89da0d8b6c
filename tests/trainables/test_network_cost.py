"""What a network costs: against what was counted by hand, kept by all that it follows from, and without torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from search_spaces.ablations import VARIANTS
from search_spaces.presets import bedroom, own, paper, quick
from trainables import network_cost as module
from trainables.config import apply
from trainables.data import About
from trainables.network_cost import NetworkCost, network_cost

GREY, RGB = (About(channels, ("a", "b"), 1000, 100, 100, "fingerprint") for channels in (1, 3))
PRESETS = {"quick": (quick, GREY), "paper": (paper, GREY), "own": (own, RGB)}
# Parameters, and twice the multiply-accumulates of a forward, by formulas that were written for these two U-Nets.
BY_HAND = {
    ("quick", "baseline"): (191_281, 22_005_760),
    ("quick", "adagn"): (203_761, 22_030_336),
    ("quick", "convnext"): (116_657, 13_598_720),
    ("quick", "cosine"): (191_281, 22_005_760),
    ("quick", "no_attention"): (169_841, 19_417_088),
    ("paper", "baseline"): (48_331_905, 4_257_513_472),
    ("paper", "adagn"): (49_581_953, 4_260_003_840),
    ("paper", "convnext"): (18_515_137, 1_833_705_472),
    ("paper", "cosine"): (48_331_905, 4_257_513_472),
    ("paper", "no_attention"): (44_516_993, 3_945_562_112),
    ("own", "baseline"): (1_671_267, 455_663_616),
    ("own", "adagn"): (1_745_571, 455_811_072),
    ("own", "convnext"): (812_067, 237_273_088),
    ("own", "cosine"): (1_671_267, 455_663_616),
    ("own", "no_attention"): (1_472_355, 424_206_336),
}
BEDROOM = {5: 693_251_866_624, 8: 796_876_341_248, 12: 1_211_350_122_496}  # to the last block
ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    module._known.cache_clear()
    yield tmp_path / "cache"
    module._known.cache_clear()


@pytest.mark.parametrize(("preset", "variant"), BY_HAND)
def test_unets_cost_what_was_counted_by_hand(preset: str, variant: str) -> None:
    make, about = PRESETS[preset]
    config = apply(make(), VARIANTS[variant])
    found, (parameters, flops) = network_cost(config, about), BY_HAND[preset, variant]
    assert found.parameters == parameters
    assert found.forward_flops == pytest.approx(flops, rel=0.01)
    # These presets read the last block: all but the head is computed.
    assert found.features_flops == pytest.approx(flops, rel=0.02)
    assert found.features_flops < found.forward_flops


@pytest.mark.parametrize("block", BEDROOM)
def test_guided_diffusions_unet_costs_what_was_counted_by_hand(block: int) -> None:
    found = network_cost(apply(bedroom(), {"segmentation.blocks": (block,)}), RGB)
    assert found.parameters == 552_814_086
    assert found.forward_flops == pytest.approx(2_239_665_537_024, rel=0.01)
    assert found.features_flops == pytest.approx(BEDROOM[block], rel=0.01)
    assert found.feature_channels == {5: 1024, 8: 512, 12: 256}[block]


def test_another_input_and_another_output_are_counted_by_hand() -> None:
    plain = network_cost(quick(), GREY)
    conditioned = network_cost(apply(quick(), {"training.self_conditioning": True}), GREY)
    varied = network_cost(apply(quick(), {"diffusion.learned_variance": True, "sampling.sampler": "ddpm"}), GREY)
    one_more = 9 * quick().unet.base_channels  # a 3x3 kernel between one image and the base channels
    assert conditioned.parameters == plain.parameters + one_more
    assert varied.parameters == plain.parameters + one_more + 1  # and a bias
    for other in (conditioned, varied):
        assert other.forward_flops == plain.forward_flops + 2 * one_more * 16 * 16
    assert conditioned.features_flops == plain.features_flops + 2 * one_more * 16 * 16
    assert varied.features_flops == plain.features_flops


def test_the_papers_features_have_512_channels_a_timestep() -> None:
    assert network_cost(paper(), GREY).feature_channels == 256 + 128 + 64 + 64


def test_what_was_counted_once_is_kept(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = network_cost(quick(), GREY)
    (kept,) = (empty_cache / "network_costs").iterdir()
    module._known.cache_clear()
    monkeypatch.setattr(module, "_counted", lambda *_: pytest.fail("counted again"))
    assert network_cost(apply(quick(), {"seed": 3, "training.train_steps": 5}), GREY) == first
    module._known.cache_clear()
    with pytest.raises(pytest.fail.Exception, match="counted again"):
        network_cost(apply(quick(), {"unet.base_channels": 24}), GREY)
    assert list((empty_cache / "network_costs").iterdir()) == [kept]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"parameters": 3}', '{"parameters": 3, "more": 1}'])
def test_what_is_damaged_is_counted_again(damage: str, empty_cache: Path) -> None:
    first = network_cost(quick(), GREY)
    (kept,) = (empty_cache / "network_costs").iterdir()
    kept.write_text(damage)
    module._known.cache_clear()
    assert network_cost(quick(), GREY) == first


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "file" / "below"))
    module._known.cache_clear()
    assert network_cost(quick(), GREY).parameters == 191_281


def test_another_code_of_the_network_is_counted_anew(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network_cost(quick(), GREY)
    changed = empty_cache / "blocks.py"
    changed.write_text("# another block")
    monkeypatch.setattr(module, "CODE", (*module.CODE[:-1], changed))
    module._code.cache_clear()
    module._known.cache_clear()
    wrong = NetworkCost(1, 2, 3, 4)
    monkeypatch.setattr(module, "_counted", lambda *_: wrong)
    assert network_cost(quick(), GREY) == wrong
    monkeypatch.undo()
    module._code.cache_clear()


def test_the_code_that_the_counts_follow_from_is_all_there() -> None:
    names = {path.name for path in module.CODE}
    assert {"network_cost.py", "sections.py", "unet.py", "blocks.py", "guided_diffusion.py"} <= names
    assert all(path.is_file() for path in module.CODE)


def test_a_known_cost_needs_no_torch(empty_cache: Path) -> None:
    code = (
        "import sys; from search_spaces.presets import quick; from trainables.stages import stage_flops; "
        "from trainables.data import about; c = quick(); stage_flops(c, about(c.data)); "
        "sys.exit('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code]
    assert [subprocess.run(words, cwd=ROOT, check=False).returncode for _ in range(2)] == [1, 0]
