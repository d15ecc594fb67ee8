"""Ctrl-C and SIGTERM: a command ends with one line, wherever it is, and what it found is kept.

Both mean the same but for the word and the exit code; what is said of Ctrl-C below holds for both.
Python answers Ctrl-C by an exception at whatever it does just then. During an import, or inside
code that C++ calls, such an exception is printed as a traceback, turned into another error, or
lost; and while XLA compiles it is not even raised. So it is done otherwise here: while there is
nothing to keep, Ctrl-C ends the process on the spot; from ``hold`` on it only makes a note, which
the command looks at where it can stop, by ``check``.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 1.0  # seconds
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Interrupts:
    """What Ctrl-C does inside ``with Interrupts(program=...)``; after it, what it did before.

    A Ctrl-C that the process ignores, as under ``nohup``, stays ignored. Outside the main thread
    nothing is changed, as Python allows it only there.

    Attributes:
      program: whether the process is ours, so that it may be ended; if not, a Ctrl-C that would
        end it raises KeyboardInterrupt.
      message: gives the line to end with.
    """

    def __init__(self, *, program: bool):
        self.program = program
        self.message: Callable[[], str] = lambda: self.word
        self._signal = signal.SIGINT
        self._holding = self._asked = self._pending = False
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def word(self) -> str:
        """What has happened to the command."""
        return WORDS[self._signal]

    @property
    def code(self) -> int:
        """The exit code after it, by custom."""
        return 128 + self._signal

    def hold(self) -> None:
        """From now on there is something to keep: the first Ctrl-C waits for ``check``."""
        self._holding = True

    def check(self) -> None:
        """Raises the KeyboardInterrupt that has been waiting, if any."""
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in WORDS:
                if (was := signal.getsignal(number)) not in (None, signal.SIG_IGN):
                    self._previous[number] = was
        for number in self._previous:
            signal.signal(number, self._handle)
        if self._previous and self.program:
            self._start_listener()
        return self

    def __exit__(self, *_) -> None:
        if self._previous and self.program:
            self._stop_listener()
        for number, was in self._previous.items():
            if self.program:
                # All is done: while Python clears up, Ctrl-C would only print a traceback.
                atexit.register(signal.signal, number, signal.SIG_IGN)
            signal.signal(number, was)

    def _handle(self, number: int, _) -> None:
        """Runs in the main thread, once it is back from C++ in Python."""
        if not self._asked:
            self._signal = signal.Signals(number)
        if self._holding and not self._asked:
            self._asked = self._pending = True
        elif not self.program:
            raise KeyboardInterrupt
        elif not self._holding:
            self._end()

    def _start_listener(self) -> None:
        """Starts a thread to which Python reports every signal at once, whatever goes on."""
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _stop_listener(self) -> None:
        signal.set_wakeup_fd(self._wakeup)
        self._sender.close()  # which ends the thread
        self._listener.join()
        self._receiver.close()

    def _listen(self) -> None:
        """Ends the process where ``_handle`` cannot: stuck in C++, or asked a second time.

        What comes within ``PATIENCE`` of the first Ctrl-C is the same one, passed on by a program
        that runs this one, or a finger that slipped.
        """
        first = None
        while received := self._receiver.recv(1):
            if received[0] not in self._previous:
                continue
            if first is None:
                self._signal = signal.Signals(received[0])
            if not self._holding:
                time.sleep(PATIENCE)  # _handle is better: it does not end amid a write
                if not self._holding:
                    self._end()
            elif first is None:
                first = time.monotonic()
            elif time.monotonic() > first + PATIENCE:
                self._end()

    def _end(self) -> None:
        """Ends the process with its line; Python's own way out may wait for C++ or print more."""
        try:
            start = "\n" if os.isatty(2) else ""  # below the bar, and the ^C of the terminal
            os.write(2, f"{start}sad-jax: {self.message()}\n".encode())
        finally:
            os._exit(self.code)
