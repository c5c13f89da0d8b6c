"""Lays CamVid out as a folder with splits of its own: labels from all its training drives, not from one.

python benchmarks/camvid_folder.py CAMVID_ROOT TARGET   (CAMVID_ROOT holds VOCdevkit)

CamVid's val.txt is a single drive, so labels from it say little of the drives in test.txt. Here a fixed random fifth
of train.txt and val.txt together is the label pool, the rest trains the DDPM, and test.txt is held out as before.
"""

import sys
from pathlib import Path

from trainables.data.listing import shuffled

CLASSES = "[sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist]"


def main(root: Path, target: Path) -> None:
    base = root / "VOCdevkit" / "VOC2012"
    sets = base / "ImageSets" / "Segmentation"
    train, val, test = ((sets / f"{name}.txt").read_text().split() for name in ("train", "val", "test"))
    order = shuffled([*train, *val], seed=0)
    fifth = len(order) // 5
    for name, source in (("images", "JPEGImages"), ("masks", "SegmentationClass")):
        target.mkdir(parents=True, exist_ok=True)
        (target / name).symlink_to((base / source).resolve(), target_is_directory=True)
    for name, stems in (("labels", order[:fifth]), ("train", order[fifth:]), ("held_out", test)):
        (target / f"{name}.txt").write_text("\n".join(stems) + "\n")
        print(f"{name}.txt: {len(stems)} images")
    (target / "classes.yaml").write_text(CLASSES + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
