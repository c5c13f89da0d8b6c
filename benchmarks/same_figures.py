"""Says whether the working tree gives the figures of an earlier commit, to the last bit: a guard for refactorings.

python benchmarks/same_figures.py REV [--keep FOLDER] [--other-keys]   (about five minutes on two CPU cores)

Two short studies run on this machine's CPU with the code at REV and then with the working tree, each in a folder of its
own. What is compared: the store's artefacts (weights, loss curves, sample sets, figures, masks) and what MLflow holds
of each run, without times, dates, machine, commit and run ids.

Exit codes: 0 the same, 1 the first difference is printed, 2 there is nothing to compare with.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from study_outcomes import Comparison, outcome

ROOT = Path(__file__).resolve().parent.parent

# Small, and yet on every branch: the learning rate and the EMA's decay leave their warm-up, the last batch is smaller.
SETTINGS = {
    "unet.base_channels": "8",
    "unet.dropout": "0.1",
    "training.train_steps": "40",
    "training.batch_size": "8",
    "training.warmup_steps": "10",
    "training.ema_decay": "0.7",
    "sampling.sampling_steps": "5",
    "sampling.sampling_repeats": "2",
    "sampling.samples": "80",
    "sampling.batch_size": "50",
    "segmentation.blocks": "[5,7]",
    "segmentation.label_images": "8",
    "segmentation.validation_images": "4",
    "segmentation.held_out_images": "20",
    "segmentation.ensemble_size": "3",
    "segmentation.epochs": "2",
}
ANCESTRAL = "ancestral: unet.norm=adagn, sampling.sampler=ddpm"
STUDIES = (
    ("ablations", "--variants", "convnext", "cosine", "--variant", ANCESTRAL, "--seeds", "0", "1"),
    ("segmentation", "--variants", "by_image", "one_timestep", "--heat-map", "50"),
)

SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "RAY_USAGE_STATS_ENABLED": "0"}
SAME, DIFFERENT, NOTHING_TO_COMPARE = 0, 1, 2


class NoComparison(Exception):
    """There is nothing to compare with; its text is one line."""


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """The folder with the commit's files, which git forgets at the end."""
    _git("worktree", "add", "--quiet", "--detach", str(folder), commit)
    try:
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def commit_of(revision: str) -> str:
    """The commit's hash.

    Raises:
        NoComparison: there is no such commit here.
    """
    try:
        return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except subprocess.CalledProcessError:
        raise NoComparison(f"REV: there is no commit {revision!r} in {ROOT}") from None


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def run_studies(code: Path, storage: Path, label: str) -> str:
    """Runs both studies with the code in a folder; what went wrong, in one line, or "".

    Args:
        storage: a new folder for what they leave.
        label: of the code, for the person who waits.
    """
    storage.mkdir(parents=True)
    paths = [str(code), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        **SILENT,
        "ABLATION_CACHE": str(storage / "cache"),  # one's own: arrays that other code has left would hide a difference
    }
    where = "import orchestrator, trainables; print(orchestrator.__file__, trainables.__file__, sep='\\n')"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=code, env=environment, capture_output=True, text=True, check=False
    )
    lines = (found.stderr if found.returncode else found.stdout).splitlines()
    if found.returncode or not all(Path(line).is_relative_to(code) for line in lines):
        return f"python does not import the code in {code}: {' '.join(lines[-1:])}"
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    for study, *words in STUDIES:
        start, out = time.monotonic(), storage / f"{study}.out"
        command = [sys.executable, "-m", "orchestrator.run", study, *words, *settings]
        command += ["--gpus-per-trial", "0", "--storage", str(storage)]
        with out.open("w") as file:
            status = _ended(subprocess.Popen(command, cwd=code, env=environment, stdout=file, stderr=file))
        print(f"{label}: {study}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        if status:
            return f"{study} ends with exit code {status}: {reason(out.read_text())}"
    return ""


def reason(output: str) -> str:
    """The line that says why a study ended badly: the first trial's that failed, else the last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if "FAILED" in line), *lines[-1:] or ["it said nothing"])


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The exit code; if the person stops us, the study is stopped first, which closes its workers."""
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


def compared(revision: str, folder: Path, by_trial: bool) -> tuple[str, int]:
    """What is to be said of the working tree and the revision, and the exit code.

    Args:
        folder: an empty one, for what the studies leave.
        by_trial: whether keys may differ.

    Raises:
        NoComparison: no such revision, or its studies do not end well.
    """
    commit = commit_of(revision)
    with tempfile.TemporaryDirectory(prefix="same-figures-") as temporary:
        with checked_out(commit, Path(temporary).resolve() / "code") as code:
            if trouble := run_studies(code, folder / "before", f"at {commit[:7]}"):
                raise NoComparison(f"at {revision}: {trouble}")
        if trouble := run_studies(ROOT, folder / "after", "now"):
            return f"different: {trouble}; at {revision} it ends well", DIFFERENT
    comparison = Comparison(outcome(folder / "before"), outcome(folder / "after"), by_trial)
    for where, before, after in comparison.differences():
        hint = "; --other-keys compares what lies under them" if ", key of " in where else ""
        return f"different: {where}: {before} at {revision}, {after} now{hint}", DIFFERENT
    return f"same: {', '.join(f'{count:,} {what}' for what, count in comparison.counts.items())}", SAME


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Whether the working tree gives the figures of an earlier commit.")
    parser.add_argument("revision", metavar="REV", help="the commit to compare with")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave what the studies made in this new folder")
    parser.add_argument("--other-keys", action="store_true", help="keys may differ: pair artefacts by trial and stage")
    args = parser.parse_args(words)
    os.environ.update(SILENT)  # before MLflow is imported
    try:
        if args.keep and args.keep.exists() and any(args.keep.iterdir()):
            raise NoComparison(f"--keep: must be a new folder, but got {args.keep}, which has files")
        with tempfile.TemporaryDirectory(prefix="same-figures-") as temporary:
            said, code = compared(args.revision, (args.keep or Path(temporary)).resolve(), args.other_keys)
    except NoComparison as error:
        print(f"error: {error}", file=sys.stderr)
        return NOTHING_TO_COMPARE
    except KeyboardInterrupt:
        return 130
    print(said)
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # by way of every `finally`
    sys.exit(main())
