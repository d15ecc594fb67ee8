"""How kernels are launched: sizes, the lowering, and how to read the sites. All of it is here."""

from __future__ import annotations

import dataclasses

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from sad_jax.varying import alongside

GATHERS = ("inside", "outside")


@dataclasses.dataclass(frozen=True)
class Launch:
    """What a kernel is compiled for.

    Attributes:
      lanes: cells of one program, a power of two on a GPU (so are all arrays in a program).
      warps: of 32 threads, of one program.
      stages: software pipelining of loads.
      pixels: of a cell that are held in registers at once; larger cells are done in groups.
      gather: whether programs read the sites' rows by their ids ("inside": the table stays in the
        cache) or XLA lays the rows out for them ("outside": for lowerings that cannot gather).
      interpret: run the bodies in plain JAX, on any device and with any number of lanes.
    """

    lanes: int = 128
    warps: int = 4
    stages: int = 1
    pixels: int = 4
    gather: str = "inside"
    interpret: bool = False

    def __post_init__(self):
        power = self.lanes > 0 and self.lanes & (self.lanes - 1) == 0
        if not (self.interpret or power):
            raise ValueError(f"expected a power of two of lanes, got {self.lanes}")
        if self.pixels not in (1, 2, 4):
            raise ValueError(f"expected 1, 2 or 4 pixels at once, got {self.pixels}")
        if self.gather not in GATHERS:
            raise ValueError(f"expected gather of {GATHERS}, got {self.gather!r}")

    def call(self, body, name: str, *, out_shape, warps: int | None = None, **options):
        """``pl.pallas_call`` by the one lowering in use: Triton, which jax >= 0.11 deprecates."""
        parameters = triton.CompilerParams(num_warps=warps or self.warps, num_stages=self.stages)

        @jax.custom_jvp
        def kernel(*operands):
            operands = alongside(operands, operands)
            varying = jax.typeof(operands[0]).manual_axis_type  # within shard_map
            shape = jax.ShapeDtypeStruct(out_shape.shape, out_shape.dtype, manual_axis_type=varying)
            return pl.pallas_call(
                body,
                out_shape=shape,
                name=name,
                compiler_params=parameters,
                interpret=self.interpret,
                **options,
            )(*operands)

        kernel.defjvp(_refuse)
        return kernel


INTERPRETED = Launch(lanes=8192, interpret=True)


def _refuse(primals, tangents):
    raise TypeError(
        'expected implementation="xla" or "xla_vjp" for derivatives of derivatives, '
        "got a Pallas kernel, which has none"
    )
