"""Plants small faults, one at a time, and names those that no test notices: `make mutants`.

python benchmarks/mutants.py [FILE ...] [--most N] [--seed S] [--jobs J]

The faults are Cosmic Ray's: another operator, number or condition, a decorator or a loop's body less. pyproject.toml
(`tool.mutants`) names the modules that compute or keep figures and, for each, the tests that mirror it. At each place
one fault of a kind is tried, and of a module's places at most N, chosen by the seed; what computes nothing (an
annotation, an error's words) is no place. Faults that are known to change nothing are listed there with the reason.
A module's score does not depend on which others are asked for.

It happens in copies of the checkout, in a process for each fault that is forked from this one, which has imported the
libraries: that takes longer than most of the tests.

Exit codes: 0 the scores are printed, 2 some tests fail without any fault.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import importlib
import importlib.util
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("orchestrator", "results", "search_spaces", "trainables", "tests")
NOTICED, UNNOTICED, ENDLESS = "noticed", "unnoticed", "did not end"
SHORTEST_LIMIT_S, LIMIT_FACTOR = 60.0, 3.0  # how long tests may take, at least and as a multiple of without a fault


@dataclass(frozen=True)
class Fault:
    """One changed place of a module; `content` is the whole module with it."""

    module: str
    line: int
    content: str

    @property
    def changes(self) -> list[str]:
        """The lines that it takes away and those that it brings."""
        lines = difflib.ndiff((ROOT / self.module).read_text().splitlines(), self.content.splitlines())
        return [f"{line[0]} {line[1:].strip()}" for line in lines if line[0] in "-+" and line[1:].strip()]


@dataclass
class Lane:
    """A copy of the checkout, in which one process at a time runs tests."""

    folder: Path
    pid: int = 0
    fault: Fault | None = None
    deadline: float = 0.0

    def start(self, module: str, tests: Sequence[str], fault: Fault | None, limit_s: float) -> None:
        """Begins to run the tests, with the fault in place if there is one."""
        path = self.folder / module
        path.write_text(fault.content if fault else (ROOT / module).read_text())
        # By its time and size alone Python would take one fault's bytecode for another's.
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
        self.fault, self.deadline = fault, time.monotonic() + limit_s
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            _become_pytest(self.folder, tests)

    def outcome(self) -> str | None:
        """How the tests ended; None while they run."""
        late = time.monotonic() > self.deadline
        if late:
            self.stop()
        pid, status = os.waitpid(self.pid, 0 if late else os.WNOHANG)
        if not pid:
            return None
        self.stop()
        self.pid = 0
        if self.fault:
            shutil.copy(ROOT / self.fault.module, self.folder / self.fault.module)
        return ENDLESS if late else UNNOTICED if os.waitstatus_to_exitcode(status) == 0 else NOTICED

    def stop(self) -> None:
        """Ends the tests with all that they have started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _become_pytest(folder: Path, tests: Sequence[str]) -> None:
    code = 3
    try:
        os.setsid()
        os.chdir(folder)
        out = os.open(folder / "out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(out, stream)
        for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
            del sys.modules[name]  # this process's own: the copy's are wanted
        sys.path[:] = [
            str(folder),
            *(p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "benchmarks")),
        ]
        os.environ["PYTHONPATH"] = str(folder)
        import pytest

        words = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not cluster"]
        code = int(pytest.main([*words, "--rootdir", str(folder), "-c", str(folder / "pyproject.toml"), *tests]))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def faults(module: str, most: int, seed: int) -> Iterator[Fault]:
    """At most so many faults of the module, the same for the same seed."""
    content = (ROOT / module).read_text()
    places, tree = defaultdict[Any, list[tuple[str, int, int]]](list), get_ast(content)
    for name in sorted(cosmic_ray.plugins.operator_names()):
        operator = cosmic_ray.plugins.get_operator(name)
        if operator.arguments() or "NoOp" in name:
            continue
        positions = (start for node in ast_nodes(tree) for start, _ in operator().mutation_positions(node))
        for occurrence, start in enumerate(positions):
            places[name.split("_")[0], start].append((name, occurrence, start[0]))
    draw = random.Random(f"{seed} {module}")
    chosen, plain = 0, _computing(content)
    for place in draw.sample(sorted(places), len(places)):
        if chosen == most:
            return
        name, occurrence, line = draw.choice(places[place])
        try:
            changed = mutate_code(content, cosmic_ray.plugins.get_operator(name)(), occurrence)
        except AttributeError:  # Cosmic Ray 8.7 trips over `except` of a dotted name
            continue
        if changed is None or _computing(changed) == plain:
            continue
        chosen += 1
        yield Fault(module, line, changed)


def _computing(content: str) -> str | None:
    """The module's tree without what computes nothing; None where it is no Python."""
    from trainables.syntax import plain

    try:
        return ast.dump(plain(ast.parse(content)))
    except SyntaxError:
        return None


def copy_of(checkout: Path, folder: Path) -> None:
    """Copies what git knows or would take."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(words, cwd=checkout, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (checkout / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(checkout / name, folder / name)


def tried(
    lanes: Sequence[Lane], todo: Sequence[Fault], tests: Sequence[str], limit_s: float
) -> Iterator[tuple[Fault, str]]:
    """Each fault with how the tests ended, as they end."""
    waiting, running = list(reversed(todo)), list[Lane]()
    while waiting or running:
        for lane in lanes:
            if waiting and lane not in running:
                fault = waiting.pop()
                lane.start(fault.module, tests, fault, limit_s)
                running.append(lane)
        for lane in list(running):
            if outcome := lane.outcome():
                running.remove(lane)
                assert lane.fault
                yield lane.fault, outcome
        time.sleep(0.02)


def main() -> int:
    """The command."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutants"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help="of these modules alone")
    parser.add_argument("--most", type=int, default=settings["most"], help="faults of a module")
    parser.add_argument("--seed", type=int, default=settings["seed"])
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    words = parser.parse_args()
    unknown = set(words.files) - settings["tests"].keys()
    if unknown:
        parser.error(f"no tests are named for {', '.join(sorted(unknown))} in pyproject.toml")
    sys.path.insert(0, str(ROOT))
    os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "MLFLOW_DISABLE_TELEMETRY": "true"}
    os.environ.pop("ABLATION_DATA", None)
    print(f"seed {words.seed}, at most {words.most} faults a module, {words.jobs} at a time", flush=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as parent:
        lanes = [Lane(Path(parent, str(job), "checkout")) for job in range(words.jobs)]
        for lane in lanes:
            copy_of(ROOT, lane.folder)
        for library in settings["libraries"]:
            importlib.import_module(library)
        asked = {m: t for m, t in settings["tests"].items() if not words.files or m in words.files}
        try:
            return _scored(lanes, asked, words, settings["equivalent"])
        finally:
            for lane in lanes:
                if lane.pid:
                    lane.stop()


def _scored(lanes: Sequence[Lane], modules: dict[str, str], words: argparse.Namespace, known: dict[str, str]) -> int:
    began, total, unnoticed, same = time.monotonic(), 0, 0, 0
    for module, told in modules.items():
        tests, start = shlex.split(told), time.monotonic()
        lanes[0].start(module, tests, None, 600.0)
        while not (outcome := lanes[0].outcome()):
            time.sleep(0.02)
        if outcome != UNNOTICED:
            print(f"{module}: its tests fail without any fault\n{(lanes[0].folder / 'out').read_text()[-3000:]}")
            return 2
        limit_s = max(SHORTEST_LIMIT_S, LIMIT_FACTOR * (time.monotonic() - start))
        found = list(tried(lanes, list(faults(module, words.most, words.seed)), tests, limit_s))
        survived = sorted((f for f, outcome in found if outcome == UNNOTICED), key=lambda f: f.line)
        open_ones = [fault for fault in survived if " ".join(fault.changes) not in known]
        endless, equivalent = sum(outcome == ENDLESS for _, outcome in found), len(survived) - len(open_ones)
        total, unnoticed, same = total + len(found), unnoticed + len(open_ones), same + equivalent
        notes = [f"{endless} by not ending"] * bool(endless) + [f"{equivalent} equivalent"] * bool(equivalent)
        print(f"{module}: {', '.join([f'{len(found) - len(survived)} of {len(found)} noticed', *notes])}", flush=True)
        for fault in open_ones:
            print(f"  {module}:{fault.line}", *fault.changes, sep="\n    ", flush=True)
    noticed, differing = total - unnoticed - same, total - same
    share = noticed / differing if differing else 1.0
    print(f"{noticed} of {differing} faults noticed: {share:.1%}, and {same} more that change nothing")
    print(f"in {(time.monotonic() - began) / 60:.0f} min")
    return 0


if __name__ == "__main__":
    sys.exit(main())
