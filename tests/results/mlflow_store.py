"""An MLflow store for the tests, with trials written as the driver writes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

STUDY = "digits-ablations"  # the study that the fixture `trials` is of


class Store:
    """A new MLflow database, and the driver's way of writing a trial into it."""

    def __init__(self, path: Path) -> None:
        from mlflow import MlflowClient

        self.uri = f"sqlite:///{path}"
        self.client: MlflowClient = MlflowClient(self.uri)
        self.started = 0

    def study(self, name: str) -> str:
        return self.client.create_experiment(name, artifact_location=f"file:///nowhere/{name}")

    def trial(
        self,
        study: str,
        variant: str,
        seed: int,
        metrics: dict[str, float],
        status: str = "FINISHED",
        params: dict[str, str] | None = None,
        **tags: str,
    ) -> str:
        self.started += 1000
        known = {"variant": variant, "seed": str(seed), "kind": "variant", "position": "0", "delta": "-"}
        run = self.client.create_run(study, self.started, {**known, **tags}, f"{variant}-seed{seed}")
        run_id = str(run.info.run_id)
        for name, text in (params or {"unet.block": "resnet"}).items():
            self.client.log_param(run_id, name, text)
        for name, value in metrics.items():
            self.client.log_metric(run_id, name, value)
        if status != "RUNNING":
            self.client.set_terminated(run_id, status)
        return run_id
