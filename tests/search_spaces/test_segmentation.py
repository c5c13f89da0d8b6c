import pytest

from search_spaces.segmentation import CONFIGURATIONS


@pytest.mark.parametrize("preset", CONFIGURATIONS)
def test_every_preset_has_its_configurations(preset):
    assert "baseline" in CONFIGURATIONS[preset]
    assert len(CONFIGURATIONS[preset]) >= 8
