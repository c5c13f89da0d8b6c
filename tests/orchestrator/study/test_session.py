from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.study.session import makers_first
from search_spaces.spaces import SEGMENTATION


def test_trials_that_train_a_ddpm_of_their_own_come_first(tiny):
    trials = plan.build(Request(SEGMENTATION, settings=tiny, chosen=["by_image", "one_member"], seeds=[0, 1])).trials
    ordered = makers_first(trials)
    assert sorted(t.name for t in ordered) == sorted(t.name for t in trials)
    assert [t.name for t in ordered[:4]] == ["baseline-seed0", "untrained-seed0", "baseline-seed1", "untrained-seed1"]
