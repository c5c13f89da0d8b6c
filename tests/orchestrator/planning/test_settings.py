from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.planning.settings import described, parse_settings, parse_variant, read_variants


def test_a_variant_on_the_command_line_reads_like_one_in_the_file():
    assert parse_variant("wide: unet.base_channels=96, segmentation.blocks=[6, 7],training.learning_rate=1e-4") == (
        "wide",
        {"unet.base_channels": 96, "segmentation.blocks": [6, 7], "training.learning_rate": 1e-4},
    )


@pytest.mark.parametrize("text", ["wide", "wide:", "wide: unet.base_channels", "wide: =3", "wide: a=1, a=2", "w: x=[1"])
def test_a_variant_of_another_form_is_refused(text):
    with pytest.raises(UsageError, match="--variant"):
        parse_variant(text)


def test_a_file_of_variants(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("wide: {unet.base_channels: 96}\nslow:\n  training.learning_rate: 1e-4\n")
    assert list(read_variants(path)) == ["wide", "slow"]


@pytest.mark.parametrize(
    "content",
    ["- a", "wide: 3", "wide: {a: 1", "\xff\xfe", "yes: {a: 1}", "w: {a: 1}\nw: {b: 1}", "w: {a: 1, a: 2}", "[" * 5000],
)
def test_a_file_that_holds_no_variants_is_refused_by_name(tmp_path: Path, content: str):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"mine\.yaml"):
        read_variants(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0100", 100), ("08", 8), ("-3", -3), ("1e4", 1e4), ("1e-4", 1e-4), ("+1.5E+3", 1500.0), (".5", 0.5)),
        *(("5.", 5.0), ("[010, 020]", [10, 20]), ("1:30", "1:30"), ("0x10", "0x10"), ("1.0.0", "1.0.0")),
    ],
)
def test_a_number_is_what_a_person_means_by_it(text: str, value: object):
    (found,) = parse_settings([f"training.train_steps={text}"]).values()
    assert (found, type(found)) == (value, type(value))


def test_a_number_in_a_file_of_variants_is_too(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("short: {training.train_steps: 0100, training.learning_rate: 1e-4}\n")
    assert read_variants(path) == {"short": {"training.train_steps": 100, "training.learning_rate": 1e-4}}


def test_the_seed_is_no_setting():
    with pytest.raises(UsageError, match="--seeds"):
        parse_settings(["seed=3"])


def test_a_delta_is_described_as_a_person_writes_it():
    assert described({"unet.block": "convnext", "segmentation.blocks": (6, 7)}) == (
        "unet.block=convnext, segmentation.blocks=[6, 7]"
    )
    assert described({}) == "-"
