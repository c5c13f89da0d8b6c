"""The one writer to MLflow: it runs in the driver, on its own thread, and no trial ever waits for it.

A trial's run is found by its `trial_key` tag, so a study that goes on later goes on in the same runs.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.planning.plan import Study, Trial
from orchestrator.tracking import summary_runs
from orchestrator.tracking.address import database_path
from orchestrator.tracking.backend import (
    create_database,
    follow_folder,
    is_transient,
    keep_file,
    reason,
    settle_database,
    upload,
)
from orchestrator.tracking.experiment import describe, note_look, opened, runs_of
from orchestrator.tracking.records import final_metrics, param, place
from orchestrator.tracking.revision import revision
from orchestrator.tracking.runs_table import VIEW
from trainables.config import flatten
from trainables.stages import whole_code

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

PRICE = "gpu_hour_price"  # the experiment's tag
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
        if database := database_path(uri):
            create_database(database)
        self.moved_from = follow_folder(database, artifacts) if database else ""
        self.client: MlflowClient = MlflowClient(tracking_uri=uri)
        self.experiment_id = opened(self.client, study, uri, artifacts if database else None)
        self.errors: list[str] = []
        self.remarks: list[str] = []  # on what only adorns the records: without it they are whole
        self.trouble = ""  # why the last record is not written yet
        self._tags = revision()
        self._runs: dict[str, str] = {}  # trial's name -> run id
        self._logged: dict[tuple[str, str], int] = {}  # (trial's name, metric) -> the last step
        self._queue: queue.Queue[tuple[str, Callable[[], None], bool] | None] = queue.Queue()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def finished(self) -> set[tuple[tuple[str, int], str]]:
        """The row and the key of each run that has ended well, once the table's rows are those of this study.

        A row holds what its definition made and nothing else. A run of one of the study's variants whose key is not
        the one that this definition gives at its seed is marked as superseded, and one whose key is it counts again.
        """
        planned = {trial.variant: trial for trial in self.study.trials}
        found = set()
        for run in runs_of(self.client, self.experiment_id):
            tags = run.data.tags
            if "variant" not in tags or "seed" not in tags:
                continue  # made by hand, or a summary
            row, key = (tags["variant"], int(tags["seed"])), tags.get("trial_key", "")
            if trial := planned.get(row[0]):
                config = trial.config.model_copy(update={"seed": row[1]})
                superseded = key != self.study.key(config)
                self._mark(run, superseded=superseded)
                if not superseded:
                    accepted = self.study.accepted(config)
                    # Without any its key is today's: so is the code that it reaches, whatever else has changed.
                    code = {"accepted_code": ", ".join(accepted)} | ({} if accepted else {"code": whole_code()})
                    self._set_tags(run, place(trial) | code)
            if run.info.status == "FINISHED":
                found.add((row, key))
        asked = {trial.config.seed for trial in self.study.trials}
        note_look(self.client, self.experiment_id, asked, {seed for (_, seed), _ in found})
        return found

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
        price = partial(self.client.set_experiment_tag, self.experiment_id, PRICE, str(gpu_hour))
        self._queue.put(("price", price, True))

    def describe(self, markdown: str) -> None:
        """Puts `markdown` above the experiment's table of runs."""
        self._queue.put(("note", partial(describe, self.client, self.experiment_id, markdown), True))

    def summarise(self, summary: pd.DataFrame, files: Sequence[Path]) -> None:
        """Brings the summary runs up to date, as `summary_runs.write` does."""
        write = partial(summary_runs.write, self.client, self.experiment_id, self.study, summary, files)
        self._queue.put(("summary", write, True))

    def keep(self, file: Path) -> None:
        """Puts a file of the whole study beside its runs."""
        self._queue.put((file.name, partial(keep_file, self.client, self.experiment_id, file), True))

    def flush(self, limit_s: float = FLUSH_LIMIT_S) -> bool:
        """Waits until everything so far is written, or for `limit_s` at most; whether it is."""
        done = threading.Event()
        self._queue.put(("flush", done.set, True))
        return done.wait(limit_s)

    def close(self, limit_s: float = FLUSH_LIMIT_S) -> None:
        """Writes what is left and ends; gives up after `limit_s` if the server stays away, and says so in `errors`."""
        self._deadline = time.monotonic() + limit_s
        self._queue.put(None)
        self._thread.join()
        if database := database_path(self.uri):
            settle_database(database)

    @property
    def page(self) -> str:
        """The address of the study's table below MLflow's root."""
        return f"#/experiments/{self.experiment_id}/runs?viewStateShareKey={VIEW}"

    def _post(self, trial: Trial, action: Callable[[], None]) -> None:
        self._queue.put((trial.name, action, False))

    def _work(self) -> None:
        given_up = 0
        while (item := self._queue.get()) is not None:
            if self.trouble and self._late:
                given_up += not item[2]  # of what only adorns, the first said what is wrong
            else:
                self._write(*item)
        if given_up:
            self.errors.append(f"MLflow: {given_up} more records were not sent")

    @property
    def _late(self) -> bool:
        return time.monotonic() > self._deadline

    def _write(self, name: str, action: Callable[[], None], adorns: bool) -> None:
        """Acts, again and again where that may help; `trouble` says why it does not.

        Args:
            adorns: whether the records are whole without it.
        """
        while True:
            try:
                action()
                self.trouble = ""
                return
            except Exception as error:  # whatever MLflow raises must not end the study
                self.trouble = f"MLflow, {name}: {reason(error)}"
                if not is_transient(error) or self._late:
                    (self.remarks if adorns else self.errors).append(self.trouble)
                    self.trouble = self.trouble if self._late else ""
                    return
                time.sleep(RETRY_S)

    def _start(self, trial: Trial) -> None:
        from mlflow.entities import Param

        run_id = self._found(trial)
        if run_id is None:
            run = self.client.create_run(self.experiment_id, run_name=trial.name, tags=self._run_tags(trial))
            run_id = run.info.run_id
            params = [Param(k, param(v)) for k, v in flatten(trial.config).items()]
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
                self._mark(run, superseded=True)
        return mine

    def _mark(self, run: Run, superseded: bool) -> None:
        """Says whether the run stands for its row; one that does not and is still running has lost its driver."""
        self._set_tags(run, {"superseded": str(superseded).lower()})
        if superseded and run.info.status == "RUNNING":
            self.client.set_terminated(run.info.run_id, "KILLED")

    def _set_tags(self, run: Run, tags: Mapping[str, str]) -> None:
        """Writes those that the run has otherwise."""
        for name, value in tags.items():
            if run.data.tags.get(name) != value:
                self.client.set_tag(run.info.run_id, name, value)

    def _run_tags(self, trial: Trial) -> dict[str, str]:
        return self._tags | {
            "variant": trial.variant,
            "seed": str(trial.config.seed),
            **place(trial),
            "trial_key": trial.key,
            "code": whole_code(),
            "accepted_code": ", ".join(self.study.accepted(trial.config)),
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
        self._adorn(trial, partial(upload, self.client, run_id, trial, result, pictures, self.study.as_file))
        for tag, value in (("machine", "machine"), ("made_with", "made_with"), ("status_note", "note")):
            self.client.set_tag(run_id, tag, result[value])
        self._end(trial, "FINISHED", "")

    def _adorn(self, trial: Trial, action: Callable[[], None]) -> None:
        """Acts; what fails for good is remarked upon, and the trial's run is ended all the same."""
        try:
            action()
        except Exception as error:  # whatever MLflow raises
            if is_transient(error) and not self._late:
                raise
            self.remarks.append(f"MLflow, {trial.name}: its files are not all there ({reason(error)})")

    def _end(self, trial: Trial, status: str, error: str) -> None:
        if trial.name not in self._runs:
            self._start(trial)
        if error:
            self.client.set_tag(self._runs[trial.name], "error", error)
        self.client.set_terminated(self._runs[trial.name], status)
