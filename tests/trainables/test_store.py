"""The store, in a folder and on another filesystem: what is published is found whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainables.store import MANIFEST, Artefact, Store, hashed

STAGE, KEY = "ddpm", "0123456789abcdef0123"
FACTS = {"wall_time_s": 1.5, "machine": "here"}
Open = Callable[[], Store]


@pytest.fixture(params=["folder", "memory"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one store, each time as another machine would: with a cache of its own."""
    root = str(tmp_path / "store") if request.param == "folder" else f"memory://{uuid.uuid4().hex}/store"
    yield lambda: Store(root, cache=tmp_path / "cache" / uuid.uuid4().hex)
    store = Store(root)
    if store.fs.exists(store.root):
        store.fs.rm(store.root, recursive=True)


def _fill(folder: Path, content: str = "weights") -> None:
    (folder / "weights.bin").write_text(content)
    (folder / "deep").mkdir()
    (folder / "deep" / "loss.json").write_text(json.dumps([content]))


def _publish(store: Store, content: str = "weights") -> None:
    with store.publish(STAGE, KEY, dict(FACTS)) as folder:
        _fill(folder, content)


def _content(found: Artefact | None) -> tuple[str, Any]:
    assert found is not None
    return (found / "weights.bin").read_text(), found.json("deep/loss.json")


def _files(store: Store) -> list[str]:
    """All that the store and its cache hold."""
    cached = [str(p) for p in store.cache.rglob("*")] if store.cache.exists() else []
    published = sorted(store.fs.find(store.root, withdirs=True)) if store.fs.exists(store.root) else []
    return [*cached, *published]


def test_what_is_published_is_found_with_its_facts(opened: Open) -> None:
    _publish(opened())
    found = opened().find(STAGE, KEY)
    assert _content(found) == ("weights", ["weights"])
    assert found is not None
    assert found.facts == FACTS
    assert opened().has(STAGE, KEY)


def test_what_is_not_published_is_not_found(opened: Open) -> None:
    _publish(opened())
    for stage, key in ((STAGE, "another"), ("samples", KEY)):
        assert opened().find(stage, key) is None
        assert not opened().has(stage, key)


@pytest.mark.parametrize(("umask", "folders", "files"), [(0o002, 0o775, 0o664), (0o077, 0o700, 0o600)])
def test_who_may_read_and_remove_an_artefact_follows_from_the_umask(
    umask: int, folders: int, files: int, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        _publish(Store(tmp_path / "store"))
    finally:
        os.umask(before)
    made = [*(tmp_path / "store").rglob("*")]
    assert len(made) == 6
    for path in made:
        assert path.stat().st_mode & 0o777 == (folders if path.is_dir() else files)


def test_facts_may_be_filled_inside_the_block(opened: Open) -> None:
    facts: dict[str, Any] = {}
    with opened().publish(STAGE, KEY, facts) as folder:
        _fill(folder)
        facts["wall_time_s"] = 7.0
    found = opened().find(STAGE, KEY)
    assert found is not None
    assert found.facts == {"wall_time_s": 7.0}


def test_manifest_tells_size_and_checksum_of_every_file(opened: Open) -> None:
    _publish(opened())
    found = opened().find(STAGE, KEY)
    assert found is not None
    assert found.json(MANIFEST)["files"] == {
        "weights.bin": {"bytes": 7, "sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"},
        "deep/loss.json": {"bytes": 11, "sha256": "0c204328503f6788acb5a427c624b495432418fd08024f032c6bb0533009a20b"},
    }


def test_nothing_is_to_be_seen_before_the_block_is_left(opened: Open) -> None:
    with opened().publish(STAGE, KEY, {}) as folder:
        _fill(folder)
        assert not opened().has(STAGE, KEY)
        assert opened().find(STAGE, KEY) is None
    assert opened().has(STAGE, KEY)


def test_manifest_goes_last_where_there_is_no_rename(tmp_path: Path) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}", cache=tmp_path)
    put, seen = store.fs.put_file, []

    class Spy:
        """The filesystem, which looks before every file whether a reader would take the artefact for whole."""

        def __getattr__(self, name: str) -> Any:
            return getattr(original, name)

        def put_file(self, source: str, target: str) -> None:
            seen.append((target.rsplit("/", 1)[1], store.has(STAGE, KEY)))
            put(source, target)

    original, store.fs = store.fs, Spy()
    with store.publish(STAGE, KEY, {}) as folder:
        _fill(folder)
        (folder / "zz.txt").write_text("after the manifest in the alphabet")
    assert sorted(name for name, _ in seen) == ["loss.json", MANIFEST, "weights.bin", "zz.txt"]
    assert seen[-1][0] == MANIFEST
    assert not any(whole for _, whole in seen)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_exception_leaves_nothing_behind(opened: Open, error: type[BaseException]) -> None:
    store = opened()

    def fails() -> None:
        with store.publish(STAGE, KEY, {}) as folder:
            _fill(folder)
            raise error("half-way")

    with pytest.raises(error, match="half-way"):
        fails()
    assert not [f for f in _files(store) if Path(f) not in (Path(store.root), store.cache)]
    _publish(store)
    assert _content(store.find(STAGE, KEY)) == ("weights", ["weights"])


def test_nothing_but_the_artefact_is_left_after_publishing(opened: Open) -> None:
    store = opened()
    _publish(store)
    folder = f"{store.root}/{STAGE}/{KEY}"
    left = {f.removeprefix(f"{folder}/") for f in _files(store) if f.startswith(f"{folder}/")}
    assert left == {"weights.bin", "deep", "deep/loss.json", MANIFEST}
    assert {f for f in _files(store) if not f.startswith(folder)} <= {store.root, f"{store.root}/{STAGE}"}


def _flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes] | None]] = {
    "a flipped bit": ("weights.bin", _flipped),
    "a truncated file": ("weights.bin", lambda content: content[:-1]),
    "an emptied file": ("deep/loss.json", lambda content: b""),
    "a grown file": ("weights.bin", lambda content: content + b"\0"),
    "a missing file": ("weights.bin", None),
    "a truncated manifest": (MANIFEST, lambda content: content[: len(content) // 2]),
    "an emptied manifest": (MANIFEST, lambda content: b""),
    "a manifest of nothing": (MANIFEST, lambda content: b"{}"),
    "a manifest that is a list": (MANIFEST, lambda content: b"[1]"),
    "a manifest that is no text": (MANIFEST, lambda content: b"\xff\xfe\x00"),
}


def _damage(store: Store, name: str, change: Callable[[bytes], bytes] | None) -> None:
    path = f"{store.root}/{STAGE}/{KEY}/{name}"
    content = store.fs.cat_file(path)
    store.fs.rm_file(path)
    if change is not None:
        store.fs.pipe_file(path, change(content))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_set_aside_and_made_good(opened: Open, damage: str) -> None:
    name, change = DAMAGES[damage]
    _publish(opened())
    _damage(opened(), name, change)
    with pytest.warns(UserWarning, match=rf"damaged artefact {STAGE}/{KEY} \({name}\): set aside as"):
        assert opened().find(STAGE, KEY) is None
    store = opened()
    assert not store.has(STAGE, KEY)
    [aside] = [p.rsplit("/", 1)[1] for p in store.fs.ls(f"{store.root}/damaged", detail=False)]
    assert aside.startswith(f"{STAGE}-{KEY}-")
    assert store.fs.exists(f"{store.root}/damaged/{aside}/{MANIFEST}")
    _publish(store, "anew")
    assert _content(opened().find(STAGE, KEY)) == ("anew", ["anew"])


def test_manifest_without_facts_is_damaged(opened: Open) -> None:
    _publish(opened())
    _damage(opened(), MANIFEST, lambda content: content.replace(b'"facts"', b'"fakes"'))
    with pytest.warns(UserWarning, match="damaged artefact"):
        assert opened().find(STAGE, KEY) is None


def test_what_was_fetched_before_is_not_trusted_after_damage(opened: Open) -> None:
    store = opened()
    _publish(store)
    assert store.find(STAGE, KEY) is not None
    _damage(store, "weights.bin", _flipped)
    with pytest.warns(UserWarning, match="damaged artefact"):
        assert store.find(STAGE, KEY) is None
    _publish(store, "anew")
    assert _content(store.find(STAGE, KEY)) == ("anew", ["anew"])


def test_without_its_manifest_an_artefact_is_not_there_and_can_be_made(opened: Open) -> None:
    _publish(opened())
    _damage(opened(), MANIFEST, None)
    assert opened().find(STAGE, KEY) is None
    _publish(opened(), "anew")
    assert _content(opened().find(STAGE, KEY)) == ("anew", ["anew"])


def test_of_two_publishers_both_succeed_and_one_artefact_is_whole(opened: Open) -> None:
    first, second = opened(), opened()
    with first.publish(STAGE, KEY, {}) as folder:
        _fill(folder, "slow")
        _publish(second, "quick")
        assert _content(opened().find(STAGE, KEY)) == ("quick", ["quick"])
    # What is published is never replaced: somebody may be reading it.
    assert _content(opened().find(STAGE, KEY)) == ("quick", ["quick"])


def test_a_folder_is_published_by_a_rename_and_not_file_by_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.publish(STAGE, KEY, {}) as folder:
        _fill(folder)
        made = {path.name: path.stat().st_ino for path in (folder, *folder.rglob("*"))}
    published = tmp_path / STAGE / KEY
    found = {path.name: path.stat().st_ino for path in published.rglob("*") if path.name != MANIFEST}
    assert found | {folder.name: published.stat().st_ino} == made


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds a file's name in /proc")
def test_every_file_is_on_the_disk_before_it_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    fsync, rename = os.fsync, os.rename

    def renamed(source: str, target: str) -> None:
        flushed.append(f"renamed to {Path(target).name}")
        rename(source, target)

    monkeypatch.setattr(
        os, "fsync", lambda fd: flushed.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name) or fsync(fd)
    )
    monkeypatch.setattr(os, "rename", renamed)
    _publish(Store(tmp_path))
    assert sorted(flushed[:-1]) == ["loss.json", MANIFEST, "weights.bin"]
    assert flushed[-1] == f"renamed to {KEY}"


def test_a_stage_may_be_a_folder_in_a_folder(opened: Open) -> None:
    with opened().publish("checkpoints/ddpm-1", "7", {}) as folder:
        _fill(folder)
    assert _content(opened().find("checkpoints/ddpm-1", "7")) == ("weights", ["weights"])
    assert opened().keys("checkpoints/ddpm-1") == ["7"]


def test_a_removal_that_is_cut_short_leaves_no_artefact(opened: Open) -> None:
    store = opened()
    _publish(store)

    class Cut:
        """The filesystem, on which the removal of the folder ends before it begins."""

        def __getattr__(self, name: str) -> Any:
            return getattr(original, name)

        def rm(self, path: str, recursive: bool) -> None:
            raise OSError("cut short")

    original, store.fs = store.fs, Cut()
    with pytest.raises(OSError, match="cut short"):
        store.remove(STAGE, KEY)
    assert original.exists(f"{store.root}/{STAGE}/{KEY}/weights.bin")
    assert not opened().has(STAGE, KEY)
    assert opened().find(STAGE, KEY) is None


def test_what_is_removed_is_gone_and_the_others_stay(opened: Open) -> None:
    store = opened()
    for key in ("one", "two"):
        with store.publish(STAGE, key, {}) as folder:
            _fill(folder)
    store.remove(STAGE, "one")
    store.remove(STAGE, "never there")
    assert store.keys(STAGE) == store.begun(STAGE) == ["two"]
    store.remove(STAGE)
    assert store.keys(STAGE) == []


def test_reader_finds_one_or_the_other_while_two_publishers_write_over_each_other(tmp_path: Path) -> None:
    """On an object store both may have looked before either wrote; by the key their files are the same ones."""
    root = f"memory://{uuid.uuid4().hex}"
    one, other = (Store(root, cache=tmp_path / name) for name in ("one", "other"))
    put, found = one.fs.put_file, []

    def publish(store: Store, by: str) -> None:
        with store.publish(STAGE, KEY, {"by": by}) as folder:
            _fill(folder)

    class Overtaken:
        """The filesystem of the first, which the other overtakes after one file, read after each one."""

        def __getattr__(self, name: str) -> Any:
            return getattr(original, name)

        def put_file(self, source: str, target: str) -> None:
            put(source, target)
            if not found:
                publish(other, "other")
            artefact = Store(root, cache=tmp_path / uuid.uuid4().hex).find(STAGE, KEY)
            found.append(artefact.facts["by"] if artefact else None)

    original, one.fs = one.fs, Overtaken()
    publish(one, "one")
    assert found == ["other", "other", "one"]


def test_key_does_not_depend_on_the_order_of_names() -> None:
    one = {"a": 1, "b": {"c": [1, 2], "d": None}}
    other = {"b": {"d": None, "c": (1, 2)}, "a": 1}
    assert hashed(one) == hashed(other)
    assert len(hashed(one)) == 20
    assert set(hashed(one)) <= set("0123456789abcdef")


def test_key_tells_values_apart() -> None:
    values = [{}, [], None, 0, 1, "1", 1.5, True, [1, 2], [2, 1], [[1], 2], {"a": 1}, {"a": 2}, {"b": 1}]
    assert len({hashed(value) for value in values}) == len(values)


def test_a_path_is_no_pattern() -> None:
    """`x[v2]` as a pattern would mean `xv` and `x2`: what lies there is somebody else's."""
    base = f"memory://{uuid.uuid4().hex}"
    mine, others = Store(f"{base}/x[v2]"), Store(f"{base}/xv")
    for store in (mine, others):
        _publish(store)
    mine.set_aside(STAGE, KEY, "not used")
    assert not mine.has(STAGE, KEY)
    _publish(mine)
    mine.remove(STAGE, KEY)
    assert not mine.begun(STAGE)
    assert others.has(STAGE, KEY)
    assert len(mine.begun("damaged")) == 1
    others.fs.rm(others.root, recursive=True)
