"""Readers of sites and of checkpoints against altered files: nothing but a ValueError may come.

python -m experiments.formats.fuzz --count 100000 [--seeds S [S ...]] [--json FILE]

Valid files of every kind are altered: bits, cuts, insertions, parts of other files, numbers, whole
branches of their trees; half of those with a checksum get one that fits, so that what lies behind
it is reached, too. Each must be refused by a ValueError of one line, or be read as finite values
that fit together. Of compact files only every tenth is large enough for groups of sites, as these
take a quarter of a second to decode. The report is rewritten after every seed, and seeds that it
holds are skipped.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import struct
import time
import zlib
from collections.abc import Callable
from functools import partial

import flax.serialization
import jax
import numpy as np

from experiments.machine import read_rows, write_report
from sad_jax.coding.encode import encode
from sad_jax.fitting import checkpoint
from sad_jax.fitting.config import FitConfig
from sad_jax.fitting.fast import FastFit
from sad_jax.fitting.photo import Photo
from sad_jax.lists.candidates import Candidates
from sad_jax.model.canvas import Canvas
from sad_jax.model.room import MAX_PIXELS
from sad_jax.model.sites import Sites, pad
from sad_jax.optimize.adam import paper_optimizer
from sad_jax.optimize.state import State
from sad_jax.storage import files, official, sad
from sad_jax.storage.compact import layout
from sad_jax.storage.numbers import Cursor

NUMBERS = [0, -1, 1, 7, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, -(2**31), 2**63, 2**64, 10**30]
FLOATS = [float("nan"), float("inf"), -float("inf"), -0.0, 1e-46, 3e38, -3e38, 1e308, 89.0]
with np.errstate(over="ignore"):
    SINGLES = np.asarray(FLOATS).astype("<f4")
WORDS = [b"nan", b"inf", b"-inf", b"1e309", b"-1e309", b"1e39", b"0x10", b"1_0", b"", b"-", b"NaN"]
WORDS += [b"Infinity", b"1" * 400, b"9" * 5000, b"\xff", b"null", b"true", b"[]", b"1e", b"-0"]
COMPACT = [*[(1, 1), (2, 3), (9, 3)] * 3, (530, 4)]  # sites and channels
TOKEN = re.compile(rb"-?\d[\d.eE+-]*")
CHECKPOINT = struct.Struct("<12sI")  # the CRC-32 is last
FIRST = struct.Struct("<18sII")  # the same of a .sad of version 1, with the payload's length


class Seeds:
    """Valid files by kind, and the reader of each kind; a reader's result is checked, too."""

    def __init__(self, rng: np.random.Generator):
        sites = [_sites(rng, n, channels) for n, channels in ((5, 3), (1, 1), (3, 7))]
        canvas = Canvas((12, 16), k=6, cell=2)
        states = states_of(sites[0]).values()
        text = official.format_txt(sites[0], canvas).encode()
        self.files: dict[str, list[bytes]] = {
            "sad": [_first_version(sites[0], canvas)]
            + [sad.encode_raw(each, canvas) for each in sites],
            "compact": [
                encode(_sites(rng, n, channels), Canvas((30, 40)), quality=5.0)
                for n, channels in COMPACT
            ],
            "txt": [text, re.sub(rb"# (Total|Active).*\n", b"", text)],
            "json": [official.format_json(sites[0], canvas).encode()],
            "checkpoint": [_checkpoint(*state) for state in states],
        }
        self.readers: dict[str, list[Callable[[bytes], None]]] = {
            "sad": [partial(_read_sites, ".sad")] * (1 + len(sites)),
            "compact": [partial(_read_sites, ".sad")] * len(COMPACT),
            "txt": [partial(_read_sites, ".txt")] * 2,
            "json": [partial(_read_sites, ".json")],
            "checkpoint": [partial(_read_checkpoint, *state) for state in states],
        }


def alter(data: bytes, kind: str, seeds: Seeds, rng: np.random.Generator) -> bytes:
    """One to three alterations, and perhaps a checksum that fits."""
    for _ in range((1, 1, 2, 3)[rng.integers(4)]):
        data = ALTERATIONS[rng.integers(len(ALTERATIONS))](data, kind, seeds, rng)
    return repair(data, kind) if rng.random() < 0.5 else data


def repair(data: bytes, kind: str) -> bytes:
    """The same with checksums that fit, and for ``.sad`` the length of what is there."""
    if kind in ("sad", "compact"):
        return _repair_sad(data)
    if kind != "checkpoint" or len(data) < CHECKPOINT.size:
        return data
    head, _ = CHECKPOINT.unpack_from(data)
    body = data[CHECKPOINT.size :]
    return CHECKPOINT.pack(head, zlib.crc32(body)) + body


def _repair_sad(data: bytes) -> bytes:
    try:
        header, end, _ = sad.parse_header(data[: sad.LONGEST_HEADER])
        body = data[end + sad.CHECKSUM_BYTES :]
        if header.version == 1:
            head = data[: FIRST.size - 8] + struct.pack("<I", len(body))
            return head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body
        start = sad.write_start(header.codec, header.canvas, header.channels, header.num_sites)
        if header.codec == sad.COMPACT:
            cursor = Cursor(body)
            shape = header.num_sites, header.channels, header.canvas.size
            layout.read_index(cursor, layout.read_head(cursor, *shape).order)
            body = layout.sealed(start, body[: cursor.at]) + body[cursor.at + 4 :]
        return sad.join(start, body)
    except ValueError:
        return data


def _first_version(sites: Sites, canvas: Canvas) -> bytes:
    """A file as version 1 wrote it."""
    data = sad.encode_raw(sites, canvas)
    header = sad.read_header(data)
    body = data[len(data) - header.payload_bytes :]
    head = struct.pack("<4s4B3H2I", *header._replace(version=1))
    return head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body


def _flip(data, kind, seeds, rng):
    out = bytearray(data)
    for at in rng.integers(0, 8 * max(len(out), 1), rng.integers(1, 5)) if out else ():
        out[at // 8] ^= 1 << at % 8
    return bytes(out)


def _cut(data, kind, seeds, rng):
    return data[: rng.integers(0, len(data) + 1)]


def _take_out(data, kind, seeds, rng):
    a, b = sorted(rng.integers(0, len(data) + 1, 2))
    return data[:a] + data[b:]


def _insert(data, kind, seeds, rng):
    at = rng.integers(0, len(data) + 1)
    return data[:at] + rng.bytes(rng.integers(1, 9)) + data[at:]


def _splice(data, kind, seeds, rng):
    """A part of the same or another file, at a place of its own."""
    kinds = list(seeds.files) if rng.random() < 0.2 else [kind]
    files = seeds.files[kinds[rng.integers(len(kinds))]]
    other = files[rng.integers(len(files))]
    (a, b), at = sorted(rng.integers(0, len(other) + 1, 2)), rng.integers(0, len(data) + 1)
    return data[:at] + other[a:b] + data[at + (b - a) * int(rng.integers(2)) :]


def _replace_number(data, kind, seeds, rng):
    """A number in words by another, or one in bytes."""
    tokens = list(TOKEN.finditer(data)) if kind in ("txt", "json") else []
    if tokens:
        token = tokens[rng.integers(len(tokens))]
        return data[: token.start()] + WORDS[rng.integers(len(WORDS))] + data[token.end() :]
    size = (1, 2, 4, 4)[form := rng.integers(4)]
    if form == 3:
        new = SINGLES[rng.integers(len(SINGLES))].tobytes()
    else:
        new = (NUMBERS[rng.integers(len(NUMBERS))] % 2 ** (8 * size)).to_bytes(size, "little")
    limit = len(data)
    if kind in ("sad", "compact") and rng.random() < 0.5:
        limit = 26 if kind == "sad" else 110
    at = rng.integers(0, max(limit, 1))
    return data[:at] + new + data[at + size :]


def _alter_tree(data, kind, seeds, rng):
    """One branch of a tree by something else."""
    try:
        if kind == "json":
            return json.dumps(_with_other_branch(json.loads(data), rng)).encode()
        if kind == "checkpoint":
            tree = flax.serialization.msgpack_restore(data[CHECKPOINT.size :])
            body = flax.serialization.msgpack_serialize(_with_other_branch(tree, rng))
            return repair(data[: CHECKPOINT.size] + body, kind)
    except Exception:
        pass  # no tree any more, or nothing that can be written
    return _flip(data, kind, seeds, rng)


ALTERATIONS = [_flip, _cut, _take_out, _insert, _splice, _replace_number, *[_alter_tree] * 3]


def _with_other_branch(tree, rng: np.random.Generator):
    """The tree, with one of its branches or leaves replaced, left out or doubled."""
    if isinstance(tree, dict) and tree and rng.random() < 0.9:
        name = list(tree)[rng.integers(len(tree))]
        act = rng.random()
        if act < 0.1:
            return {key: value for key, value in tree.items() if key != name}
        if act < 0.2:
            return tree | {f"{name}x": tree[name]}
        return tree | {name: _with_other_branch(tree[name], rng)}
    if isinstance(tree, list) and tree and rng.random() < 0.9:
        at = rng.integers(len(tree))
        return [*tree[:at], _with_other_branch(tree[at], rng), *tree[at + 1 :]]
    if isinstance(tree, np.ndarray) and rng.random() < 0.9:
        return _other_array(tree, rng)
    others = [None, True, "", "a\nb", [], {}, [tree], {"a": tree}, *NUMBERS[:9], *FLOATS]
    return others[rng.integers(len(others))]


def _other_array(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    act, out = rng.integers(5), array.copy()
    if act == 0 and out.size:
        values = FLOATS if out.dtype.kind == "f" else NUMBERS[:7]
        with np.errstate(all="ignore"):
            out.flat[rng.integers(out.size)] = np.asarray(values[rng.integers(len(values))]).astype(
                out.dtype
            )
    elif act == 1:
        with np.errstate(all="ignore"):
            out = out.astype(("f2", "f8", "i1", "i8", "u4", "c8", "?")[rng.integers(7)])
    elif act == 2:
        out = out[: len(out) // 2] if out.ndim else out[None]
    elif act == 3:
        out = out.T[..., None] if out.ndim == 1 else out.T.reshape(-1)
    else:
        out = np.concatenate([out, out]) if out.ndim else out[None, None]
    return out


def _read_sites(suffix: str, data: bytes) -> None:
    _check_sites(*files.parse(data, suffix, max_pixels=MAX_PIXELS))


def _read_checkpoint(identity: dict[str, str], like: State, data: bytes) -> None:
    state, history, seconds = checkpoint.parse_checkpoint(data, identity, like)
    _check_sites(state.sites, state.lists.canvas)
    assert state.lists.num_sites == state.sites.num_sites
    ids = np.asarray(state.lists.ids)
    assert -1 <= ids.min() <= ids.max() < state.sites.num_sites
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.optimizer))
    assert int(state.step) >= 0
    assert 0 <= seconds < np.inf
    assert len({len(values) for values in history.values()}) == 1


def _check_sites(sites: Sites, canvas: Canvas) -> None:
    n = sites.num_sites
    assert n >= 1
    assert sites.channels >= 1
    assert min(canvas.shape) >= 1
    assert canvas.pixels <= MAX_PIXELS
    for leaf in jax.tree.leaves(sites):
        assert leaf.shape[0] == n
        assert leaf.dtype == np.float32
        assert np.isfinite(np.asarray(leaf)).all()


def _sites(rng: np.random.Generator, n: int, channels: int) -> Sites:
    shapes = {"position": (n, 2), "color": (n, channels), "direction": (n, 2)}
    names = ("position", "log_tau", "radius", "color", "direction", "log_aniso")
    return Sites(**{a: rng.uniform(0.1, 9, shapes.get(a, n)).astype(np.float32) for a in names})


def _fast_state(sites: Sites) -> tuple[dict[str, str], State]:
    config = FitConfig(num_sites=3)
    method = FastFit(config.constants)
    return _identity(config), _state(sites, method.optimizer.init(sites), None)


def _paper_state(sites: Sites) -> tuple[dict[str, str], State]:
    config = FitConfig.paper(num_sites=3)
    sites = pad(sites, 8)
    optimizer = paper_optimizer(config.constants.rates).init(sites)
    return _identity(config), _state(sites, optimizer, jax.random.key(2))


def states_of(sites: Sites) -> dict[str, tuple[dict[str, str], State]]:
    """A fit's identity and its state, by the name of its recipe."""
    return {"fast": _fast_state(sites), "paper": _paper_state(sites)}


def _identity(config: FitConfig) -> dict[str, str]:
    photo = np.zeros((4, 6, 3), np.float32)
    return checkpoint.identity_of(Photo(photo), config, jax.random.key(0))


def _state(sites: Sites, optimizer, key: jax.Array | None) -> State:
    ids = np.arange(4 * 6 * 4, dtype=np.int32).reshape(4, 6, 4) % sites.num_sites
    lists = Candidates(ids, np.int32(3), Canvas((4, 6), k=4), sites.num_sites)
    return State(sites, lists, optimizer, np.int32(5), np.float32(0.5), key)


def _checkpoint(identity: dict[str, str], state: State) -> bytes:
    history = {"step": [5], "psnr": [20.5], "sites": [5], "seconds": [1.5]}
    return checkpoint.format_checkpoint(identity, state, history, 1.5)


def fuzz(count: int, seed: int) -> dict[str, object]:
    """How many of so many altered files were refused, read, and handled wrongly, by kind."""
    rng = np.random.default_rng(seed)
    seeds = Seeds(rng)
    kinds = list(seeds.files)
    counts: dict[str, collections.Counter] = {kind: collections.Counter() for kind in kinds}
    wrong: list[dict[str, str]] = []
    slowest = dict.fromkeys(kinds, 0.0)
    start = time.process_time()
    for i in range(count):
        kind = kinds[i % len(kinds)]
        which = rng.integers(len(seeds.files[kind]))
        data = alter(seeds.files[kind][which], kind, seeds, rng)
        began = time.process_time()
        verdict, why = judge(seeds.readers[kind][which], data)
        slowest[kind] = max(slowest[kind], time.process_time() - began)
        counts[kind][verdict] += 1
        if verdict == "wrong" and len(wrong) < 20:
            wrong.append({"kind": kind, "why": why, "file": data.hex()})
    return {
        "seed": seed,
        "inputs": count,
        "counts": {kind: dict(sorted(each.items())) for kind, each in counts.items()},
        "wrong": wrong,
        "slowest_cpu_seconds": {kind: round(each, 3) for kind, each in slowest.items()},
        "inputs_per_cpu_second": round(count / (time.process_time() - start)),
    }


def judge(read: Callable[[bytes], None], data: bytes) -> tuple[str, str]:
    """Whether a file was refused or read as it should be, or else what came."""
    try:
        read(data)
    except ValueError as error:
        one_line = str(error).startswith("expected ") and "\n" not in str(error)
        return ("refused", "") if one_line else ("wrong", f"ValueError: {error}")
    except Exception as error:
        return "wrong", f"{type(error).__name__}: {error}"
    return "read", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json")
    args = parser.parse_args()
    rows = read_rows(args.json)
    for seed in sorted(set(args.seeds) - {row["seed"] for row in rows}):
        rows.append(fuzz(args.count, seed))
        print(json.dumps(rows[-1], indent=1), flush=True)
        write_report(args.json, inputs=sum(row["inputs"] for row in rows), rows=rows)


if __name__ == "__main__":
    main()
