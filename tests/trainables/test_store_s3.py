"""The store on an S3 server: moto's, on loopback, as a process of its own."""

import os
import subprocess
import sys
import time
import urllib.request

import pytest
from botocore.exceptions import EndpointConnectionError
from ports import free_port
from s3fs import S3FileSystem
from waiting import wait_for_answer, wait_until

from orchestrator.errors import UsageError
from orchestrator.storage.locations import check_store
from search_spaces.presets import quick
from trainables.claims import Claims
from trainables.config import apply
from trainables.pipeline import run_trial
from trainables.store import MANIFEST, Store

# Nothing of the user's own may be read or used: another endpoint, a profile, real credentials.
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
OURS = KEYS | {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="module")
def bucket():
    """The URI of an empty bucket; the environment leads every S3 client to the server on loopback."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (OURS | {"AWS_ENDPOINT_URL": endpoint}).items():
            patch.setenv(name, value)
        server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_answer(f"{endpoint}/moto-api", "the S3 server", 30, server)
            request = urllib.request.Request(f"{endpoint}/studies", method="PUT")
            urllib.request.urlopen(request, timeout=10).read()
            S3FileSystem.clear_instance_cache()  # a client of another test's keeps that test's credentials
            yield "s3://studies"
        finally:
            S3FileSystem.clear_instance_cache()
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def config(tiny):
    return apply(quick(), tiny)


@pytest.fixture(scope="module")
def local(config, tmp_path_factory):
    *_, last = run_trial(config, Store(tmp_path_factory.mktemp("local")))
    return last.result["metrics"]


def test_a_trial_on_s3_gives_the_figures_of_a_local_one_and_is_made_once(bucket, config, local, tmp_path):
    for machine in ("one", "other"):
        store = Store(f"{bucket}/trial", cache=tmp_path / machine)
        *records, last = run_trial(config, store, checkpoint_interval_s=0)
        assert last.result["metrics"] == local
    assert not [record for record in records if record.metrics]
    assert not store.keys("checkpoints")


def test_a_trial_that_was_given_up_goes_on_from_s3_elsewhere(bucket, config, local, tmp_path):
    stopped = run_trial(config, Store(f"{bucket}/resume", cache=tmp_path / "one"), checkpoint_interval_s=0)
    for record in stopped:
        if record.step == 3:
            break
    stopped.close()
    time.sleep(1)  # the last checkpoint is written in the background
    first, *_, last = run_trial(config, Store(f"{bucket}/resume", cache=tmp_path / "other"), checkpoint_interval_s=0)
    assert first.step > 0
    assert last.result["metrics"] == local


def test_a_damaged_file_is_found_set_aside_and_made_again(bucket, config, local, tmp_path):
    store = Store(f"{bucket}/damage", cache=tmp_path)
    list(run_trial(config, store))
    (key,) = store.keys("fid")
    store.fs.pipe_file(f"{store.root}/fid/{key}/metrics.json", b"{}")
    with pytest.warns(UserWarning, match="damaged artefact fid"):
        *_, last = run_trial(config, store)
    assert last.result["metrics"] == local
    assert store.fs.ls(f"{store.root}/damaged")


def test_an_artefact_without_its_manifest_is_none(bucket, tmp_path):
    store = Store(f"{bucket}/half", cache=tmp_path)
    with store.publish("fid", "key", {}) as folder:
        (folder / "metrics.json").write_text("{}")
    store.fs.rm_file(f"{store.root}/fid/key/{MANIFEST}")
    assert store.find("fid", "key") is None
    assert store.keys("fid") == []


@pytest.fixture
def unreachable(monkeypatch):
    """Lets a method of a filesystem fail so many times as it does without a connection, which is no OSError."""

    def break_off(fs, method, times):
        real, left = getattr(fs, method), iter(range(times))

        def call(*words, **named):
            if next(left, None) is not None:
                raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1", error="refused")
            return real(*words, **named)

        monkeypatch.setattr(fs, method, call)
        return left

    return break_off


@pytest.mark.parametrize("method", ["put_file", "exists", "pipe_file"])
def test_a_trial_waits_while_s3_cannot_be_reached(bucket, config, local, tmp_path, monkeypatch, unreachable, method):
    monkeypatch.setattr("trainables.pipeline.STORE_RETRY_S", 0.01)
    store = Store(f"{bucket}/away-{method}", cache=tmp_path)
    left = unreachable(store.fs, method, 3)
    *records, last = run_trial(config, store)
    assert next(left, None) is None
    assert [record.note for record in records if "cannot be used (Could not connect" in record.note]
    assert last.result["metrics"] == local


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore:checkpoint .* was not written")
def test_a_trial_goes_on_where_its_checkpoints_cannot_be_written(bucket, config, local, tmp_path, unreachable):
    store = Store(f"{bucket}/no-checkpoints", cache=tmp_path)
    left = unreachable(store.fs, "put_file", 2)
    *_, last = run_trial(config, store, checkpoint_interval_s=0)
    assert next(left, None) is None
    assert last.result["metrics"] == local


def test_a_claim_beats_on_when_s3_is_back(bucket, monkeypatch, unreachable):
    monkeypatch.setattr("trainables.claims.BEAT_S", 0.05)
    store = Store(f"{bucket}/beats")
    held = Claims(store).claim("ddpm-1")
    left = unreachable(store.fs, "pipe_file", 3)
    before = store.fs.cat_file(held.path)
    wait_until(lambda: store.fs.cat_file(held.path) != before, "a new beat", 20, pause_s=0.05)
    assert next(left, None) is None
    held.remove()


def test_claims_hold_on_s3(bucket):
    first, second = Claims(Store(f"{bucket}/claims")), Claims(Store(f"{bucket}/claims"))
    held = first.claim("ddpm-1")
    assert held is not None
    assert second.claim("ddpm-1") is None
    held.remove()
    second.claim("ddpm-1").remove()


def test_a_bucket_that_is_not_there_is_told_and_not_made(bucket):
    with pytest.raises(UsageError, match=r"cannot write to s3://a-misspelt-bucket/store .*bucket does not exist"):
        check_store("s3://a-misspelt-bucket/store")
    assert check_store(f"{bucket}/store") == f"{bucket}/store"
    assert Store(bucket).fs.ls("", refresh=True) == ["studies"]
