"""Ctrl-C that is not lost: an interrupted import may end in an error of another kind, or in none."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

_pressed = False


def notice() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, as always, and is remembered; does nothing where it is ignored."""
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _on_signal)


def was_pressed() -> bool:
    """Whether Ctrl-C was pressed since `notice`."""
    return _pressed


def stop_if_pressed() -> None:
    """Raise KeyboardInterrupt where Ctrl-C was pressed: it reaches the main thread alone, others ask between steps."""
    if _pressed:
        raise KeyboardInterrupt


def leave() -> None:
    """Let another Ctrl-C end the process at once and without a word: only its last steps are left."""
    if signal.getsignal(signal.SIGINT) is _on_signal:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _pressed
    _pressed = True
    sys.unraisablehook = _quiet  # Python cannot raise it everywhere, and would print it there
    raise KeyboardInterrupt


def _quiet(trouble: sys.UnraisableHookArgs) -> None:
    if not issubclass(trouble.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(trouble)
