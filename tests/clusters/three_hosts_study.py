"""A study on three hosts from `ray up` to `ray down`, as docs/cluster.md says; prints what was seen as JSON.

    python tests/clusters/three_hosts_study.py FOLDER WORDS ...

The folder is empty, the words are the study's. Each step is said on stderr with the seconds that it took. The commands
are the document's; trials run on CPUs.
"""

import base64
import contextlib
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from three_hosts import ROOT, alone, lacking, rack
from waiting import step, wait_until

HEAD, WORKER, VICTIM = ADDRESSES = ("10.0.0.10", "10.0.0.11", "10.0.0.12")
FILE = "clusters/onprem.yaml"
STORE_PORT = 9000
NAME = "three-hosts"
PACKAGES = {
    "aiohttp_cors": "ray[default]", "boto3": "boto3", "flask_wtf": "mlflow[auth]", "moto": "moto[server]",
    "psycopg": "psycopg[binary]", "s3fs": "s3fs",
}  # fmt: skip
RAYLET = "raylet --raylet_socket"
TRIAL = "ray::TrialWorker"
WELL_BEGUN = 150  # steps; by then there is a checkpoint
LAPTOP_CUT_S = 20
MLFLOW = "http://127.0.0.1:5000"
PATIENCE_S = 600.0
INSIDE = "--inside"
KEYS = "[default]\naws_access_key_id = rack\naws_secret_access_key = rack\n"
SIGN_IN = "[mlflow]\nmlflow_tracking_username = admin\nmlflow_tracking_password = {}\n"
FIGURES = """
import json, sys
from results.metrics import METRICS
from results.trials import load_trials
names = {metric.name for metric in METRICS}
trials = load_trials(sys.argv[1], sys.argv[2])
rows = {f"{row['variant']}-seed{row['seed']}": row for row in trials.to_dict("records")}
print(json.dumps({name: {m: v for m, v in row.items() if m in names and v == v} for name, row in rows.items()}))
"""


until = partial(wait_until, limit_s=PATIENCE_S, pause_s=1.0)


class Scenario:
    """The steps, in the order in which `all` calls them."""

    def __init__(self, laptop, hosts, study) -> None:
        self.laptop, self.hosts, self.study = laptop, hosts, study
        self.head, self.seen = hosts[HEAD], {}

    def all(self):
        """Every step; what was seen."""
        self.prepare()
        self.alone()
        self.up()
        self.seen["check"] = self.check()
        self.start()
        self.cut_the_laptop()
        self.cut_a_worker()
        self.finish()
        self.seen["check of all again"] = self.check()
        self.read()
        self.strangers()
        self.down()
        return self.seen

    def on_laptop(self, command, limit_s=300.0):
        """The words of a command in the checkout on the laptop."""
        with step(f"laptop$ {command}"):
            done = self.laptop.run(f"cd ~/checkout && {command}", limit_s)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout}")
        return done.stdout

    def on_head(self, command, limit_s=300.0, options=""):
        """The words of a command that `ray exec` runs on the head."""
        return self.on_laptop(f"ray exec {options} {FILE} {shlex.quote(command)}", limit_s)

    def prepare(self):
        """What docs/cluster.md wants to be there: a checkout, secrets, keys, a shared store, an edited file."""
        with step("a checkout on the laptop, keys, an S3 server"):
            self._copy_checkout()
            made = self.laptop.run(
                "cd checkout && clusters/secrets.sh && ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/ablations"
            )
            assert made.returncode == 0, made.stdout
            key = self.laptop.run("cat ~/.ssh/ablations.pub").stdout
            for host in self.hosts.values():
                host.put("~/.ssh/authorized_keys", key)
                host.put("~/.aws/credentials", KEYS)
                self.laptop.run(f"ssh-keyscan -t ed25519 {host.address} >> ~/.ssh/known_hosts")  # as ssh-copy-id does
            self._serve_store()
            self._edit()

    def _copy_checkout(self):
        listed = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            stdout=subprocess.PIPE, check=True,
        ).stdout  # fmt: skip
        pack = ["tar", "-C", ROOT, "--null", "--files-from=-", "--create"]
        packed = subprocess.run(pack, input=listed, stdout=subprocess.PIPE, check=True).stdout
        unpack = self.laptop.words("mkdir checkout && tar -C checkout --extract")
        subprocess.run(unpack, input=packed, check=True)

    def _serve_store(self):
        """An S3 server on the head, by root: it stays when Ray goes."""
        python = self.head.environment / "bin/python"
        code = f"from moto.server import main; main(['-H', '{HEAD}', '-p', '{STORE_PORT}'])"
        self.head.start(f"exec {python} -c {shlex.quote(code)}", root=True)
        ask = f"import urllib.request as r; r.urlopen(r.Request('http://{HEAD}:{STORE_PORT}/ablations', method='PUT'))"
        until(lambda: self.laptop.run(f'python -c "{ask}"').returncode == 0, "the S3 server answers")

    def _edit(self):
        """The one line that differs here; addresses, account and key are the file's own."""
        edited = f"    ABLATION_SHARED=s3://ablations\\n    AWS_ENDPOINT_URL=http://{HEAD}:{STORE_PORT}"
        before = "    ABLATION_SHARED=/mnt/ablations"
        told = self.laptop.run(f"cd checkout && grep -cx '{before}' {FILE} && sed -i 's|^{before}$|{edited}|' {FILE}")
        assert told.stdout == "1\n", told.stdout

    def alone(self):
        """The same study on one machine."""
        self.on_laptop(f"python -m orchestrator.run ablations --storage ~/runs {self.study}", 600)
        self.seen["one machine"] = self._figures("sqlite:////home/researcher/runs/mlflow.db")

    def _figures(self, uri):
        said = self.laptop.run(f"cd checkout && python -c {shlex.quote(FIGURES)} {uri} {NAME}")
        assert said.returncode == 0, said.stdout
        return json.loads(said.stdout.splitlines()[-1])

    def up(self):
        """The head by `ray up`, the workers by the head's autoscaler."""
        self.on_laptop(f"ray up -y {FILE}", 900)
        with step("until Ray runs on every host"):
            until(lambda: all(host.processes(RAYLET) for host in self.hosts.values()), "three raylets")
        self.seen["code"] = self.on_head("cd / && python -c 'import orchestrator; print(orchestrator.__file__)'")

    def check(self):
        """What the preflight says; a task of its own runs on each host."""
        return self.on_head(
            f"python -m orchestrator.run check $ABLATION_PLACE --address auto --gpus-per-trial 0 {self.study}"
        )

    def start(self):
        """The study in a terminal that stays, and its trials on all hosts."""
        run = f"python -m orchestrator.run ablations $ABLATION_PLACE --address auto --gpus-per-trial 0 {self.study}"
        self.on_head(f"{run}; echo $? > ~/exit-code", options="--tmux")
        with step("until trials train on every host"):
            until(lambda: all(self._trials().values()), "trials on every host")
        self.seen["spread"] = self._trials()
        with step(f"until each of them has trained {WELL_BEGUN} steps"):
            until(lambda: len(self._well_begun()) >= sum(self.seen["spread"].values()), "trainings")

    def _trials(self):
        return {address: len(host.processes(TRIAL)) for address, host in self.hosts.items()}

    def _log(self):
        return self.head.run(f"cat ~/ablations/runs/studies/{NAME}/log.txt").stdout

    def _well_begun(self):
        steps = re.findall(r"(\S+): training (\d+)/", self._log())
        return {trial for trial, at in steps if int(at) >= WELL_BEGUN}

    def _driver(self):
        return self.head.run("pgrep -f 'python -m orchestrator.run ablations'").stdout.split()

    def cut_the_laptop(self):
        """The laptop is away while it shows the study's log, and then closed."""
        before = self._driver()
        shown = self.laptop.start(f"cd checkout && ray exec {FILE} 'sleep infinity'")
        until(lambda: self.head.processes("sleep infinity"), "an ssh that can be cut")
        with step(f"the laptop is cut off for {LAPTOP_CUT_S} s, its ssh with it"):
            self.laptop.cut()
            time.sleep(LAPTOP_CUT_S)
            self.laptop.run("pkill -9 -x ssh")
            self.laptop.join()
        shown.wait(60)
        self.seen["driver"] = [before, self._driver()]

    def cut_a_worker(self):
        """A host is away for longer than Ray waits, and comes back."""
        victim = self.hosts[VICTIM]
        before = set(victim.run("pgrep -x raylet").stdout.split())
        victim.cut()
        with step("a worker is cut off: until its trials are missed"):
            until(lambda: "its worker was lost" in self._log(), "lost trials")
        victim.join()
        with step("until Ray runs there again, started by the head"):
            until(lambda: set(victim.run("pgrep -x raylet").stdout.split()) - before, "a new raylet")

    def finish(self):
        """The study's end."""
        with step("until the study ends"):
            until(lambda: self.head.run("test -e ~/exit-code").returncode == 0, "the end")
        self.seen["exit"] = self.head.run("cat ~/exit-code").stdout
        self.seen["log"] = self._log()

    def read(self):
        """The report, the runs brought home, and MLflow's page through the tunnel."""
        self.seen["report"] = self.on_head(f"python -m orchestrator.run report {NAME} $ABLATION_PLACE")
        self.on_laptop(f"ray rsync-down {FILE} '~/ablations/runs/' runs-of-the-cluster/")
        self.seen["home"] = self.laptop.run(f"cd checkout/runs-of-the-cluster/studies/{NAME} && ls").stdout.split()
        said = self.on_head("cat ~/ablations/mlflow/password; echo")
        (password,) = re.findall(r"^[0-9a-f]{64}$", said, re.M)
        page = self.laptop.start(f"cd checkout && exec python -m orchestrator.run ui --cluster {FILE}")
        with step("until MLflow answers through the tunnel"):
            until(lambda: self._status("/health") == 200, "the tunnel")
        runs = "/api/2.0/mlflow/experiments/search?max_results=1"
        self.seen["page"] = [self._status(runs), self._status(runs, "wrong"), self._status(runs, password)]
        self.laptop.put("~/.mlflow/credentials", SIGN_IN.format(password))
        self.seen["cluster"] = self._figures(MLFLOW)
        os.killpg(page.pid, signal.SIGTERM)
        page.wait(60)
        with step("until the tunnel is gone"):
            until(lambda: not self.head.processes("sleep infinity"), "no tunnel", limit_s=60)

    def _status(self, path, password=None):
        """What MLflow answers on the laptop's loopback; 0 where nobody does."""
        word = base64.b64encode(f"admin:{password}".encode()).decode()
        header = f"-H 'Authorization: Basic {word}'" if password else ""
        return int(self.laptop.run(f"curl -s -o /dev/null -w '%{{http_code}}' {header} '{MLFLOW}{path}'").stdout)

    def strangers(self):
        """Who has the token is answered by Ray, who has not is not."""
        modes = {"right": "RAY_AUTH_MODE=token", "none": "RAY_AUTH_MODE=disabled"}
        modes["wrong"] = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=0123456789abcdef0123456789abcdef"
        self.seen["strangers"] = {}
        command = f"ray status --address {HEAD}:6379"
        for mode, setting in modes.items():
            with step(f"laptop$ {command}  (token: {mode})"):
                done = self.laptop.run(f"{setting} timeout 90 {command}", 100)
            self.seen["strangers"][mode] = [done.returncode, done.stdout]

    def down(self):
        """The end of everything that was started."""
        self.on_head("tmux kill-server")
        self.on_head("~/ablations/code/clusters/mlflow-server.sh stop")
        self.on_laptop(f"ray down -y {FILE}")
        for host in (WORKER, VICTIM):
            self.on_laptop(f"ssh -i ~/.ssh/ablations ablations@{host} '~/ablations/env/bin/ray stop'")
        with step("until nothing of the account runs on any host"), contextlib.suppress(TimeoutError):
            until(lambda: not any(host.processes() for host in self.hosts.values()), "nothing runs", limit_s=60)
        self.seen["left"] = {address: host.processes() for address, host in self.hosts.items()}


def main(folder, *study):
    """What was seen, or why nothing was, as JSON on stdout."""
    packages = [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
    why = lacking() or (f"needs {', '.join(packages)}" if packages else "")
    if why:
        print(json.dumps({"lacking": why}))
        return
    sys.stdout.flush()
    os.execvp(alone()[0], [*alone(), sys.executable, __file__, INSIDE, folder, *study])


def inside(folder, *study):
    """The same in namespaces of its own."""
    with rack(Path(folder), "ablations", ADDRESSES) as (laptop, hosts):
        scenario = Scenario(laptop, hosts, shlex.join([*study, "--name", NAME]))
        try:
            scenario.all()
        finally:
            print(json.dumps(scenario.seen))


if __name__ == "__main__":
    first, *rest = sys.argv[1:]
    inside(*rest) if first == INSIDE else main(first, *rest)
