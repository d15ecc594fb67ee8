"""Our reader of pictures against the values of synthetic files and against other readers.

python -m experiments.formats.compare [FOLDER ...] [--json FILE]

Synthetic files of every layout must be read as the values that were written. Files of the folders
are given to ImageMagick, imagecodecs and imageio too: a file is "different" if some of the first
two read it, none of these agrees with us, and it is not known why; how imageio does is counted
beside it.
"""

from __future__ import annotations

import argparse
import collections
import fnmatch
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np

from experiments.formats.readers import READERS, as_rgba
from experiments.formats.synthetic import cases
from experiments.machine import write_report
from sad_jax.storage.pictures import read_image

LOSSY = re.compile(r"\.(jpe?g|mpo|webp|avifs?|heif|jp2|j2k|jxl)$|old-style-jpeg", re.IGNORECASE)
OTHERS_ARE_WRONG = {  # files of Pillow's tests, and why the others' values are not those
    "16bit.s.tif": "ImageMagick adds half of the range to signed integers",
    "*/badrle.bmp": "broken; what is missing is anybody's guess",
    "clipboard.dib": "ImageMagick takes its fourth byte for alpha, which its masks do not name",
    "*transparency.gif": "ImageMagick shows the frame without the screen around it",
    "hopper.Lab.tif": "saturated red; LittleCMS differs from us by up to 0.034, by interpolation",
    "lab-red.tif": "0.005 in a channel",
    "*la*.tga": "ImageMagick misreads gray with alpha; ours is that of the PNG beside it",
    "rgb32rle*.tga": "ImageMagick reads alpha that the extension area says is none",
    "pil184.pcx": "ImageMagick has the negative, against its palette of black and white",
    "python.ico": "ImageMagick reads the first size, we the largest",
    "*/hopper?I*.tif": "ImageMagick has the negative; ours equals hopper?.tif",
    "*xmp_tags_orientation*": "the orientation is in XMP alone, where the others do not look",
}


def ours(path: Path) -> tuple[np.ndarray | None, str]:
    """The values, or None and why it was refused; notes are joined."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            image = read_image(path)
        except ValueError as error:
            return None, str(error).removesuffix(f": {path}").partition(", got ")[2]
    return image, "; ".join(str(note.message).removesuffix(f": {path}") for note in told)


def compare_synthetic() -> dict:
    """Every layout: right, wrong, refused; the same for imageio."""
    found: dict[str, list[str]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for name, data, values, tolerance in cases():
            path = Path(folder) / name
            path.write_bytes(data)
            image, reason = ours(path)
            if image is None:
                found["refused"].append(f"{name}: {reason}")
            else:
                same = image.shape == values.shape and np.abs(image - values).max() <= tolerance
                found["equal" if same else "different"].append(name)
            found[f"imageio {_judge(READERS['imageio'], path, values, tolerance)}"].append(name)
    return _figures(found, lists=("refused", "different"))


def compare_folder(folder: Path) -> dict:
    """All files of a folder and those below it."""
    found: dict[str, list[str]] = collections.defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        image, reason = ours(path)
        name = str(path.relative_to(folder))
        if image is None:
            found["refused"].append(f"{name}: {reason}")
            continue
        if reason:
            found["told"].append(f"{name}: {reason}")
        tolerance = 1.01 / 255
        verdicts = {
            reader: _judge(read, path, image, tolerance) for reader, read in READERS.items()
        }
        judges = [verdicts["imagemagick"], verdicts["imagecodecs"]]
        if "equal" in judges:
            found["equal"].append(name)
        elif "different" not in judges:
            found["read by us alone"].append(name)
        else:
            reasons = (OTHERS_ARE_WRONG[p] for p in OTHERS_ARE_WRONG if fnmatch.fnmatch(name, p))
            why = next(reasons, None)
            if why is None:
                found["different"].append(name)
            else:
                found["others are wrong"].append(f"{name}: {why}")
        found[f"imageio {verdicts['imageio']}"].append(name)
    return _figures(found, lists=("refused", "told", "different", "others are wrong"))


def _judge(read, path: Path, values: np.ndarray, tolerance: float) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = read(path)
        mine = as_rgba(values)
    except Exception:
        return "refused"
    if other.shape != mine.shape:
        return "different"
    error = np.abs(other - mine)
    lossy = LOSSY.search(path.name)  # decoders round, and enlarge chroma, as they like
    same = error.mean() <= 2 * tolerance if lossy else error.max() <= tolerance
    return "equal" if same else "different"


def _figures(found: dict[str, list[str]], lists: tuple[str, ...]) -> dict:
    counts = {name: len(files) for name, files in sorted(found.items())}
    return {"counts": counts} | {name: found[name] for name in lists if found[name]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--json")
    args = parser.parse_args()
    figures = {"synthetic": compare_synthetic()}
    figures |= {folder.name: compare_folder(folder) for folder in args.folders}
    for name, found in figures.items():
        print(name, found["counts"])
        for file in found.get("different", ()):
            print("  different:", file)
    write_report(args.json, **figures)


if __name__ == "__main__":
    main()
