"""Bytes a site against what rounding loses, and the time it takes.

    python -m experiments.codec.sizes PHOTO [PHOTO ...] --sites 1536 [--quality 2 5 8 11 14]
        [--json FILE]

Each photograph is fitted once in float32 and encoded at several qualities; bytes a site at a loss
of 0.1, 0.3 and 1 dB lie on the line between those, in the logarithm of the loss. PSNR is that of
the float pictures decoded from the bytes. Times are those of the processor, all programs compiled
beforehand: encoding over the fit, decoding to arrays, and at the median of the qualities.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import jax
import numpy as np

import sad_jax as sad
from experiments.machine import read_rows, write_report
from sad_jax.storage import sad as container

LOSSES = (0.1, 0.3, 1.0)


def measure(photo: np.ndarray, num_sites: int, qualities: list[float]) -> dict:
    """The figures of one photograph."""
    warm = sad.FitConfig(num_sites=num_sites, steps=20)
    sad.fit(photo, warm, key=jax.random.key(0))
    config = sad.FitConfig(num_sites=num_sites, quality="lossless")
    result, fit_seconds = timed(lambda: sad.fit(photo, config, key=jax.random.key(0)))
    sites, canvas, files = result.float_sites, result.canvas, []
    for quality in qualities:
        encode = lambda q=quality: sad.encode(sites, canvas, target=photo, quality=q)  # noqa: E731
        data, seconds = timed(encode)
        (decoded, _), decode_seconds = timed(lambda data=data: sad.decode(data))
        file = {
            "quality": quality,
            "bytes": len(data),
            "psnr": sad.metrics.psnr(sad.render(decoded, canvas), photo),
            "encode_cpu_seconds": seconds,
            "decode_cpu_seconds": decode_seconds,
        }
        files.append(file | parts(data))
    losses = [result.psnr - file["psnr"] for file in files]
    per_site = [file["bytes"] / num_sites for file in files]
    order = np.argsort(losses)
    found = np.interp(np.log(LOSSES), np.log(losses)[order], np.array(per_site)[order])
    middle = files[len(files) // 2]
    return {
        "sites": num_sites,
        "float_psnr": result.psnr,
        "bytes_per_site": dict(zip(map(str, LOSSES), found.tolist(), strict=True)),
        "fit_cpu_seconds": fit_seconds,
        "encode_over_fit": middle["encode_cpu_seconds"] / fit_seconds,
        "files": files,
    }


def parts(data: bytes) -> dict[str, int]:
    """Bytes of the head with the container's header, of the index, of the base and of groups."""
    header = container.read_header(data)
    start = len(data) - header.payload_bytes
    payload = container.open_payload(header, lambda at, n: data[start + at : start + at + n])
    base, groups = sum(payload.index.base), sum(payload.index.groups)
    order = payload.head.order
    index = order.groups * 6 + order.base_lanes * 2
    return {"head": len(data) - base - groups - index, "index": index, "base": base}


def timed(run):
    """A result, and the seconds of the processor that it took."""
    start = time.process_time()
    result = run()
    return result, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--sites", type=int, nargs="+", default=[1536])
    parser.add_argument("--quality", type=float, nargs="+", default=[2, 5, 8, 11, 14])
    parser.add_argument("--json")
    args = parser.parse_args()
    rows = read_rows(args.json)
    done = {(row["photo"], row["sites"]) for row in rows}
    for num_sites in args.sites:
        for path in args.photos:
            name = Path(path).stem
            if (name, num_sites) not in done:
                row = measure(sad.read_image(path), num_sites, args.quality)
                rows.append({"photo": name} | row)
                write_report(args.json, rows=rows)
                show(rows[-1])
        show(mean([row for row in rows if row["sites"] == num_sites]))


def mean(rows: list[dict]) -> dict:
    bytes_per_site = {
        str(loss): float(np.mean([row["bytes_per_site"][str(loss)] for row in rows]))
        for loss in LOSSES
    }
    added = float(np.mean([row["encode_over_fit"] for row in rows]))
    first = {"photo": "mean", "sites": rows[0]["sites"]}
    return first | {"bytes_per_site": bytes_per_site, "encode_over_fit": added}


def show(row: dict) -> None:
    sizes = ", ".join(f"{v:.2f} at {k} dB" for k, v in row["bytes_per_site"].items())
    added = f"{100 * row['encode_over_fit']:.0f} % of the fit's time"
    print(f"{row['photo']}, {row['sites']} sites: bytes a site {sizes}; {added}", flush=True)


if __name__ == "__main__":
    main()
