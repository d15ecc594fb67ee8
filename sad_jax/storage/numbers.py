"""Whole numbers of any size in bytes, as the ``.sad`` container has them.

Seven bits a byte, the lowest first, the eighth bit set where more follow; a number takes as few
bytes as it can. Signed ones are folded: 0, -1, 1, -2 are 0, 1, 2, 3.
"""

from __future__ import annotations

_MOST_BYTES = 9  # 63 bits


def to_bytes(value: int) -> bytes:
    """A number of at least 0."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def signed_to_bytes(value: int) -> bytes:
    return to_bytes(2 * value if value >= 0 else -2 * value - 1)


class Cursor:
    """Reads bytes from a place on.

    Raises:
      ValueError: by all methods, where the bytes end too soon or are no such number.
    """

    def __init__(self, data: bytes | memoryview, at: int = 0):
        self.data, self.at = data, at

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ValueError(
                f"expected {count} more bytes, got {len(self.data) - self.at}: truncated"
            )
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self, most: int) -> int:
        """A number of at most ``most``."""
        value = 0
        for i in range(_MOST_BYTES):
            byte = self.byte()
            value |= (byte & 127) << 7 * i
            if byte < 128:
                break
        if byte > 127 or (byte == 0 and i) or value > most:
            raise ValueError(f"expected a number of at most {most}, got {value} in {i + 1} bytes")
        return value

    def signed(self, most: int) -> int:
        """A number of at most ``most`` either way."""
        value = self.number(2 * most)
        return -(value + 1) // 2 if value & 1 else value // 2
