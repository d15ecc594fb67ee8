"""The shell lines of the page on clusters run, by an ``srun`` that starts its tasks here."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sad_jax as sad

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/howto/devices.md"
SRUN = """#!/bin/bash
trap 'kill $(jobs -p) 2>/dev/null' TERM EXIT
while [[ $1 == --* ]]; do
  [[ $1 == --nodes=* ]] && tasks=${1#*=}
  shift
done
export SLURM_NTASKS=$tasks SLURM_STEP_NODELIST=localhost SLURM_LOCALID=0
for ((i = 0; i < tasks; i++)); do SLURM_PROCID=$i "$@" & done
wait $(jobs -p)
"""
PROGRAM = """
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize()
import numpy as np
import sad_jax as sad

sites = sad.init_sites(np.full((9, 7, 1), 0.5, np.float32), 5, key=jax.random.key(0))
mesh = sad.sharding.make_mesh()
lists = sad.find_candidates(sites, (9, 7), mesh=mesh)
picture = sad.sharding.to_host(sad.render(sites, lists))
np.save(f"picture{jax.process_index()}.npy", picture)
"""


def lines(word: str) -> str:
    """The block of shell of the page that holds a word."""
    (found,) = (
        b for b in re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.S | re.M) if word in b
    )
    return found


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs lines of shell as a job of SLURM in an empty folder."""
    python = sys.executable
    programs = {
        "srun": SRUN,
        "python": f'#!/bin/bash\nexec {python} "$@"\n',
        "dask": f'#!/bin/bash\nexec {python} -m dask "$@"\n',
        "sad-jax": f'#!/bin/bash\nexec {python} -m sad_jax "$@"\n',
    }
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    with socket.socket() as free:  # of jax.distributed, by the number of the job
        free.bind(("localhost", 0))
        job = free.getsockname()[1]
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "SLURM_JOB_ID": str(job),
        "SLURM_ARRAY_TASK_ID": "7",
    }
    monkeypatch.chdir(tmp_path)

    def run(script: str) -> None:
        options = {"env": environment, "capture_output": True, "text": True, "timeout": 300}
        found = subprocess.run(["bash", "-eu", "-c", script], check=False, **options)
        assert found.returncode == 0, found.stderr

    return run


@pytest.mark.slow
def test_a_program_over_two_machines(run):
    Path("fit_large.py").write_text(PROGRAM)
    run(lines("fit_large.py"))
    first, second = (np.load(f"picture{i}.npy") for i in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (9, 7, 1)


@pytest.mark.slow
def test_a_folder_by_the_workers_of_dask_and_by_an_array_of_jobs(run):
    """The second skips nothing, as it has a folder of its own."""
    for name in ("photos/a", "photos/b", "photos/part7/c"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        sad.write_image(f"{name}.png", np.random.default_rng(0).random((8, 9, 3)))
    quick = "--sites 12 --k 4 --steps 3 --out"
    run(lines("dask scheduler").replace("--out", quick))
    assert {path.stem for path in Path("out").glob("*.sad")} == {"a", "b"}
    run(lines("SLURM_ARRAY_TASK_ID").replace("--out", quick))
    assert {path.stem for path in Path("out").glob("*.sad")} == {"a", "b", "c"}
