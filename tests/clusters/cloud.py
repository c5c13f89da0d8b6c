"""A cloud of machines in a network that nothing leaves, whose EC2 is moto's: what moto says runs, runs here.

Only for a process in network, mount and process namespaces of its own (test_aws.py says how): moto's addresses are
real ones elsewhere. A machine is machine.sh in namespaces below: a filesystem, processes and an address of its own,
and a real sshd. When moto ends an instance, all its processes are killed at once, as when Amazon takes one back; and
when that process ends, the kernel ends moto and all machines with it.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import boto3
from waiting import wait_for_answer, wait_until

ADDRESS = "192.168.255.1"  # of AWS
ENDPOINT = f"http://{ADDRESS}:4566"
LAPTOP = "192.168.255.2"
ACCOUNT = "123456789012"  # moto's
MACHINE = Path(__file__).with_name("machine.sh")
BOOT_LIMIT_S = 60.0

T = TypeVar("T")


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def make_network() -> None:
    """A wire for AWS and the machines.

    Raises:
        RuntimeError: this namespace has a way out.
    """
    links = [link["ifname"] for link in json.loads(run("ip", "-json", "link"))]
    if links != ["lo"]:
        raise RuntimeError(f"not in a network of its own: {', '.join(links)}")
    for words in (
        "link set lo up",
        "link add cloud type bridge",
        f"address add {ADDRESS}/32 dev cloud",
        "link set cloud up",
        "route add default dev cloud",
    ):
        run("ip", *words.split())


@dataclass
class Machine:
    """A machine that runs.

    Args:
        settings: of every process on it.
        public: its address outside of the cloud; "" for none.
        key: that opens it; "" for none.
    """

    folder: Path
    name: str
    address: str
    settings: dict[str, str]
    public: str = ""
    key: str = ""
    pid: int = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        aws = Path(sys.base_prefix, "bin", "aws")
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "ROOT": str(self.folder), "NAME": self.name, "ADDRESS": self.address, "PUBLIC": self.public,
            "KEY": self.key, "PREFIX": sys.prefix, "BASE": sys.base_prefix,
            "AWS": str(aws) if aws.exists() else shutil.which("aws") or "",
            "SETTINGS": " ".join(f"{name}={value}" for name, value in self.settings.items()),
        }  # fmt: skip
        spaces = ["unshare", "--mount", "--uts", "--net", "--pid", "--fork", "--kill-child", str(MACHINE)]
        with open(f"{self.folder}.log", "wb") as log:
            self.process = subprocess.Popen(spaces, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = int(self._booted(self._children, "a process in its namespaces"))
        wire = f"m{self.pid}"
        run("ip", "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        run("ip", "link", "set", wire, "master", "cloud", "up")
        self._booted((self.root / "run" / "sshd" / "config").exists, "sshd's configuration")

    @property
    def root(self) -> Path:
        """Its filesystem, seen from here."""
        return Path("/proc", str(self.pid), "root")

    @property
    def home(self) -> Path:
        return self.root / "home" / "ubuntu"

    def words(self, command: str, **environment: str) -> list[str]:
        """What runs a command there as its user."""
        spaces = ["nsenter", "--target", str(self.pid), "--mount", "--uts", "--net", "--pid"]
        user = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]
        variables = {"HOME": "/home/ubuntu", "USER": "ubuntu", "TERM": "dumb", "LANG": "C.UTF-8"}
        variables["PATH"] = f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin"
        pairs = [f"{name}={value}" for name, value in (variables | self.settings | environment).items()]
        return [*spaces, *user, "env", "-i", *pairs, "bash", "-c", command]

    def kill(self) -> None:
        """Ends every process on it at once."""
        self.process.kill()
        self.process.wait()

    def _children(self) -> str:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return children.read_text().strip() if children.exists() else ""

    def _booted(self, condition: Callable[[], T], what: str) -> T:
        log = Path(f"{self.folder}.log")
        return wait_until(condition, f"{what} of {self.name}", BOOT_LIMIT_S, 0.05, self.process, log)


class Cloud:
    """moto, and a machine for each instance that it says is there."""

    def __init__(self, folder: Path, region: str) -> None:
        self.folder, self.region = folder, region
        self.credentials: dict[str, dict[str, str]] = {}
        self.machines: dict[str, Machine] = {}
        self.killed: list[str] = []
        self.errors: list[str] = []
        self._start_moto()

    def _start_moto(self) -> None:
        self.log = self.folder / "moto.log"
        with self.log.open("wb") as log:
            self.moto = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", ADDRESS, "-p", ENDPOINT.rpartition(":")[2]],
                env=os.environ | {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for_answer(f"{ENDPOINT}/moto-api/", "moto", BOOT_LIMIT_S, self.moto, self.log)

    def client(self, service: str):
        return boto3.client(service, region_name=self.region, endpoint_url=ENDPOINT)

    def enforce(self) -> None:
        """From here on moto asks every caller for a key, and lets it do only what its policies allow.

        What the machines' roles are given is fetched before: moto cannot judge who may take on a service's role.
        """
        for profile in self.client("iam").list_instance_profiles()["InstanceProfiles"]:
            self.credentials[profile["InstanceProfileName"]] = self._credentials(profile)
        words = {"data": b"0", "headers": {"Content-Type": "text/plain"}, "method": "POST"}
        urllib.request.urlopen(urllib.request.Request(f"{ENDPOINT}/moto-api/reset-auth", **words)).read()

    def instances(self) -> list[dict]:
        answer = self.client("ec2").describe_instances()
        return [one for reservation in answer["Reservations"] for one in reservation["Instances"]]

    def watch(self) -> None:
        """Boots what moto has launched and kills what it has ended, from here on."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(0.5)
            try:
                self._follow()
            except Exception as error:  # this thread must not stop
                self.errors.append(repr(error))
                traceback.print_exc()

    def _follow(self) -> None:
        for one in self.instances():
            name, runs = one["InstanceId"], one["State"]["Name"] in ("pending", "running")
            if runs and name not in self.machines:
                self.machines[name] = self._boot(one)
            elif not runs and name in self.machines and name not in self.killed:
                self.machines[name].kill()
                self.killed.append(name)

    def _boot(self, one: dict) -> Machine:
        (key,) = self.client("ec2").describe_key_pairs(KeyNames=[one["KeyName"]], IncludePublicKey=True)["KeyPairs"]
        return Machine(
            self.folder / "machines" / one["InstanceId"],
            "ip-" + one["PrivateIpAddress"].replace(".", "-"),
            one["PrivateIpAddress"],
            {"AWS_ENDPOINT_URL": ENDPOINT} | self.credentials[one["IamInstanceProfile"]["Arn"].rpartition("/")[2]],
            one.get("PublicIpAddress", ""),
            key["PublicKey"],
        )

    def _credentials(self, profile: dict) -> dict[str, str]:
        """What a machine of this profile gets from Amazon's metadata service."""
        (role,) = profile["Roles"]
        given = self.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName=role["RoleName"])["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
            "AWS_SESSION_TOKEN": given["SessionToken"],
        }
