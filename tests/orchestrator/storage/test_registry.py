"""Which studies refer to which artefacts, and what is pruned: never what a study refers to."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.storage.registry import Registry, _modified
from search_spaces.spaces import ABLATIONS
from trainables.store import Store, checkpoint_folder

MINUTE = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)


@pytest.fixture(params=["folder", "memory"])
def registry(request, tmp_path):
    root = str(tmp_path / "store") if request.param == "folder" else f"memory://{uuid.uuid4().hex}/store"
    return Registry(root)


@pytest.fixture(scope="module")
def trials(tiny):
    """The baseline's and cosine's trials, of two seeds each."""
    return plan.build(Request(ABLATIONS, settings=tiny, chosen=["cosine"], seeds=[0, 1])).trials


def of(trials, variant, seed):
    return next(t for t in trials if t.row == (variant, seed))


def artefacts(*trials):
    return {pair for trial in trials for pair in trial.stages.items()}


def make(store, wanted, content="x"):
    for stage, key in wanted:
        with store.publish(stage, key, {}) as folder:
            (folder / "file").write_text(content)


def referred(registry):
    """The studies by artefact, as the entries tell them."""
    return {(entry.stage, entry.key): entry.studies for entry in registry.entries()}


def test_a_study_keeps_what_an_earlier_command_of_it_referred_to(registry, trials):
    first, second = of(trials, "baseline", 0), of(trials, "cosine", 1)
    make(registry.store, artefacts(first, second))
    registry.enter("mine", 0, [first])
    registry.enter("mine", 0, [second])
    assert registry.prune() == []
    assert referred(registry) == dict.fromkeys(artefacts(first, second), ("mine",))


def test_a_new_generation_refers_to_what_is_below_its_own_root(registry, trials):
    trial = of(trials, "baseline", 0)
    make(registry.store, artefacts(trial), "old")
    assert registry.generation("mine") == 0
    registry.enter("mine", 0, [trial])
    registry.enter("mine", 1, [trial])
    assert registry.generation("mine") == 1
    make(Store(registry.root_of(1)), artefacts(trial), "newer")
    found = {(entry.root, entry.stage, entry.key): entry.studies for entry in registry.entries()}
    assert found == {(registry.root, *pair): () for pair in artefacts(trial)} | {
        (f"{registry.root}/fresh-1", *pair): ("mine",) for pair in artefacts(trial)
    }
    assert {(entry.root, entry.stage, entry.key) for entry in registry.prune()} == {
        (registry.root, *pair) for pair in artefacts(trial)
    }
    assert {entry.root for entry in registry.entries()} == {f"{registry.root}/fresh-1"}


def test_pruning_takes_what_no_study_refers_to_with_its_checkpoints_and_what_was_set_aside(registry, trials):
    kept, gone = of(trials, "baseline", 0), of(trials, "cosine", 0)
    only = artefacts(gone) - artefacts(kept)
    make(registry.store, artefacts(kept, gone))
    for stage, key in artefacts(kept, gone):
        make(registry.store, [(checkpoint_folder(stage, key), "000000000007")])
    make(registry.store, [("fid", "damaged-one")])
    with pytest.warns(UserWarning, match="set aside"):
        registry.store.set_aside("fid", "damaged-one", "by the test")
    registry.enter("mine", 0, [kept])
    assert {(entry.stage, entry.key) for entry in registry.prune()} == only
    assert only
    assert referred(registry) == dict.fromkeys(artefacts(kept), ("mine",))
    for stage, key in artefacts(kept, gone):
        left = registry.store.keys(checkpoint_folder(stage, key))
        assert left == ([] if (stage, key) in only else ["000000000007"])
    assert not registry.store.fs.exists(f"{registry.store.root}/damaged")


def test_an_artefact_of_two_studies_stays_until_both_are_forgotten(registry, trials):
    trial = of(trials, "baseline", 0)
    make(registry.store, artefacts(trial))
    for name in ("one", "other"):
        registry.enter(name, 0, [trial])
    assert set(referred(registry).values()) == {("one", "other")}
    assert registry.studies() == ["one", "other"]
    assert registry.forget("one")
    assert not registry.forget("one")
    assert registry.prune() == []
    assert registry.forget("other")
    assert registry.studies() == []
    assert len(registry.prune()) == len(artefacts(trial))
    assert list(registry.entries()) == []


def test_an_entry_says_its_size_and_when_it_was_made(registry, trials):
    make(registry.store, [("ddpm", "key")], "twelve bytes")
    (entry,) = registry.entries()
    manifest = len(registry.store.fs.cat_file(f"{registry.store.root}/ddpm/key/manifest.json"))
    assert (entry.root, entry.stage, entry.key) == (registry.root, "ddpm", "key")
    assert entry.bytes == 12 + manifest
    assert entry.made.tzinfo is not None
    assert replace(entry, bytes=0) != entry


@pytest.mark.parametrize(
    ("told", "made"),
    [
        ({"mtime": 60.0, "created": 3600.0}, MINUTE),  # a folder's file, whose time of creation says nothing
        ({"LastModified": MINUTE}, MINUTE),  # S3
        ({"created": MINUTE}, MINUTE),  # memory
        ({}, datetime.fromtimestamp(0, UTC)),
    ],
)
def test_filesystems_tell_the_time_of_writing_in_ways_of_their_own(told, made):
    assert _modified(told) == made


def test_a_store_that_nobody_used_yet_has_nothing(registry):
    assert (registry.studies(), list(registry.entries()), registry.prune()) == ([], [], [])
    assert registry.generation("mine") == 0
    assert not registry.forget("mine")


def test_what_is_written_is_what_the_docstring_says(tmp_path, trials):
    registry, trial = Registry(str(tmp_path)), of(trials, "baseline", 0)
    registry.enter("mine", 2, [trial])
    content = json.loads((tmp_path / "studies" / "mine.json").read_text())
    assert content == {"generation": 2, "artefacts": sorted(map(list, artefacts(trial)))}
