"""Machines made of namespaces on this one: each has its own address, processes, name, file system and sshd.

    with rack(folder, "ablations", ["10.0.0.10", "10.0.0.11"]) as (laptop, hosts): ...

A script that uses it must be started with the words of `alone()` before it: what it makes is in a network that leads
nowhere, in a mount and a process namespace of its own, and ends with it however it ends.

A machine sees this one's files through an overlay and writes to memory; this checkout it does not see. The environment
that the tests run in lies where docs/cluster.md has the user make one, so that pip finds there what it would else
download.
"""

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from waiting import wait_until

ROOT = Path(__file__).parents[2]
LAPTOP = "10.0.0.2"
ENVIRONMENT = "ablations/env"  # below an account's home, as in clusters/onprem.yaml
UID = 20_000
LARGEST_SCRIPT = 100_000  # bytes; what is larger in the environment's bin/ is a program, and names no interpreter
NEEDED = (
    "unshare",
    "nsenter",
    "ip",
    "mount",
    "setpriv",
    "ssh",
    "ssh-keygen",
    "rsync",
    "git",
    "tar",
    "tmux",
    "curl",
    "ps",
)

SSHD = """\
ListenAddress {address}
HostKey /etc/rack/host_key
PidFile none
UsePAM no
PasswordAuthentication no
"""

# No index: what is not there already is an error.
PIP = """\
[global]
no-index = true
no-build-isolation = false
"""

# The first process of a machine. bash takes in the children of those that ended, as an init must.
BEGIN = """\
set -eu
read -r _  # until the cable is plugged in
hostname "$NAME"
ip link set lo up
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
cd "$FOLDER"
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
mount -t overlay overlay -o "lowerdir=$PREFIX,upperdir=env-upper,workdir=env-work" "root$ENVIRONMENT"
mount -t tmpfs tmpfs "root$CHECKOUT"
for folder in tmp run dev; do mount -t tmpfs tmpfs "root/$folder"; done
mkdir -m 1777 root/dev/shm
mkdir -m 755 root/run/sshd root/dev/pts
chmod 1777 root/tmp
mount -t devpts -o newinstance,ptmxmode=666 devpts root/dev/pts
ln -s pts/ptmx root/dev/ptmx
ln -s /proc/self/fd root/dev/fd
for device in null zero full random urandom tty; do
    touch "root/dev/$device"
    mount --bind "/dev/$device" "root/dev/$device"
done
mount -t proc proc root/proc
mount --rbind /sys root/sys
exec chroot root /bin/bash -c 'cd / && $SERVER && echo ready && while :; do sleep 3600; done'
"""


def lacking() -> str:
    """Why machines cannot be made here; "" if they can."""
    if os.geteuid() != 0:
        return "needs root, to make namespaces and mounts"
    missing = [name for name in NEEDED if shutil.which(name) is None] + ([] if _sshd() else ["sshd"])
    if missing:
        return f"needs {', '.join(missing)}"
    if subprocess.run([*alone(), "true"], capture_output=True, check=False).returncode:
        return "may not make namespaces here"
    return ""


def alone() -> list[str]:
    """Words before a command that give it namespaces of its own, which end with it."""
    return shlex.split("setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child --mount-proc")


@contextmanager
def rack(folder, account, addresses):
    """The laptop and, by their addresses, the hosts, all joined by one switch.

    Args:
        folder: an empty one, where the machines' files are kept in memory.
        account: its name on the hosts; the laptop's is another.
        addresses: of the hosts.
    """
    assert call("ip route").stdout == "", "a way out of here: this is not alone()"
    call("ip link set lo up")
    call("ip link add switch type bridge")
    call("ip link set switch up")
    call(f"mount -t tmpfs -o mode=755 tmpfs {folder}")
    machines = [Machine(folder, LAPTOP, "researcher", host=False)]
    try:
        machines += [Machine(folder, address, account, host=True) for address in addresses]
        yield machines[0], {machine.address: machine for machine in machines[1:]}
    finally:
        for machine in machines:
            machine.end()


def call(command):
    """A command of a few words, done well."""
    return subprocess.run(shlex.split(command), check=True, capture_output=True, text=True)


class Machine:
    """One of the rack; it runs from its making on.

    Args:
        folder: where it keeps its files.
        account: who works there.
        host: whether it is reached by ssh.
    """

    def __init__(self, folder, address, account, host) -> None:
        self.address, self.account = address, account
        self.name = f"host{address.rpartition('.')[2]}" if host else "laptop"
        self.home, self.folder = Path("/home", account), folder / self.name
        self.environment = self.home / ENVIRONMENT
        self._write_files()
        if host:
            self._write_sshd()
        begun = {
            "NAME": self.name, "ADDRESS": address, "FOLDER": str(self.folder), "PREFIX": sys.prefix,
            "ENVIRONMENT": str(self.environment), "CHECKOUT": str(ROOT), "PATH": os.environ["PATH"],
            "SERVER": f"{_sshd()} -f /etc/rack/sshd_config" if host else "true",
        }  # fmt: skip
        apart = shlex.split("unshare --net --mount --pid --uts --ipc --fork --kill-child")
        self.process = subprocess.Popen(
            [*apart, "bash", "-c", BEGIN],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=begun, cwd="/",
        )  # fmt: skip
        self._plug_in()
        assert self.process.stdout.readline() == "ready\n", f"{self.name} did not start"

    def _plug_in(self) -> None:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = wait_until(children.read_text, f"{self.name}'s first process", 60, 0.01, self.process)
        self.init = int(found.split()[0])
        call(f"ip link add {self.name} type veth peer name eth0 netns {self.init}")
        call(f"ip link set {self.name} master switch up")
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def cut(self) -> None:
        """Pulls the cable out: nothing reaches the machine, nothing is told to who speaks with it."""
        call(f"ip link set {self.name} down")

    def join(self) -> None:
        """Plugs the cable in again."""
        call(f"ip link set {self.name} up")

    def words(self, command, root=False) -> list[str]:
        """What runs a line of bash on the machine, as the account in its home.

        Args:
            root: whether as root.
        """
        who = [] if root else ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        known = {
            "HOME": "/" if root else str(self.home), "USER": "root" if root else self.account, "TERM": "xterm",
            "LANG": "C.UTF-8", "PATH": f"{self.environment}/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }  # fmt: skip
        enter = ["nsenter", "--target", str(self.init), "--all", "--root"]
        given = [f"{name}={value}" for name, value in known.items()]
        inside = ["env", "--ignore-environment", f"--chdir={known['HOME']}", *given, "bash", "-c", command]
        return [*enter, *who, *inside]

    def run(self, command, limit_s=60.0, root=False) -> subprocess.CompletedProcess:
        """Runs a line of bash to its end; what it says on either stream is its stdout."""
        return subprocess.run(
            self.words(command, root), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False, timeout=limit_s,
        )  # fmt: skip

    def start(self, command, root=False) -> subprocess.Popen:
        """Starts a line of bash and leaves it running."""
        return subprocess.Popen(
            self.words(command, root), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def put(self, path, text) -> None:
        """Writes a file of the account's, which nobody else reads."""
        line = f"umask 077 && mkdir -p $(dirname {path}) && cat > {path}"
        subprocess.run(self.words(line), input=text, text=True, check=True)

    def processes(self, title="") -> list[str]:
        """The beginnings of the command lines of the account's living processes that have `title` in them."""
        listed = self.run(f"ps -u {UID} -ww -o stat=,args=", root=True).stdout
        lines = [line.split(None, 1)[1][:120] for line in listed.splitlines() if not line.startswith("Z")]
        return [line for line in lines if title in line]

    def end(self) -> None:
        """Ends the machine and all that runs on it."""
        self.process.kill()
        self.process.wait()
        subprocess.run(["ip", "link", "delete", self.name], capture_output=True, check=False)

    def _write(self, path, text, mode=0o644) -> None:
        place = self._above(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def _above(self, path) -> Path:
        """Where lies, before the machine starts, what it is to have in the place of this machine's file."""
        return self.folder / "upper" / str(path).lstrip("/")

    def _write_files(self) -> None:
        for name in ("upper", "work", "root", "env-work"):
            (self.folder / name).mkdir(parents=True)
        user = f"{self.account}:*:{UID}:{UID}::{self.home}:/bin/bash\n"
        self._write("/etc/passwd", Path("/etc/passwd").read_text() + user)
        self._write("/etc/group", Path("/etc/group").read_text() + f"{self.account}:x:{UID}:\n")
        # As Debian has it: a name that leads nowhere else.
        self._write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        self._write("/etc/resolv.conf", "")
        self._write("/etc/pip.conf", PIP)
        self._write_environment()

    def _write_sshd(self) -> None:
        self._write("/etc/rack/sshd_config", SSHD.format(address=self.address))
        call(f"ssh-keygen -q -t ed25519 -N '' -f {self._above('/etc/rack/host_key')}")

    def _write_environment(self) -> None:
        """The account's home, and in it the folders and scripts of its environment; the rest the overlay has."""
        python = Path(sys._base_executable).resolve()
        self._write("/usr/local/bin/python3", f'#!/bin/sh\nexec {python} "$@"\n', 0o755)
        shutil.copytree("/etc/skel", self._above(self.home))
        for folder in (*reversed(python.parents), self.environment):
            self._above(folder).mkdir(parents=True, exist_ok=True)  # others may look into it, here perhaps not
        upper, prefix = self.folder / "env-upper", Path(sys.prefix)
        for place, folders, _ in os.walk(prefix):
            (upper / Path(place).relative_to(prefix)).mkdir()
            folders[:] = [name for name in folders if not Path(place, name).is_symlink()]
        for path in (prefix / "pyvenv.cfg", *(prefix / "bin").iterdir()):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < LARGEST_SCRIPT:
                script = path.read_bytes().replace(f"#!{prefix}/".encode(), f"#!{self.environment}/".encode(), 1)
                shutil.copymode(path, shutil.copyfile(path, upper / path.relative_to(prefix)))
                (upper / path.relative_to(prefix)).write_bytes(script)
        call(f"chown --recursive {UID}:{UID} {upper} {self._above(self.home)}")


def _sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
