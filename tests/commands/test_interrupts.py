"""Ctrl-C ends a command with one line and exit code 130, SIGTERM with 143, whatever it is doing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import sad_jax as sad
from sad_jax import cli
from sad_jax.commands.bar import Bar
from sad_jax.commands.interrupts import Interrupts

LINE = "sad-jax: interrupted\n"

# Runs sad-jax and says when it is about to begin. Ctrl-C works there also if it is ignored here.
PROGRAM = """
import os, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)

def press():
    os.kill(os.getpid(), signal.SIGINT)

def before(module, name, do):
    original = getattr(module, name)
    def changed(*args, **options):
        do()
        return original(*args, **options)
    setattr(module, name, changed)

def stay_in_c():
    '''Minutes outside Python, as in a compiler.'''
    import hashlib
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

{setup}
from sad_jax.cli import main
print("ready", flush=True)
sys.exit(main())
"""


class Program:
    """``sad-jax`` in a process of its own, with ``setup`` run before."""

    def __init__(self, *words, setup=""):
        program = PROGRAM.replace("{setup}", setup)
        environment = os.environ | {
            "PYTHONPATH": str(Path(sad.__file__).parents[1]),
            "SAD_JAX_CACHE": "",
        }
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.expect("ready")

    def expect(self, word):
        assert self.process.stdout.readline() == f"{word}\n"

    def press(self, number=signal.SIGINT):
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """The exit code and what was said on stderr."""
        _, err = self.process.communicate(timeout=120)
        return self.process.returncode, err


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Each test stands in its own empty folder, without a compile cache."""
    monkeypatch.setenv("SAD_JAX_CACHE", "")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(make_sites) -> str:
    sad.save("a.sad", make_sites(9), (12, 16))
    return "a.sad"


@pytest.fixture
def photo() -> str:
    y, x = np.mgrid[:16, :24]
    sad.write_image("photo.png", np.stack([x / 24, y / 16, (x > 12) * 0.8], -1))
    return "photo.png"


@pytest.fixture
def press_before(monkeypatch):
    """``press_before(where)``: Ctrl-C comes when the function at ``where`` is first called."""

    def patch(where: str) -> None:
        module, _, name = where.rpartition(".")
        original = getattr(sys.modules[module], name)

        def pressed(*args, **options):
            monkeypatch.setattr(where, original)
            signal.raise_signal(signal.SIGINT)
            return original(*args, **options)

        monkeypatch.setattr(where, pressed)

    return patch


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.001, 0.03])
def test_right_after_the_start(photo, seconds):
    program = Program("fit", photo)
    time.sleep(seconds)
    program.press()
    assert program.end() == (130, LINE)


@pytest.mark.parametrize("module", ["argparse", "numpy", "jax", "jaxlib.xla_client", "optax"])
def test_during_an_import(photo, module):
    """Also in what Python calls when an import is over, where exceptions are printed and lost."""
    setup = (
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n"
        "            press()\n"
        "sys.meta_path.insert(0, Finder())\n"
        f"sys.modules.pop({module!r}, None)\n"
    )
    assert Program("fit", photo, setup=setup).end() == (130, LINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "end"),
    [(signal.SIGINT, (130, LINE)), (signal.SIGTERM, (143, "sad-jax: terminated\n"))],
)
def test_while_python_waits_for_another_language(file, number, end):
    """As it does for a compiler: its own handler would run only when that is done."""
    setup = (
        "import sad_jax.storage.files as files\n"
        "before(files, 'load', lambda: (print('stuck', flush=True), stay_in_c()))\n"
    )
    program = Program("info", file, setup=setup)
    program.expect("stuck")
    start = time.monotonic()
    program.press(number)
    assert program.end() == end
    assert time.monotonic() < start + 30


def test_while_a_result_is_written(file):
    """The file is whole; nothing else lies about."""
    setup = "import sad_jax.storage.files as files\nbefore(files, 'write_bytes', press)\n"
    assert Program("convert", file, "b.txt", setup=setup).end() == (130, LINE)
    assert sad.load("b.txt")[0].num_sites == 9
    assert sorted(os.listdir()) == ["a.sad", "b.txt"]


@pytest.mark.slow
def test_a_second_time_ends_what_was_to_be_kept(file):
    setup = (
        "import sad_jax.storage.files as files\n"
        "before(files, 'write_bytes', lambda: (print('stuck', flush=True), stay_in_c()))\n"
    )
    program = Program("convert", file, "b.txt", setup=setup)
    program.expect("stuck")
    program.press()
    program.press()  # at once: the same one, passed on by a program between
    time.sleep(1.5)
    assert program.process.poll() is None
    program.press()
    assert program.end() == (130, LINE)


@pytest.mark.slow
def test_while_xla_compiles(photo):
    setup = (
        "import jax\n"
        "def hear(event, seconds, fun_name='', **_):\n"
        "    if 'to_mlir' in event and 'gauss_newton' in fun_name:\n"
        "        threading.Timer(0.5, press).start()\n"
        "jax.monitoring.register_event_duration_secs_listener(hear)\n"
    )
    program = Program("fit", photo, "--sites", "64", setup=setup)
    start = time.monotonic()
    assert program.end() == (130, LINE)
    assert time.monotonic() < start + 60
    assert not os.listdir("out")


@pytest.mark.slow
def test_during_the_steps(photo):
    """The best so far is written, and the one line says how to go on."""
    setup = (
        "from sad_jax.commands.bar import Bar\n"
        "reports = []\n"
        "def second():\n"
        "    reports.append(1)\n"
        "    if len(reports) == 2:\n"
        "        press()\n"
        "before(Bar, '__call__', second)\n"
    )
    code, err = Program("fit", photo, "--sites", "64", "--json", "f.json", setup=setup).end()
    line = "interrupted; go on with: sad-jax fit photo.png --sites 64 --json f.json --resume"
    assert (code, err) == (130, f"sad-jax: {line}\n")
    assert {"photo.sad", "photo.png", "photo.ckpt"} <= set(os.listdir("out"))
    assert Path("f.json").exists()


def fit(*words) -> int:
    return cli.main(["fit", "photo.png", "--sites", "64", "--steps", "40", *words])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_fit_stops_after_a_step_and_goes_on_from_there(
    photo, capsys, monkeypatch, number, code, word
):
    original, steps = Bar.__call__, []

    def pressed(self, now):
        steps.append(now.step)
        if len(steps) == 2:
            signal.raise_signal(number)
        original(self, now)

    monkeypatch.setattr(Bar, "__call__", pressed)
    assert fit() == code
    words = "go on with: sad-jax fit photo.png --sites 64 --steps 40 --resume"
    assert capsys.readouterr().err == f"sad-jax: {word}; {words}\n"
    assert sad.load("out/photo.sad")[0].num_sites == 64
    assert Path("out/photo.ckpt").exists()
    assert len(steps) == 2
    assert fit("--resume") == 0
    assert steps[2] > steps[1]


@pytest.mark.slow
def test_a_fit_that_is_done_is_written_whole(photo, capsys, press_before):
    press_before("sad_jax.viz.diagram")
    assert fit("--json", "f.json") == 130
    assert capsys.readouterr().err == LINE
    assert len(os.listdir("out")) == 5
    assert Path("f.json").exists()


@pytest.mark.slow
def test_a_folder_stops_before_the_next_photograph(photo, capsys, press_before):
    os.mkdir("album")
    for name in ("a.png", "b.png"):
        sad.write_image(f"album/{name}", sad.read_image(photo))
    words = ["fit", "album", "--sites", "64", "--steps", "40", "--json", "all.json"]
    press_before("sad_jax.viz.diagram")
    assert cli.main(words) == 130
    out, err = capsys.readouterr()
    assert (
        err == "sad-jax: interrupted; go on with: sad-jax " + " ".join([*words, "--resume"]) + "\n"
    )
    assert out.splitlines()[-1] == "1 of 1 fitted"
    assert Path("all.json").exists()
    assert not Path("out/b.sad").exists()
    assert cli.main([*words, "--resume"]) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_elsewhere_a_signal_is_what_it_was(file, number):
    """After a command, and where the process ignores it."""

    def handler(*_):
        raise AssertionError

    before = signal.signal(number, handler)
    try:
        assert cli.main(["info", file]) == 0
        assert signal.getsignal(number) is handler
        signal.signal(number, signal.SIG_IGN)
        with Interrupts(program=True) as interrupts:
            signal.raise_signal(number)
            interrupts.check()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
