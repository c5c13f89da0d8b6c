"""A name that is given to one change after another: the table shows the change of today, with its own figures."""

import csv

import pytest

pytestmark = pytest.mark.slow


def table(storage):
    (path,) = storage.glob("studies/*/table.csv")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "miou"]
    return {row["variant"]: (row["delta"], row["n"], row["mean"]) for row in rows}


def test_the_third_command_shows_what_the_first_made(commands, finished, copied):
    storage = copied(finished).storage
    seen, pictures = [], []
    for schedule in ("cosine", "linear", "cosine"):
        delta = "diffusion.beta_schedule=cosine" if schedule == "cosine" else "training.learning_rate=0.1"
        command = commands(storage, "--variants", "baseline", "--variant", f"mine: {delta}")
        done = command.run()
        assert done.returncode == 0, done.stderr
        seen.append(table(command.storage)["mine"])
        assert seen[-1][:2] == (delta, "1")
        pictures.append(next(command.storage.glob("studies/*/pictures/mine-seed0/samples.png")).read_bytes())
    assert "0 to run" in done.stdout
    assert seen[0] == seen[2] != seen[1]
    assert pictures[0] == pictures[2] != pictures[1]
    done = commands(storage, "--variants", "cosine").run()
    assert done.returncode == 0, done.stderr
    assert "not part of this command, kept from earlier ones of this study: mine" in done.stdout
    assert "mine" in table(storage)
