"""Prints, for each variant of a study, its difference from each control with the 95 % interval, paired by seed.

python benchmarks/against_controls.py TRACKING_URI STUDY [METRIC] [CONTROL ...]

The study's own table compares variants with the baseline. Here the question is whether features beat none at all.
"""

import sys

from results.statistics import compare, paired_differences
from results.trials import FINISHED, load_trials


def main(uri: str, study: str, metric: str = "miou", *controls: str) -> None:
    trials = load_trials(uri, study)
    finished = trials[(trials["status"] == FINISHED) & (trials["kind"] != "probe") & trials[metric].notna()]
    values = {name: own.set_index("seed")[metric] for name, own in finished.groupby("variant", sort=False)}
    for control in controls or finished.loc[finished["kind"] == "control", "variant"].unique():
        print(f"{metric}: difference from {control} ({values[control].mean():.3f})")
        for name, own in values.items():
            if name == control:
                continue
            found = compare(paired_differences(own, values[control]))
            interval = f"[{found.ci_low:+.3f}, {found.ci_high:+.3f}]"
            print(f"  {name:24s} {own.mean():.3f}  {found.difference:+.3f} {interval}  {found.pairs} seeds")


if __name__ == "__main__":
    main(*sys.argv[1:])
