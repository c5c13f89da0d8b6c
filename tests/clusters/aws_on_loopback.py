"""docs/cluster.md's "On AWS", its commands as they stand there, against a fake of AWS on this machine.

Run by test_aws.py in namespaces of its own; prints each step with its time, and at the end what was seen, as JSON.
`cluster.yaml` is edited as a user is told to. A study runs, and its worker is taken away in the middle.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import aws_calls  # sets keys of its own in the environment, which moto takes until `prepare`
import boto3
import botocore.exceptions
import yaml
from cloud import ACCOUNT, ENDPOINT, LAPTOP, Cloud, Machine, make_network
from waiting import step, wait_until

ROOT = Path(__file__).parents[2]
BUCKET = "somebodys-bucket"
IDLE_MINUTES = 1.5
RAY = {"RAY_USAGE_STATS_ENABLED": "0"}
WELL_BEGUN = 20  # steps of training
LIMIT_S = 900.0  # for anything to happen
COMMAND = "python -m orchestrator.run ablations $ABLATION_PLACE --address auto"
KEYS = ("access_key_id", "secret_access_key", "session_token")
RUNS = """
import json, mlflow
client = mlflow.MlflowClient("http://127.0.0.1:5000")
(study,) = [e for e in client.search_experiments() if e.name != "Default"]
seen = {}
for run in client.search_runs([study.experiment_id], "tags.seed LIKE '%'"):
    steps = [m.step for m in client.get_metric_history(run.info.run_id, "loss")]
    seen[run.info.run_name] = {"status": run.info.status, "metrics": run.data.metrics, "steps": steps}
print("SEEN" + json.dumps(seen))
"""


until = partial(wait_until, limit_s=LIMIT_S, pause_s=0.3)


def documented(word: str) -> str:
    """The commands of docs/cluster.md's part on AWS, of the block that has the word in it, for this bucket."""
    text = (ROOT / "docs" / "cluster.md").read_text()
    part = text[text.index("## On AWS") : text.index("### The policies")]
    (block,) = [block for block in re.findall(r"(?:\n {7,}.*)+", part) if word in block]
    filled = block.replace("YOUR-BUCKET", BUCKET).replace("FOLDER", "my-data")
    return "\n".join(line[7:] for line in filled.splitlines())


def policies() -> dict[str, dict]:
    """The documented policies, by the files' names. moto knows no single machines: it would refuse what names them."""
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.S)
    filled = [json.loads(b.replace("YOUR-BUCKET", BUCKET).replace("YOUR-ACCOUNT", ACCOUNT)) for b in blocks]
    for policy in filled[:2]:
        for statement in policy["Statement"]:
            statement["Resource"] = "*"
    return dict(zip(("laptop.json", "head.json", "bucket.json"), filled, strict=True))


class Laptop:
    """The user's machine, with a checkout whose cluster.yaml is edited."""

    def __init__(self, folder: Path, region: str) -> None:
        self.folder = folder
        settings = {"AWS_ENDPOINT_URL": ENDPOINT, "AWS_DEFAULT_REGION": region}
        self.machine = Machine(folder / "laptop", "laptop", LAPTOP, settings)
        self.keys: dict[str, str] = {}
        self.commands = 0
        self._copy_checkout()

    def _copy_checkout(self) -> None:
        code = self.machine.home / "checkout"
        ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
        shutil.copytree(ROOT, code, ignore=shutil.ignore_patterns(".git", *ignored))
        text = (code / "cluster.yaml").read_text()
        for old, new in (
            ("s3://YOUR-BUCKET", f"s3://{BUCKET}"),
            ("&idle_minutes 5\n", f"&idle_minutes {IDLE_MINUTES}\n"),
        ):
            assert text.count(old) == 1
            text = text.replace(old, new)
        (code / "cluster.yaml").write_text(text)
        for name, policy in policies().items():
            (code / name).write_text(json.dumps(policy))
        for data in (code / "my-data" / "mine", self.machine.home / ".cache" / "diffusion-ablations"):
            data.mkdir(parents=True)
            (data / "an-image").write_text("x")
        subprocess.run(["chown", "-R", "1000:1000", code, self.machine.home / ".cache"], check=True)

    def start(self, command: str) -> subprocess.Popen:
        """Starts a command in the checkout; what it says goes to a file of its number."""
        self.commands += 1
        self.said = self.folder / f"command-{self.commands}.log"
        words = self.machine.words(f"cd ~/checkout && {command}", **RAY, **self.keys)
        with self.said.open("wb") as log:
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def run(self, command: str) -> str:
        """What a command says that must succeed."""
        code = self.start(command).wait(LIMIT_S)
        said = self.said.read_text()
        assert code == 0, f"{command}\nended with {code}:\n{said[-6000:]}"
        return said


def prepare(cloud: Cloud, laptop: Laptop) -> None:
    """Steps 1 to 3, by the account's owner; then moto lets nobody do more than the policies say."""
    iam = cloud.client("iam")
    owner = keys_of_user(iam, "owner", {"Version": "2012-10-17", "Statement": [allow_all()]})
    researcher = keys_of_user(iam, "researcher", policies()["laptop.json"])
    laptop.keys = owner
    for word in ("clusters/secrets.sh", "s3 mb", "s3 sync", "iam create-role"):
        laptop.run(documented(word))
    cloud.enforce()
    os.environ |= owner
    boto3.setup_default_session()  # which has read the environment before
    laptop.keys = researcher


def allow_all() -> dict[str, str]:
    return {"Effect": "Allow", "Action": "*", "Resource": "*"}


def keys_of_user(iam, name: str, policy: dict) -> dict[str, str]:
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def refusals(cloud: Cloud) -> list[str]:
    """What becomes of calls that the policies do not allow."""
    codes = []
    for profile, call in (("ablations-worker", "describe_instances"), ("ablations-head", "describe_key_pairs")):
        keys = {f"aws_{name}": cloud.credentials[profile][f"AWS_{name.upper()}"] for name in KEYS}
        try:
            getattr(boto3.client("ec2", region_name=cloud.region, **keys), call)()
        except botocore.exceptions.ClientError as error:
            codes.append(error.response["Error"]["Code"])
    return codes


def instances(cloud: Cloud, kind: str, *states: str) -> list[str]:
    """The ids of the head or the workers that are in one of the states, the eldest first."""
    found = sorted(cloud.instances(), key=lambda one: one["LaunchTime"])
    tags = {one["InstanceId"]: {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])} for one in found}
    return [
        one["InstanceId"]
        for one in found
        if tags[one["InstanceId"]].get("ray-node-type") == kind and one["State"]["Name"] in states
    ]


def checkpoints(cloud: Cloud) -> dict[str, int]:
    """The last complete checkpoint of each model that is being trained."""
    pages = cloud.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="store/checkpoints/")
    last: dict[str, int] = {}
    for page in pages:
        for one in page.get("Contents", []):
            *_, model, number, name = one["Key"].split("/")
            if model.startswith("ddpm-") and name == "manifest.json":
                last[model] = max(last.get(model, 0), int(number))
    return last


def well_begun(cloud: Cloud) -> bool:
    """Whether both models are so far that going on differs from beginning anew."""
    steps = checkpoints(cloud).values()
    return len(steps) == 2 and min(steps) >= WELL_BEGUN


def read_again(cloud: Cloud, since: int) -> dict[str, list[int]]:
    """The checkpoints that were read since so many letters of moto's log, by the model."""
    found: dict[str, list[int]] = {}
    pattern = rf'"GET /{BUCKET}/store/checkpoints/(ddpm-[^/]+)/(\d+)/state.pt'
    for model, number in re.findall(pattern, cloud.log.read_text()[since:]):
        found.setdefault(model, []).append(int(number))
    return found


def study(cloud: Cloud, laptop: Laptop, words: str, seen: dict) -> None:
    """Step 7, and Amazon takes the worker back in its middle."""
    process = laptop.start(f"ray exec cluster.yaml {shlex.quote(words)}")
    said = laptop.said
    try:
        with step("the autoscaler has launched a worker"):
            until(lambda: instances(cloud, "worker", "running") or process.poll() is not None, "a worker runs")
        (worker,) = instances(cloud, "worker", "running")
        seen["gpu_worker"] = aws_calls.described(cloud.region, worker)
        with step("the worker is set up, and both models are in training"):
            until(
                lambda: sum(n >= WELL_BEGUN for n in checkpoints(cloud).values()) == 2 or process.poll() is not None,
                "both models have checkpoints",
            )
        with step("the worker is taken away"):
            seen["checkpoints"], log = checkpoints(cloud), len(cloud.log.read_text())
            cloud.client("ec2").terminate_instances(InstanceIds=[worker])
            until(lambda: worker in cloud.killed, "the worker is gone")
        with step("another worker is there"):
            until(lambda: instances(cloud, "worker", "running") or process.poll() is not None, "another worker runs")
        with step("the study has ended"):
            seen["study"] = process.wait(LIMIT_S)
        seen["read_again"] = read_again(cloud, log)
    finally:
        process.kill()
        seen["said"] = said.read_text()


def scenario(cloud: Cloud, laptop: Laptop, words: list[str], seen: dict) -> None:
    with step("token, bucket, data, roles"):
        prepare(cloud, laptop)
    seen["refusals"] = refusals(cloud)
    cloud.watch()
    with step("ray up"):
        laptop.run(documented("ray up").replace("ray up", "ray up -y"))
    (head,) = instances(cloud, "head", "running")
    seen["head"] = aws_calls.described(cloud.region, head)
    with step("check"):
        seen["check"] = laptop.run(documented("orchestrator.run check"))
    study(cloud, laptop, f"{COMMAND} {shlex.join(words)}", seen)
    with step("check of a worker whose GPU does not answer"):
        seen["no_gpu"] = [laptop.start(documented("orchestrator.run check")).wait(LIMIT_S), laptop.said.read_text()]
    with step("what MLflow has"):
        said = laptop.run(f"ray exec cluster.yaml {shlex.quote(f'python -c {shlex.quote(RUNS)}')}")
        seen["runs"] = json.loads(said[said.index("SEEN") + 4 :].splitlines()[0])
    with step("the last worker has gone"):
        until(lambda: not instances(cloud, "worker", "pending", "running"), "no worker runs")
    seen["asked"] = (cloud.machines[head].root / "var" / "log" / "asked").read_text()
    name = re.search(r"study (\S+):", seen["said"])[1]
    with step("the report, and ray down"):
        laptop.run(documented("ray down").replace("NAME", name).replace("ray down", "ray down -y"))
    seen["brought"] = [path.name for path in (laptop.machine.home / "checkout" / "runs-of-the-cluster").rglob("*.html")]
    until(lambda: head in cloud.killed, "the head is gone")
    seen["states"] = {one["InstanceId"]: one["State"]["Name"] for one in cloud.instances()}
    seen["workers"] = len(seen["states"]) - 1


def main(folder: Path, words: list[str]) -> None:
    region = yaml.safe_load((ROOT / "cluster.yaml").read_text())["provider"]["region"]
    seen: dict = {}
    make_network()
    cloud = Cloud(folder, region)
    os.environ["AWS_ENDPOINT_URL"] = ENDPOINT
    laptop = Laptop(folder, region)
    try:
        scenario(cloud, laptop, words, seen)
    finally:
        seen["errors"] = cloud.errors
        print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
