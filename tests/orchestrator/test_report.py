"""`report` and `gate` on a real MLflow store: what they print, where, and their exit codes."""

import json

import pytest

from orchestrator.run import main
from results.alpha_spending import TAG, Looks
from tests.results.mlflow_store import Store


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """A storage folder with a study of three seeds, in which `mine` is better, `noisy` is not known, `few` has one."""
    storage = tmp_path_factory.mktemp("runs")
    store = Store(storage / "mlflow.db")
    study = store.study("judged")
    store.client.set_experiment_tag(study, TAG, Looks().after(range(3), []).as_text())
    for seed, (baseline, noisy) in enumerate([(20.0, 19.0), (20.4, 21.5), (19.8, 19.5)]):
        store.trial(study, "baseline", seed, {"fid": baseline})
        store.trial(study, "mine", seed, {"fid": baseline / 4}, position="1")
        store.trial(study, "noisy", seed, {"fid": noisy}, position="2")
        store.trial(study, "untrained", seed, {"fid": 300.0}, position="4", kind="control")
    store.trial(study, "few", 0, {"fid": 20.0}, position="3")
    store.trial(study, "few", 1, {}, "FAILED", position="3", error="OSError: gone")
    return storage


def run(storage, capsys, *words):
    code = main([*words, "--storage", str(storage)])
    return code, *capsys.readouterr()


def test_the_object_stands_alone_on_standard_output_and_the_table_beside_it(storage, capsys):
    code, out, err = run(storage, capsys, "report", "judged", "--json", "-")
    content = json.loads(out)
    assert code == 0
    assert (content["study"], content["planned_seeds"]) == ("judged", [0, 1, 2])
    rows = {row["variant"]: row for row in content["rows"]}
    assert (rows["mine"]["mean"], rows["mine"]["verdict"]) == (pytest.approx(60.2 / 12), "helps")
    assert (rows["untrained"]["kind"], rows["untrained"]["p"]) == ("control", None)
    assert "helps" in err
    assert "report.html" in err


def test_the_object_goes_to_a_file_and_the_table_stays_where_it_was(storage, capsys, tmp_path):
    file = tmp_path / "study.json"
    code, out, _ = run(storage, capsys, "report", "judged", "--json", str(file))
    assert code == 0
    assert f"json      {file}" in out
    assert "helps" in out
    assert json.loads(file.read_text())["study"] == "judged"


def test_a_file_that_cannot_be_written_is_told_in_one_line(storage, capsys, tmp_path):
    code, _, err = run(storage, capsys, "report", "judged", "--json", str(tmp_path / "not" / "there.json"))
    assert code == 2
    assert err.splitlines() == [
        f"error: --json: cannot write {tmp_path / 'not' / 'there.json'} (No such file or directory)"
    ]


@pytest.mark.parametrize(
    ("variant", "within", "code", "said"),
    [
        ("mine", "0", 0, "it is better"),
        ("mine", "2%", 0, "2 % of the baseline's 20.0667"),
        ("noisy", "2%", 1, "the interval is too wide, and more seeds would narrow it"),
        ("noisy", "1000", 0, "at worst it is"),
        ("few", "1000", 1, "no interval, one seed: no uncertainty"),
    ],
)
def test_a_gate_is_an_exit_code_and_one_line(variant, within, code, said, storage, capsys):
    words = ("gate", "judged", "--metric", "fid", "--variant", variant, "--within", within)
    found, out, err = run(storage, capsys, *words)
    assert (found, len(out.splitlines()), err) == (code, 1, "")
    assert out.startswith(f"{'fail' if code else 'pass'}: fid of {variant} against the baseline")
    assert said in out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "other"}, "no study 'other'; studies that exist: judged"),
        ({"--metric": "miou"}, "--metric: must be one of fid, but got 'miou'"),
        ({"--variant": "yours"}, "--variant: must be one of mine, noisy, few, but got 'yours'"),
        ({"--variant": "untrained"}, "--variant: must be one of mine, noisy, few, but got 'untrained'"),
        ({"--within": "a lot"}, "--within: must be a share of the baseline's mean, as 2%, or a number from 0 on"),
        ({"--within": "-2%"}, "--within"),
    ],
)
def test_what_a_gate_cannot_compare_is_a_wrong_request(change, said, storage, capsys):
    words = {"name": "judged", "--metric": "fid", "--variant": "mine", "--within": "2%"} | change
    name = words.pop("name")
    code, out, err = run(storage, capsys, "gate", name, *(f"{option}={value}" for option, value in words.items()))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err


def test_a_gate_needs_its_words_and_a_folder_with_studies(capsys, tmp_path):
    assert main(["gate", "judged", "--metric", "fid", "--variant", "mine"]) == 2
    assert "--within" in capsys.readouterr().err
    words = ["--metric", "fid", "--variant", "mine", "--within", "2%"]
    assert main(["gate", "judged", *words, "--storage", str(tmp_path)]) == 2
    assert "no study has been run in" in capsys.readouterr().err
