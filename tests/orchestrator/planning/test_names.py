import pytest

from orchestrator.errors import UsageError
from orchestrator.planning.names import check_study_name, check_variant_name
from search_spaces.ablations import VARIANTS


@pytest.mark.parametrize("name", ["baseline", "adagn", "untrained", "a/b", "", "-x", "ü"])
def test_a_new_variant_needs_a_free_and_plain_name(name):
    with pytest.raises(UsageError, match=r"variant .*: the name"):
        check_variant_name(name, VARIANTS)


@pytest.mark.parametrize("name", ["a", "9", "A-b_c.d", "x" * 80])
def test_a_plain_name_is_a_studys_and_a_new_variants(name):
    check_study_name(name)
    check_variant_name(name, VARIANTS)


@pytest.mark.parametrize("name", ["block5-t100", "raw_pixels", "adagn", "Block5-T100", "Raw_Pixels", "AdaGN"])
def test_a_taken_name_is_said_to_be_taken(name):
    with pytest.raises(UsageError, match="the name is taken; choose another"):
        check_variant_name(name, VARIANTS)


@pytest.mark.parametrize("name", ["", "a/b", "-x", "x" * 81])
def test_another_name_is_no_studys(name):
    with pytest.raises(UsageError, match="--name: must be at most 80 letters"):
        check_study_name(name)
