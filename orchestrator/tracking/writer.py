"""The one writer to MLflow: it runs in the driver, on its own thread, and no trial ever waits for it.

A trial's run is found by its `trial_key` tag, so a study that goes on later goes on in the same runs.
"""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.planning.plan import Study, Trial
from orchestrator.tracking.backend import create_database, is_transient, prove_files, reason
from trainables.config import flatten
from trainables.stages import BY_NAME
from trainables.store import hashed

if TYPE_CHECKING:
    from mlflow import MlflowClient

PRICE = "gpu_hour_price"  # the experiment's tag
VIEW = "ablations"  # the saved view's name, a part of the page's address
RETRY_S = 2.0
BATCH_LIMIT = 1000  # metrics that MLflow takes at once
FLUSH_LIMIT_S = 60.0  # how long the end of a study waits for a tracking server that is away


class MLflowWriter:
    """The study's records in MLflow.

    Args:
        uri: of the tracking store.
        study: whose experiment is opened or created.
        artifacts: the folder for a SQLite store's artefacts; a server has its own.

    Raises:
        UsageError: the experiment belongs to another baseline, or was deleted; or there is no place for its files.
    """

    def __init__(self, uri: str, study: Study, artifacts: Path) -> None:
        from mlflow import MlflowClient

        for chatty in ("mlflow", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self.uri, self.study = uri, study
        if uri.startswith("sqlite:///"):
            create_database(Path(uri.removeprefix("sqlite:///")))
        self.client: MlflowClient = MlflowClient(tracking_uri=uri)
        self.experiment_id = self._experiment(artifacts if uri.startswith("sqlite:///") else None)
        self.errors: list[str] = []
        self.trouble = ""  # why the last record is not written yet
        self._tags = _code_tags()
        self._runs: dict[str, str] = {}  # trial's name -> run id
        self._logged: dict[tuple[str, str], int] = {}  # (trial's name, metric) -> the last step
        self._queue: queue.Queue[tuple[str, Callable[[], None]] | None] = queue.Queue()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def finished_keys(self) -> set[str]:
        """The keys of the trials whose runs have ended well."""
        runs = self.client.search_runs([self.experiment_id], "attributes.status = 'FINISHED'", max_results=50_000)
        return {run.data.tags.get("trial_key", "") for run in runs}

    def start(self, trial: Trial) -> None:
        """Opens the trial's run, the same one as in an earlier session if there was one."""
        self._post(trial, lambda: self._start(trial))

    def log(self, trial: Trial, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Adds metrics, each at its step."""
        if any(metrics for _, metrics in points):
            self._post(trial, lambda: self._log(trial, points))

    def finish(self, trial: Trial, result: Mapping[str, Any], pictures: Mapping[str, Path]) -> None:
        """Closes the run as FINISHED, with the trial's figures and pictures."""
        self._post(trial, lambda: self._finish(trial, result, pictures))

    def fail(self, trial: Trial, error: str) -> None:
        """Closes the run as FAILED, with the error's last line as a tag."""
        self._post(trial, lambda: self._end(trial, "FAILED", error))

    def kill(self, trial: Trial) -> None:
        """Closes the run as KILLED: the person stopped the study."""
        self._post(trial, lambda: self._end(trial, "KILLED", ""))

    def price(self, gpu_hour: float) -> None:
        """Notes what an hour of a GPU costs, for the table's money."""
        self._queue.put(("price", partial(self.client.set_experiment_tag, self.experiment_id, PRICE, str(gpu_hour))))

    def describe(self, markdown: str) -> None:
        """Puts `markdown` above the experiment's table of runs."""
        self._queue.put(
            ("note", lambda: self.client.set_experiment_tag(self.experiment_id, "mlflow.note.content", markdown))
        )

    def flush(self, limit_s: float = FLUSH_LIMIT_S) -> bool:
        """Waits until everything so far is written, or for `limit_s` at most; whether it is."""
        done = threading.Event()
        self._queue.put(("flush", done.set))
        return done.wait(limit_s)

    def close(self, limit_s: float = FLUSH_LIMIT_S) -> None:
        """Writes what is left and ends; gives up after `limit_s` if the server stays away, and says so in `errors`."""
        self._deadline = time.monotonic() + limit_s
        self._queue.put(None)
        self._thread.join()

    @property
    def page(self) -> str:
        """The address of the study's table below MLflow's root."""
        return f"#/experiments/{self.experiment_id}/runs?viewStateShareKey={VIEW}"

    def _post(self, trial: Trial, action: Callable[[], None]) -> None:
        self._queue.put((trial.name, action))

    def _work(self) -> None:
        given_up = 0
        while (item := self._queue.get()) is not None:
            if self.trouble and self._late:
                given_up += 1
            else:
                self._write(*item)
        if given_up:
            self.errors.append(f"MLflow: {given_up} more records were not sent")

    @property
    def _late(self) -> bool:
        return time.monotonic() > self._deadline

    def _write(self, name: str, action: Callable[[], None]) -> None:
        """Acts, again and again where that may help; `trouble` says why it does not."""
        while True:
            try:
                action()
                self.trouble = ""
                return
            except Exception as error:  # whatever MLflow raises must not end the study
                self.trouble = f"MLflow, {name}: {reason(error)}"
                if not is_transient(error) or self._late:
                    self.errors.append(self.trouble)
                    self.trouble = self.trouble if self._late else ""
                    return
                time.sleep(RETRY_S)

    def _experiment(self, artifacts: Path | None) -> str:
        study, identity = self.study, _identity(self.study)
        found = self.client.get_experiment_by_name(study.name)
        if found is None:
            location = f"{artifacts.resolve().as_uri()}/{study.name}" if artifacts else None
            experiment_id: str = self.client.create_experiment(study.name, artifact_location=location)
            found = self.client.get_experiment(experiment_id)
            self.client.set_experiment_tag(experiment_id, "baseline", identity)
        elif found.lifecycle_stage != "active":
            raise UsageError(f"--name: the study {study.name!r} was deleted in MLflow; choose another name")
        if found.tags.get("baseline", identity) != identity:
            raise UsageError(
                f"--name: the study {study.name!r} has another baseline or other data; choose another name"
            )
        try:
            prove_files(found.artifact_location, self.uri)
        except Exception as error:  # each filesystem has errors of its own
            where = found.artifact_location
            raise UsageError(f"--tracking-uri: MLflow takes no files at {where} ({reason(error)})") from None
        self.client.set_experiment_tag(found.experiment_id, f"mlflow.sharedViewState.{VIEW}", _view(study))
        if study.objective:
            self.client.set_experiment_tag(found.experiment_id, "objective", study.objective)
        return str(found.experiment_id)

    def _start(self, trial: Trial) -> None:
        from mlflow.entities import Param

        run_id = self._found(trial)
        if run_id is None:
            run = self.client.create_run(self.experiment_id, run_name=trial.name, tags=self._run_tags(trial))
            run_id = run.info.run_id
            params = [Param(k, _param(v)) for k, v in flatten(trial.config).items()]
            self.client.log_batch(run_id, params=params)
        else:
            for metric in self.client.get_run(run_id).data.metrics:
                history = self.client.get_metric_history(run_id, metric)
                self._logged[trial.name, metric] = max(m.step for m in history)
            self.client.update_run(run_id, status="RUNNING")
            for name, value in self._run_tags(trial).items():
                self.client.set_tag(run_id, name, value)
        self._runs[trial.name] = run_id

    def _found(self, trial: Trial) -> str | None:
        """The trial's run of an earlier session; runs of the same variant and seed with another key are marked."""
        query = f"tags.variant = '{trial.variant}' and tags.seed = '{trial.config.seed}'"
        mine = None
        for run in self.client.search_runs([self.experiment_id], query):
            if run.data.tags.get("trial_key") == trial.key:
                mine = run.info.run_id
            else:
                self.client.set_tag(run.info.run_id, "superseded", "true")
                if run.info.status == "RUNNING":  # its driver was killed
                    self.client.set_terminated(run.info.run_id, "KILLED")
        return mine

    def _run_tags(self, trial: Trial) -> dict[str, str]:
        return self._tags | {
            "variant": trial.variant,
            "seed": str(trial.config.seed),
            "kind": trial.kind,
            "position": str(trial.position),
            "delta": trial.delta,
            "trial_key": trial.key,
            **{f"published_{metric}": str(figure) for metric, figure in trial.published.items()},
            "error": "",
            "superseded": "false",
        }

    def _log(self, trial: Trial, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        from mlflow.entities import Metric

        # What a trial tells anew, after a retry or from the store, is in its run already.
        last = {name: self._logged.get((trial.name, name), -1) for _, metrics in points for name in metrics}
        now = int(time.time() * 1000)
        new = [Metric(k, v, now, step) for step, metrics in points for k, v in metrics.items() if step > last[k]]
        for start in range(0, len(new), BATCH_LIMIT):
            batch = new[start : start + BATCH_LIMIT]
            self.client.log_batch(self._runs[trial.name], metrics=batch)
            self._logged |= {(trial.name, metric.key): metric.step for metric in batch}

    def _finish(self, trial: Trial, result: Mapping[str, Any], pictures: Mapping[str, Path]) -> None:
        run_id = self._runs[trial.name]
        self._log(trial, [(0, final_metrics(trial, result))])
        for picture in pictures.values():
            self.client.log_artifact(run_id, str(picture), "pictures")
        with tempfile.TemporaryDirectory() as folder:
            for name, content in (("config.json", trial.config.model_dump()), ("result.json", dict(result))):
                path = Path(folder, name)
                path.write_text(json.dumps(content, indent=1))
                self.client.log_artifact(run_id, str(path))
        self.client.set_tag(run_id, "machine", result["machine"])
        self.client.set_tag(run_id, "status_note", result["note"])
        self._end(trial, "FINISHED", "")

    def _end(self, trial: Trial, status: str, error: str) -> None:
        if trial.name not in self._runs:
            self._start(trial)
        if error:
            self.client.set_tag(self._runs[trial.name], "error", error)
        self.client.set_terminated(self._runs[trial.name], status)


def final_metrics(trial: Trial, result: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a finished trial as MLflow gets them: its metrics, its size, its time by stage and in all."""
    times = result["wall_time_s"]
    size = {} if trial.parameters is None else {"parameters": float(trial.parameters)}
    size |= {"gpu_s": result["gpu_s"]} if result["gpu_s"] else {}
    by_stage = {f"{stage}_wall_time_s": seconds for stage, seconds in times.items()}
    return dict(result["metrics"]) | size | by_stage | {"wall_time_s": sum(times.values())}


def _identity(study: Study) -> str:
    return hashed([flatten(study.baseline), study.about.fingerprint])


def _view(study: Study) -> str:
    """The columns of the runs table; MLflow hides metrics unless a saved view names them."""
    measured = [metric for stage in study.baseline.stages for metric in BY_NAME[stage].metrics(study.baseline)]
    metrics = [*measured, "wall_time_s"]
    metrics = [study.objective, *metrics] if study.objective else metrics
    columns = ["params.`seed`", "tags.`variant`", "tags.`delta`", "tags.`kind`", *(f"metrics.`{m}`" for m in metrics)]
    lower_is_better = metrics[0] not in ("miou", study.objective)
    order = {"orderByKey": f"metrics.`{metrics[0]}`", "orderByAsc": lower_is_better}
    return json.dumps({"selectedColumns": columns, **order})


def _param(value: object) -> str:
    return json.dumps(value) if isinstance(value, list | tuple) else str(value)


def _code_tags() -> dict[str, str]:
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            answer = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    status = git("status", "--porcelain")
    dirty = "unknown" if status is None else str(bool(status)).lower()
    return {"git_commit": git("rev-parse", "HEAD") or "unknown", "git_dirty": dirty}
