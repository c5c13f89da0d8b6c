"""Says in one line what MLflow's server could not use, and exits with 1: its database, or the place of its files.

    python clusters/reach.py

It reads MLFLOW_BACKEND_STORE_URI and MLFLOW_ARTIFACTS_DESTINATION, as `mlflow server` does. That would ask a database
that does not answer for minutes, and learn that it can keep no files when the first trial sends one.
"""

import os
import sys

import sqlalchemy

from orchestrator.tracking.backend import prove_files, without_password


def main() -> None:
    """Looks at both."""
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
    name = "MLFLOW_BACKEND_STORE_URI"
    try:
        sqlalchemy.create_engine(os.environ[name]).connect().close()
        name = "MLFLOW_ARTIFACTS_DESTINATION"
        prove_files(os.environ[name], os.environ["MLFLOW_BACKEND_STORE_URI"])
    except Exception as error:  # each database and each filesystem has errors of its own
        cause = getattr(error, "orig", None) or error
        said = without_password(" ".join(f"{type(cause).__name__}: {cause}".split()))
        sys.exit(f"{name}, {without_password(os.environ[name])}: {said}")


if __name__ == "__main__":
    main()
