"""Backend: which engine runs the passes over a picture.

Public functions take ``implementation=``; they resolve it once to a ``Backend`` and hand that down.
Nothing else imports the kernels.

| implementation | runs on | reverse mode | forward mode, Hessians | float64 |
|---|---|---|---|---|
| "xla" | anything | JAX's own | yes | yes |
| "xla_vjp" | anything | hand-written | yes, by plain XLA | yes |
| "cpu" | a CPU, where the C++ engine is built | hand-written | forward alone, by plain XLA | no |
| "pallas" | CUDA GPU | hand-written | forward alone, by plain XLA | no |
| "pallas_interpret" | anything, for tests of the kernels | hand-written | as "pallas" | yes |

A named implementation runs or raises. ``None`` chooses by where the arrays are: the kernels where
they lie on a GPU that can run them, the engine where they lie on a CPU and it is built, "xla_vjp"
elsewhere. Within ``jit`` and other transformations that is known only when a program is lowered:
all that may run are traced there, and ``by_platform`` keeps the right one for each platform.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sad_jax.by_platform import by_platform

if TYPE_CHECKING:
    from kernels_pallas import Launch

NAMES = ("xla", "xla_vjp", "cpu", "pallas", "pallas_interpret")
LEAST_CAPABILITY = 8.0  # of a CUDA GPU


@dataclasses.dataclass(frozen=True)
class Backend:
    """An engine for the passes over a picture, and how it runs them.

    Attributes:
      name: "xla", "xla_vjp", "cpu" or "pallas", as in this module's head; or "by_platform", which
        keeps the kernels where a program is lowered for CUDA (with ``launch``), the engine where it
        is lowered for a CPU (with ``chosen``), and plain XLA elsewhere.
      launch: how kernels are launched; None where none are.
      deterministic: kernels sum for the sites in a fixed order, the same bits every time, at the
        cost of a sort of the lists; if not, by atomic additions. The CPU engine and XLA on a CPU
        always do.
      chosen: nobody named the CPU engine: what it lacks is left to plain XLA, not refused.
    """

    name: str
    launch: Launch | None = None
    deterministic: bool = True
    chosen: bool = False

    def __post_init__(self):
        launched = dict.fromkeys(("xla", "xla_vjp", "cpu"), False)
        launched |= dict.fromkeys(("pallas", "by_platform"), True)
        if self.name not in launched:
            raise ValueError(f"expected a backend of {tuple(launched)}, got {self.name!r}")
        either = self.name == "by_platform" and self.chosen
        if not either and launched[self.name] != (self.launch is not None):
            expected = "a" if launched[self.name] else "no"
            raise ValueError(
                f"expected {expected} launch for the backend {self.name!r}, got {self.launch}"
            )

    @property
    def engine(self) -> str:
        """What its passes run on: "xla", "cpu" or "pallas"."""
        return self.name if self.name in ("cpu", "pallas") else "xla"

    @property
    def wants_transposed_lists(self) -> bool:
        """Whether sums for the sites go from each site to its cells."""
        return self.name == "pallas" and self.deterministic

    @property
    def prepares_lists(self) -> bool:
        """Whether passes over the same lists can share some work, see ``passes.prepare``."""
        return self.name == "cpu" or self.wants_transposed_lists

    def run(self, *operands: Any, xla: Callable, pallas: Callable, cpu: Callable) -> Any:
        """A pass by one of its ways, which return arrays of the same shapes.

        Args:
          *operands: of the pass, pytrees of arrays.
          xla: (*operands) -> the result in plain XLA, the definition of the pass.
          pallas: (kernels_pallas, launch, *operands) -> the same by kernels on a GPU.
          cpu: (kernels_cpu, *operands) -> the same by the engine in C++.
        """

        def kernels(*operands):
            import kernels_pallas

            return pallas(kernels_pallas, self.launch, *operands)

        def engine(*operands):
            import kernels_cpu

            return cpu(kernels_cpu, *operands)

        if self.name in ("xla", "xla_vjp"):
            return xla(*operands)

        if self.name == "pallas":
            return kernels(*operands)
        lacking = self._lacking_on_cpu(operands)
        if self.name == "cpu":
            return xla(*operands) if lacking else self._differentiable(engine, xla, operands)
        ways = {"cuda": kernels} if self.launch else {}
        if self.chosen and not lacking:
            ways["cpu"] = engine
        return by_platform(ways, xla, *operands)

    def _lacking_on_cpu(self, operands: tuple) -> bool:
        """Whether the engine lacks these operands' precision; refused where it was named."""
        others = _floats(operands) - {np.dtype(np.float32)}
        if others and not self.chosen and self.name == "cpu":
            raise NotImplementedError(
                f"expected arrays in float32 for the CPU engine, got {others.pop()}; {INSTEAD}"
            )
        return bool(others)

    def _differentiable(self, engine: Callable, xla: Callable, operands: tuple) -> Any:
        """By the engine, and its derivatives by plain XLA where it was chosen, not named."""

        def derivative(primals, tangents):
            if self.chosen:
                return jax.jvp(xla, primals, tangents)
            raise TypeError(
                'expected implementation="xla" or "xla_vjp" for derivatives of derivatives, '
                "got the CPU engine, which has none"
            )

        if not _floats(operands):  # nothing to differentiate
            return engine(*operands)
        engine = jax.custom_jvp(engine)
        engine.defjvp(derivative)
        return engine(*operands)


XLA = Backend("xla")
INSTEAD = 'use implementation=None or "xla"'


def resolve(
    implementation: str | Backend | None,
    arrays: Any,
    *,
    k: int,
    deterministic: bool = True,
    platform: str | None = None,
) -> Backend:
    """The backend for lists of K sites.

    Args:
      implementation: a name, None to choose, or a Backend, which is returned as it is.
      arrays: a pytree of the arrays that the passes will read, the sites for example.
      k: K.
      deterministic: see ``Backend``.
      platform: on which the passes will run; None reads it off the arrays.

    Raises:
      ValueError: a name that is no implementation.
      NotImplementedError: "pallas" or "cpu", where it does not run; the message says why.
    """
    if isinstance(implementation, Backend):
        return implementation
    if implementation is not None and implementation not in NAMES:
        raise ValueError(f"expected implementation None or one of {NAMES}, got {implementation!r}")
    if implementation in ("xla", "xla_vjp"):
        return Backend(implementation, None, deterministic)
    if implementation == "cpu":
        reason = _why_not_cpu(k, _dtype(arrays), platform or _platform(arrays))
        if reason is not None:
            raise NotImplementedError(f"{reason}; {INSTEAD}")
        return Backend("cpu", None, deterministic)
    if implementation == "pallas_interpret":
        import kernels_pallas

        return Backend("pallas", kernels_pallas.INTERPRETED, deterministic)
    platform = platform or _platform(arrays)
    reason = _no_gpu(platform) or _why_not_pallas(k, _dtype(arrays))
    if implementation == "pallas" and reason is not None:
        raise NotImplementedError(f"{reason}; {INSTEAD}")
    launch = _usual_launch() if reason is None else None
    if implementation == "pallas":
        return Backend("pallas", launch, deterministic)
    engine = _why_not_cpu(k, _dtype(arrays), platform) is None
    if platform is None and (launch or engine):
        return Backend("by_platform", launch, deterministic, chosen=engine)
    if launch:
        return Backend("pallas", launch, deterministic)
    if engine:
        return Backend("cpu", None, deterministic, chosen=True)
    return Backend("xla_vjp", None, deterministic)


class Engine(NamedTuple):
    """What runs the passes over a picture on this machine.

    Attributes:
      name: as ``implementation`` takes it, see ``backend.py``.
      why: in words.
      faster: what to do for a faster one; empty where there is nothing to do.
    """

    name: str
    why: str
    faster: str


def engine() -> Engine:
    """Which engine ``implementation=None`` takes for float32 on the default device, and why.

    Returns:
      An ``Engine``.

    Examples:
      >>> import sad_jax as sad
      >>> sad.engine().name in ("pallas", "cpu", "xla_vjp")
      True
    """
    import kernels_cpu

    backend, platform = resolve(None, np.float32(0), k=8), jax.default_backend()
    if backend.name == "pallas":
        return Engine(backend.name, f"the default device is {_gpus()[0].device_kind}", "")
    if backend.name == "cpu":
        why = f"the engine in C++ is built, for {kernels_cpu.instructions()}"
        return Engine(backend.name, why, "")
    if platform != "cpu":
        return Engine(backend.name, f"{_no_gpu(platform)}", "")
    why, _, faster = (kernels_cpu.why_not_built() or "").partition("; ")
    return Engine(backend.name, why, faster)


def _why_not_pallas(k: int, dtype) -> str | None:
    """Why the kernels do not run on lists of K sites of this precision, or None if they do."""
    import kernels_pallas

    return kernels_pallas.why_not(k, dtype)


def _usual_launch() -> Launch:
    import kernels_pallas

    return kernels_pallas.Launch()


def _why_not_cpu(k: int, dtype, platform: str | None) -> str | None:
    """Why the CPU engine does not run on the platform (None: told later), or None if it does."""
    import kernels_cpu

    if platform not in (None, "cpu"):
        return f"expected arrays on a CPU for the CPU engine, got {platform}"
    return kernels_cpu.why_not(k, dtype)


def _platform(arrays) -> str | None:
    """The platform on which a computation with these arrays runs, None if not yet known."""
    leaves = jax.tree.leaves(arrays)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return None
    for leaf in leaves:
        if isinstance(leaf, jax.Array) and leaf.committed:
            return next(iter(leaf.devices())).platform
    device = jax.config.values["jax_default_device"]
    if device is None:
        return jax.default_backend()
    return device if isinstance(device, str) else device.platform


def _dtype(arrays):
    return next(leaf.dtype for leaf in jax.tree.leaves(arrays))


def _floats(arrays) -> set:
    """The precisions of the arrays of floats."""
    types = {leaf.dtype for leaf in jax.tree.leaves(arrays)}
    return {dtype for dtype in types if jnp.issubdtype(dtype, jnp.floating)}


def _no_gpu(platform: str | None) -> str | None:
    """Why no kernel runs on the platform (None: on any), or None if one does."""
    if platform not in (None, "gpu", "cuda"):
        return f"expected a CUDA GPU for the Pallas kernels, got {platform}"
    if not _gpus():
        return f"expected a CUDA GPU for the Pallas kernels, got {jax.default_backend()}"
    if not _capable_gpus():
        found = getattr(_gpus()[0], "compute_capability", "none")
        return (
            f"expected a CUDA GPU of compute capability {LEAST_CAPABILITY} for the Pallas kernels, "
            f"got {found}"
        )
    return None


def _gpus() -> list:
    try:
        return jax.devices("gpu")
    except RuntimeError:  # there are none
        return []


def _capable_gpus() -> bool:
    """Whether there are GPUs and all of them can run the kernels."""

    def capable(device) -> bool:
        try:
            return float(device.compute_capability) >= LEAST_CAPABILITY
        except (AttributeError, TypeError, ValueError):  # no CUDA GPU
            return False

    return bool(gpus := _gpus()) and all(map(capable, gpus))
