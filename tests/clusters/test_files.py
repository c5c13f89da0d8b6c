"""The cluster files: what Ray makes of them, what they start, and what must not stand in them.

Nothing here reaches a cloud. What speaks to the fake of one runs in a network of its own that has loopback only.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from orchestrator.cluster.connection import ENVIRONMENT

ROOT = Path(__file__).parents[2]
FILES = ("cluster.yaml", "clusters/onprem.yaml", "clusters/gcp.yaml")
CLOUDS = ("cluster.yaml", "clusters/gcp.yaml")
RAYJOB = "clusters/kuberay.yaml"
COMMANDS = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
SECRETS = (
    r"AKIA[0-9A-Z]{16}",
    r"-----BEGIN",
    r"\b[0-9A-Fa-f]{32,}\b",
    r"(?i)(password|passwd|secret|token|credential)\w*['\"]?\s*[:=]\s*['\"]?(?=\S*\d)[A-Za-z0-9+/_-]{8,}",
    r"//[^/\s:@]+:[^/\s:@]+@",  # of a URI
)


def prepared(name):
    """The file as Ray uses it: checked, with Ray's own defaults for all that the file leaves out."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((ROOT / name).read_text()))
    validate_config(config)
    return config


@pytest.fixture(scope="module", params=FILES)
def config(request):
    return prepared(request.param)


def commands(config, *kinds):
    return [command for kind in kinds or COMMANDS for command in config[f"{kind}_commands"]]


def test_a_file_passes_rays_validation_and_keeps_what_it_says(config):
    assert config["cluster_name"] == "ablations"
    assert config["head_node_type"] in config["available_node_types"]
    assert config["max_workers"] >= 1


def test_rays_validation_refuses_a_misspelt_key():
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    validate_config(prepare_config(config))
    with pytest.raises(ValidationError, match="idle_timeout_minute' was unexpected"):
        validate_config(prepare_config(config | {"idle_timeout_minute": 5}))


def test_no_command_is_one_of_rays_own_and_none_names_a_nightly(config):
    from ray.autoscaler._private.providers import _get_default_config

    defaults = _get_default_config(config["provider"])
    theirs = {command for kind in COMMANDS for command in defaults[f"{kind}_commands"]}
    assert theirs
    assert not theirs & set(commands(config))
    assert not re.search(r"nightly|ray-wheels|\.dev0|\.whl", " ".join(commands(config)))


def test_every_command_is_one_that_a_shell_can_read(config):
    for command in commands(config):
        answer = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert (answer.returncode, answer.stderr) == (0, ""), command


def test_every_ray_that_is_started_or_stopped_asks_for_the_token(config):
    for kind in ("head_start_ray", "worker_start_ray"):
        starts = [command for command in commands(config, kind) if re.search(r"\bray start\b", command)]
        assert len(starts) == 1
    for command in commands(config):
        for match in re.finditer(r"\bray (start|stop)\b", command):
            assert command[: match.start()].endswith("RAY_AUTH_MODE=token "), command


def test_the_token_comes_as_a_file_that_only_its_owner_reads(config):
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for kind in ("head_setup", "worker_setup"):
        assert "chmod 600 ~/.ray/auth_token" in " ".join(commands(config, kind))


def test_the_dashboard_listens_on_loopback_alone(config):
    (start,) = [command for command in commands(config, "head_start_ray") if "ray start" in command]
    assert [word for word in shlex.split(start) if "dashboard-host" in word] == ["--dashboard-host=127.0.0.1"]


def test_the_checkout_is_installed_once_with_our_versions(config):
    assert config["file_mounts"]["~/ablations/code"] == "."
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    extra = [package.partition(">")[0] for package in extras["cluster"]]
    for kind in ("head_setup", "worker_setup"):
        (install,) = [command for command in commands(config, kind) if "pip install" in command]
        words = shlex.split(install)
        assert " ".join(words).count("cd ~/ablations/code &&") == 1
        assert words[words.index("--constraint") + 1] == "constraints.txt"
        known = {".[cluster]": extra, ".": []}[words[words.index("--editable") + 1]]
        assert {"mlflow[auth]", "psycopg[binary]", "ray[default]"} <= {*words, *known}
    pins = (ROOT / "constraints.txt").read_text()
    assert re.search(r"^ray==\d", pins, re.M) and re.search(r"^mlflow==\d", pins, re.M)


@pytest.mark.parametrize("name", CLOUDS)
def test_a_worker_is_set_up_once(name):
    from ray.autoscaler._private.util import prepare_config

    config = prepared(name)
    on_the_head = prepare_config(yaml.safe_load(json.dumps(config)))  # where the autoscaler prepares it once more
    assert on_the_head["worker_setup_commands"] == config["worker_setup_commands"] == config["head_setup_commands"]
    assert len(set(config["worker_setup_commands"])) == len(config["worker_setup_commands"]) > 0


def test_mlflow_is_started_after_ray_by_our_script(config):
    *_, ray, mlflow = commands(config, "head_start_ray")
    assert "ray start --head" in ray
    assert mlflow.endswith("~/ablations/code/clusters/mlflow-server.sh start")
    assert os.access(ROOT / "clusters" / "mlflow-server.sh", os.X_OK)


@pytest.mark.parametrize("name", [*FILES, RAYJOB, "clusters/env.sh", "clusters/mlflow-server.sh", "docs/cluster.md"])
def test_no_secret_stands_in_a_file(name):
    text = (ROOT / name).read_text()
    assert [match.group() for pattern in SECRETS for match in re.finditer(pattern, text)] == []


@pytest.mark.parametrize(
    "line", ["MLFLOW_PASSWORD=hunter2hunter2", "auth_token: 0123456789abcdef", "postgresql://me:secret@host/db"]
)
def test_a_secret_would_be_seen(line):
    assert any(re.search(pattern, line) for pattern in SECRETS)


@pytest.mark.parametrize("name", FILES)
def test_every_key_of_a_file_is_explained(name):
    lines = (ROOT / name).read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"[a-z_]+:", line)]
    assert len(keys) > 10
    assert [lines[number] for number in keys if not lines[number - 1].startswith("# ")] == []


@pytest.mark.parametrize("name", CLOUDS)
def test_what_one_edits_is_written_in_one_place(name):
    text = (ROOT / name).read_text()
    edited = yaml.safe_load(text)["metadata"]
    body = text[text.index("\ncluster_name:") :]
    for key, value in edited.items():
        assert f"{key}: &{key} " in text
        assert re.search(rf"\*{key}\b", body), key
        assert isinstance(value, int) or str(value) not in body, key


@pytest.mark.parametrize("name", CLOUDS)
def test_a_cloud_has_a_head_without_trials_and_workers_that_come_and_go(name):
    config = prepared(name)
    head, worker = (config["available_node_types"][kind] for kind in ("head", "gpu_worker"))
    assert head["resources"] == {"CPU": 0}
    assert (worker["min_workers"], worker["max_workers"]) == (0, config["max_workers"])
    assert 0 < config["idle_timeout_minutes"] <= 15
    assert config["provider"]["cache_stopped_nodes"] is False


def test_on_premises_every_worker_is_used():
    config = prepared("clusters/onprem.yaml")
    (kind,) = config["available_node_types"].values()
    assert kind["min_workers"] == kind["max_workers"] == len(config["provider"]["worker_ips"]) == 2
    # `ray up` puts an export of 1 before the command: ours must be nearer to Ray.
    (start,) = [command for command in commands(config, "head_start_ray") if "ray start" in command]
    assert re.search(r"&& RAY_enable_autoscaler_v2=0 RAY_AUTH_MODE=token ray start", start)


def shell(home, command, **environment):
    """What a command prints, in a home of its own that has the checkout where a node has it."""
    code = home / "ablations" / "code"
    code.parent.mkdir(parents=True, exist_ok=True)
    if not code.exists():
        code.symlink_to(ROOT)
    answer = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home), **environment},
    )  # fmt: skip
    return answer.stdout


def test_a_nodes_processes_get_the_settings(config, tmp_path):
    settings, *_ = commands(config, "head_setup")
    for _ in range(2):  # `ray up` runs it again
        shell(tmp_path, settings)
    seen = shell(tmp_path, ". ~/ablations/code/clusters/env.sh && env", OMP_NUM_THREADS="1")
    variables = dict(line.split("=", 1) for line in seen.splitlines() if "=" in line)
    assert variables["ABLATION_SHARED"].startswith(("s3://", "gs://", "/"))
    assert variables["RAY_AUTH_MODE"] == "token"
    assert variables["RAY_AUTH_TOKEN_PATH"] == f"{tmp_path}/.ray/auth_token"
    assert variables["PATH"].startswith(f"{tmp_path}/ablations/env/bin:")
    shared, home = variables["ABLATION_SHARED"], tmp_path
    place = ["--storage", f"{home}/ablations/runs", "--store", f"{shared}/store", "--tracking-uri"]
    assert variables["ABLATION_PLACE"].split() == [*place, "http://127.0.0.1:5000"]
    assert variables["ABLATION_CACHE"] == f"{tmp_path}/ablations/cache"
    assert "ABLATION_DATA" not in variables
    assert "OMP_NUM_THREADS" not in variables
    common = {name for name in ENVIRONMENT if name in variables}
    assert {"RAY_USAGE_STATS_ENABLED", "RAY_memory_monitor_refresh_ms"} <= common
    assert {name: variables[name] for name in common} == {name: ENVIRONMENT[name] for name in common}


def test_a_nodes_data_are_used_where_it_has_some(tmp_path):
    (tmp_path / "ablations" / "data").mkdir(parents=True)
    seen = shell(tmp_path, '. ~/ablations/code/clusters/env.sh && echo "$ABLATION_DATA"')
    assert seen == f"{tmp_path}/ablations/data\n"


def test_data_are_copied_to_a_nodes_own_disk(config, tmp_path):
    shared = tmp_path / "mnt"
    (shared / "data" / "voc").mkdir(parents=True)
    (shared / "data" / "voc" / "an-image").write_text("x")
    *_, copy = commands(config, "worker_setup")
    said = shell(tmp_path, copy, ABLATION_SHARED=str(shared))
    assert said == f"{shared}/cache: 0 files, 0 copied\n{shared}/data: 1 files, 1 copied\n"
    assert (tmp_path / "ablations" / "data" / "voc" / "an-image").read_text() == "x"
    assert not (tmp_path / "ablations" / "cache").exists()


@pytest.mark.parametrize("name", CLOUDS)
def test_a_bucket_that_nobody_put_in_is_told_before_anything_is_installed(name, tmp_path):
    settings, install, _ = commands(prepared(name), "head_setup")
    shell(tmp_path, settings)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        shell(tmp_path, install)
    assert (refused.value.returncode, refused.value.stdout.count("YOUR-BUCKET")) == (1, 1)
    assert refused.value.stderr == f"put your own name there, in {name}\n"


@pytest.mark.parametrize(("known", "said"), [({"RAY_CLOUD_INSTANCE_ID": "10.0.0.10"}, "10.0.0.10"), ({}, None)])
def test_the_head_on_premises_goes_by_the_address_of_the_file(tmp_path, known, said):
    *_, start, _ = commands(prepared("clusters/onprem.yaml"), "head_start_ray")
    ray = tmp_path / "ablations" / "env" / "bin" / "ray"
    ray.parent.mkdir(parents=True)
    ray.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    ray.chmod(0o755)
    words = shell(tmp_path, start, **known).splitlines()
    assert "--head" in words
    assert [word for word in words if "node-ip" in word] == ([f"--node-ip-address={said}"] if said else [])


def rayjob():
    return yaml.safe_load((ROOT / RAYJOB).read_text())


def test_the_rayjob_runs_our_command():
    words = shlex.split(rayjob()["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "orchestrator.run", "ablations"]
    answer = subprocess.run(
        [sys.executable, *words[1:4], "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    flags = [word for word in words if word.startswith("--")]
    assert {"--address", "--store", "--storage"} <= set(flags)
    assert [flag for flag in flags if not re.search(rf"{flag}\b", answer.stdout)] == []


def test_every_pod_takes_what_the_bucket_has(tmp_path):
    spec = rayjob()["spec"]["rayClusterSpec"]
    pods = [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]
    (bucket, cache) = (tmp_path / "bucket", tmp_path / "cache")
    for pod in pods:
        ((_, _, script),) = (container["command"] for container in pod["initContainers"])
        here = script.replace("s3://YOUR-BUCKET", f"file://{bucket}").replace('"/cache/"', f'"{cache}/"')
        subprocess.run([sys.executable, "-c", here], check=True)  # a bucket without a cache
        (bucket / "cache" / "data").mkdir(parents=True)
        (bucket / "cache" / "data" / "images").write_text("x")
        cache.mkdir()
        subprocess.run([sys.executable, "-c", here], check=True)
        assert (cache / "data" / "images").read_text() == "x"
        shutil.rmtree(bucket)
        shutil.rmtree(cache)


def test_rays_autoscaler_can_use_the_rayjob():
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    spec = rayjob()["spec"]["rayClusterSpec"]
    cluster = {"metadata": {"name": "ablations", "namespace": "default"}, "spec": spec}
    types = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert types["gpu"]["resources"]["GPU"] == 1
    assert (types["gpu"]["min_workers"], types["gpu"]["max_workers"]) == (0, 8)


def test_the_rayjob_asks_for_the_token_and_our_version_of_ray():
    job = rayjob()
    spec = job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert spec["authOptions"] == {"mode": "token"}
    assert f"\nray=={spec['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        assert environment["RAY_memory_monitor_refresh_ms"] == ENVIRONMENT["RAY_memory_monitor_refresh_ms"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in group["template"]["spec"]["volumes"]}


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """What Ray's AWS provider asked of a fake of AWS, and what came of it."""
    # In a network of its own: should the fake not catch a call, it ends there.
    offline = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*offline, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a network namespace")
    answer = subprocess.run(
        [*offline, sys.executable, str(Path(__file__).with_name("aws_calls.py")), str(ROOT / "cluster.yaml")],
        capture_output=True, text=True, check=False, timeout=120,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path_factory.mktemp("home"))},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout.splitlines()[-1])


def test_aws_gives_a_head_on_demand_and_a_spot_worker(launched):
    edited = yaml.safe_load((ROOT / "cluster.yaml").read_text())["metadata"]
    head, worker = launched["head"], launched["gpu_worker"]
    assert (head["type"], head["market"]) == (edited["head"], "on demand")
    assert (worker["type"], worker["market"]) == (edited["worker"], "spot")
    assert (head["disk"], worker["disk"]) == (edited["head_disk"], edited["worker_disk"])
    assert (head["profile"], worker["profile"]) == ("ablations-head", "ablations-worker")
    for machine in (head, worker):
        assert machine["region"] == edited["region"]
        assert machine["encrypted"] and machine["tokens"] == "required"
        assert machine["tags"]["project"] == machine["disk_tags"]["project"] == "diffusion-ablations"
        assert machine["tags"]["ray-cluster-name"] == "ablations"
        assert machine["state_after_down"] == "terminated"
    assert launched["resources"]["head"] == {"CPU": 0}
    assert launched["resources"]["gpu_worker"]["GPU"] == 1


def test_the_policies_of_the_docs_allow_what_ray_calls_and_little_more(launched):
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.S)
    policies = [json.loads(block) for block in blocks]
    laptop, head, bucket = ({action for one in p["Statement"] for action in one["Action"]} for p in policies)
    # What the fake does not see: Ray hands over the machines' roles, and AWS itself looks the image up.
    unseen = {"iam:PassRole", "ssm:GetParameters"}
    assert laptop - unseen == set(launched["calls"]["laptop"])
    assert head - unseen == set(launched["calls"]["head"])
    assert all(action.startswith("s3:") for action in bucket)
    assert not [action for action in laptop | head | bucket if "*" in action]
