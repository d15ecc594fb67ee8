"""Asymmetric numeral systems (Duda 2013) over many lanes at once: symbols to bytes and back.

A lane is a stream of its own: a state u32, then words u16, little-endian. Reading a symbol of share
f that begins at b, of 2^14 parts: with slot = x mod 2^14, x becomes f (x >> 14) + slot - b, and if
that is below 2^16 the next word is taken in, x = 2^16 x + word. A lane ends with x = 2^16 and no
word left, which its reader checks: a flipped bit is seen but for once in 65,536 times.

Lanes go in step: a **turn** reads one symbol from each of some lanes.
"""

from __future__ import annotations

import itertools

import numpy as np

from sad_jax.storage.compact.tables import (
    SHARE_BITS,
    SHARES,
    SYMBOLS,
    Shapes,
    residual_tables,
)

LOWEST = 2**16  # of a state between two symbols
_STATE_BYTES = 4


class Turns:
    """Which lane each symbol of a batch belongs to: int64[M], in turns that begin at ``starts``.

    Within a turn every lane stands at most once. ``rows``: whether each turn has the first lanes.
    """

    def __init__(self, lanes: np.ndarray, starts: np.ndarray, rows: bool = False):
        self.lanes, self.starts, self.rows = lanes, starts, rows

    @classmethod
    def in_rows(cls, counts: np.ndarray) -> Turns:
        """Turns in each of which the first so many lanes have a symbol."""
        starts = np.concatenate([[0], np.cumsum(counts)])
        lanes = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
        return cls(lanes, starts, rows=True)

    def where(self, kept: np.ndarray) -> Turns:
        """The turns of some of the symbols, bool[M]."""
        before = np.concatenate([[0], np.cumsum(kept)])
        return Turns(self.lanes[kept], np.unique(before[self.starts]))

    def __len__(self) -> int:
        return len(self.lanes)

    def __iter__(self):
        """Of each turn where its symbols start and stop, and its lanes, as an index."""
        bounds = self.starts.tolist()
        for start, stop in itertools.pairwise(bounds):
            yield start, stop, slice(stop - start) if self.rows else self.lanes[start:stop]


class Reader:
    """Symbols of lanes from their bytes.

    Raises:
      ValueError: by ``__init__`` and ``finish``, bytes that are no whole lanes.
    """

    def __init__(self, lanes: list[bytes]):
        sizes = np.array([len(lane) for lane in lanes], np.int64)
        if (sizes < _STATE_BYTES).any() or (sizes % 2).any():
            raise ValueError(f"expected lanes of whole words, got {sizes.tolist()} bytes")
        words = np.frombuffer(b"".join(lanes) + b"\0\0", "<u2").astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes // 2)])
        self.words, self.ends = words, starts[1:]
        self.states = words[starts[:-1]] | words[starts[:-1] + 1] << 16
        self.next = starts[:-1] + 2

    def residuals(self, rows: np.ndarray, turns: Turns, _=None) -> np.ndarray:
        """Symbols 0 to 63 by the rows of the residuals' tables."""
        borders, symbols = residual_tables()
        flat_borders, flat_symbols = borders.ravel(), symbols.ravel()
        first, table = rows * (SYMBOLS + 1), rows << SHARE_BITS
        out = np.empty(len(turns), np.int64)
        for start, stop, lanes in turns:
            slot, state = self._slots(lanes)
            symbol = flat_symbols[table[start:stop] + slot]
            out[start:stop] = symbol
            at = first[start:stop] + symbol
            begin = flat_borders[at]
            self._take(lanes, state, slot, begin, flat_borders[at + 1] - begin)
        return out

    def uniform(self, counts: np.ndarray, turns: Turns, _=None) -> np.ndarray:
        """Numbers from 0 to below ``counts``, of 1 to 2^14."""
        out = np.empty(len(turns), np.int64)
        for start, stop, lanes in turns:
            count = counts[start:stop]
            slot, state = self._slots(lanes)
            value = ((slot + 1) * count - 1) >> SHARE_BITS
            out[start:stop] = value
            begin = (value << SHARE_BITS) // count
            share = ((value + 1) << SHARE_BITS) // count - begin
            self._take(lanes, state, slot, begin, share)
        return out

    def shaped(self, shapes: Shapes, rows: np.ndarray, counts, turns: Turns, _=None) -> np.ndarray:
        """Numbers from 0 to below ``counts`` <= 128 by rows of shapes."""
        out = np.empty(len(turns), np.int64)
        for start, stop, lanes in turns:
            row, count = rows[start:stop], counts[start:stop]
            slot, state = self._slots(lanes)
            value = shapes.number(row, slot, count)
            out[start:stop] = value
            begin = shapes.border(row, value, count)
            self._take(lanes, state, slot, begin, shapes.border(row, value + 1, count) - begin)
        return out

    def finish(self) -> None:
        """Checks that every lane is at its end."""
        if (self.states != LOWEST).any() or (self.next != self.ends).any():
            raise ValueError("expected symbols that end with their bytes, got a damaged file")

    def _slots(self, lanes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        state = self.states[lanes]
        return state & (SHARES - 1), state

    def _take(self, lanes, state, slot, begin, share) -> None:
        state = share * (state >> SHARE_BITS) + slot - begin
        short = state < LOWEST
        place = np.minimum(self.next[lanes], self.ends[lanes])
        self.states[lanes] = np.where(short, state << 16 | self.words[place], state)
        self.next[lanes] = self.next[lanes] + short


class Writer:
    """The same calls with the symbols to write; ``finish`` gives the bytes of the lanes."""

    def __init__(self, lanes: int):
        self.count = lanes
        self.records: list[tuple[Turns, np.ndarray, np.ndarray]] = []

    def residuals(self, rows: np.ndarray, turns: Turns, symbols) -> np.ndarray:
        borders, _ = residual_tables()
        self._add(turns, borders[rows, symbols], borders[rows, symbols + 1])
        return symbols

    def uniform(self, counts: np.ndarray, turns: Turns, values) -> np.ndarray:
        begin, end = ((value << SHARE_BITS) // counts for value in (values, values + 1))
        self._add(turns, begin, end)
        return values

    def shaped(self, shapes: Shapes, rows: np.ndarray, counts, turns: Turns, values) -> np.ndarray:
        begin, end = (shapes.border(rows, value, counts) for value in (values, values + 1))
        self._add(turns, begin, end)
        return values

    def _add(self, turns: Turns, begin: np.ndarray, end: np.ndarray) -> None:
        self.records.append((turns, begin, end - begin))

    def bits(self) -> float:
        """What the symbols take, in bits, without the states."""
        return sum(float(np.sum(SHARE_BITS - np.log2(share))) for _, _, share in self.records)

    def finish(self) -> list[bytes]:
        """The bytes of each lane, written from the last symbol to the first."""
        states = np.full(self.count, LOWEST, np.int64)
        emitted: list[tuple[np.ndarray, np.ndarray]] = []
        for turns, begin, share in reversed(self.records):
            for start, stop, _ in reversed(list(turns)):
                lanes = turns.lanes[start:stop]
                state, part = states[lanes], share[start:stop]
                full = state >= part << (32 - SHARE_BITS)
                if full.any():
                    emitted.append((lanes[full], state[full] & 0xFFFF))
                    state = np.where(full, state >> 16, state)
                states[lanes] = (state // part << SHARE_BITS) + state % part + begin[start:stop]
        none = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        lanes, values = (
            np.concatenate(parts)[::-1] for parts in zip(*(emitted or none), strict=True)
        )
        values = values[np.argsort(lanes, kind="stable")].astype("<u2")
        ends = np.cumsum(np.bincount(lanes, minlength=self.count))
        return [
            int(state).to_bytes(_STATE_BYTES, "little") + words.tobytes()
            for state, words in zip(states, np.split(values, ends[:-1]), strict=True)
        ]
