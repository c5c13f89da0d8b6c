import pytest

from orchestrator.errors import UsageError
from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from search_spaces.spaces import ABLATIONS, SEGMENTATION


def study(tiny, new=(), space=ABLATIONS, **kwargs):
    return plan.build(Request(space, settings=tiny, new=list(new), **kwargs))


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        ({}, "changes nothing"),
        ({"unet.norm": "group"}, "changes nothing"),
        ({"unet.norm": "adagn"}, "the same as variant adagn"),
        ({"unet.nrom": "adagn"}, "did you mean unet.norm"),
        ({"segmentation.timesteps": [1000]}, "at most 999"),
        ({"segmentation.label_images": 181}, "at most 200"),
        ({"data.dataset": "mnist"}, "a variant cannot change the dataset"),
    ],
)
def test_a_variant_that_cannot_be_is_named_with_the_reason(tiny, delta, said):
    with pytest.raises(UsageError, match=f"variant mine: .*{said}"):
        study(tiny, [("mine", delta)])


def test_a_variant_that_the_baseline_makes_void_is_left_out_and_named_unless_it_was_asked_for(tiny):
    cosine = tiny | {"diffusion.beta_schedule": "cosine"}
    (why,) = study(cosine).left_out
    assert why.startswith("variant cosine: changes nothing")
    assert "cosine" not in {t.variant for t in study(cosine).trials}
    assert not study(tiny).left_out
    with pytest.raises(UsageError, match="variant cosine: changes nothing"):
        study(cosine, chosen=["cosine"])


def test_a_variant_of_what_no_stage_uses_is_left_out_unless_it_was_asked_for(tiny):
    unused = tiny | {"stages": ("fid",)}
    assert [t.variant for t in study(unused, space=SEGMENTATION).trials if t.kind == "variant"] == ["baseline"]
    assert "one_member: the stages ddpm, samples, reference, fid make no use of it; it would repeat baseline" in str(
        study(unused, space=SEGMENTATION).left_out
    )
    with pytest.raises(UsageError, match="variant one_member: the stages"):
        study(unused, space=SEGMENTATION, chosen=["one_member"])


def test_a_configuration_that_the_data_are_too_few_for_is_left_out_unless_it_was_asked_for(tiny):
    many = tiny | {"segmentation.validation_images": 30}
    (why,) = [why for why in study(many, space=SEGMENTATION).left_out if "more_labels" in why]
    assert "at most 200" in why
    with pytest.raises(UsageError, match="variant more_labels"):
        study(many, space=SEGMENTATION, chosen=["more_labels"])
