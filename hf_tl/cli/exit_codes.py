"""What a person reads when something goes wrong: one sentence on stderr, and the exit code of its kind."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer

from hf_tl.errors import HfTlError, Stopped, did_you_mean, listing, redact
from hf_tl.io.command_line import quoted
from hf_tl.io.console import nothing_steers, say, shown

STARTED = "HF_TL_STARTED"
"""Set in the environment of processes that hf_tl started: their parent prints the error, once."""
NOT_ALLOWED = {
    errno.ENOSPC: "make room there, and run it again",
    errno.EDQUOT: "make room there, and run it again",
    errno.EFBIG: "write where files may be that large",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose another file or folder, or ask for the right",
    errno.EPERM: "choose another file or folder, or ask for the right",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "allow more open files (ulimit -n)",
}
ONE_WISH = 2.0
"""Seconds."""
INTERRUPTED = 130
"""What typer makes of Ctrl-C."""


def guarded(run: Callable[[], Any], debug: bool, last: bool = False, again: Sequence[str] = ()) -> int:
    """Calls `run` and turns what it raises into one sentence on stderr and an exit code. What is printed meanwhile is
    shown by the terminal, never obeyed.

    Args:
        last: whether the process ends afterwards, whatever further signals come.
        again: the words of the command line, which goes on where it is stopped.
    """
    with nothing_steers(), stopping(last):
        try:
            return _guarded(run, debug, again)
        except KeyboardInterrupt:  # once more, while it was said
            return 3


@contextlib.contextmanager
def stopping(last: bool = False) -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as Ctrl-C does: what is under way is left in order, and the exit code is 3.
    Training has a way of its own, which saves a checkpoint first.

    A further signal within two seconds is the same wish once more: schedulers and impatient hands send several.
    """
    first: list[float] = []

    def once_more() -> bool:
        return bool(first) and time.monotonic() - first[0] < ONE_WISH

    def stop(number: int, frame: object) -> None:
        if not once_more():
            first[:] = [time.monotonic()]
            raise KeyboardInterrupt

    def leave(number: int, frame: object) -> None:
        if not once_more():
            os._exit(3)

    old: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP", "SIGINT"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                old[number] = signal.signal(number, stop)  # nohup's stays
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, leave if last and first else handler)


def _guarded(run: Callable[[], Any], debug: bool, again: Sequence[str]) -> int:
    try:
        code = run()
        if code != INTERRUPTED:
            return code if isinstance(code, int) else 0
        return _fail(_going_on("stopped.", again), 3)
    except KeyboardInterrupt:
        return _fail(_going_on("stopped.", again), 3)
    except HfTlError as error:
        if debug:
            print(shown(redact(traceback.format_exc())), file=sys.stderr)
        said = str(error) or type(error).__name__
        stopped = error.exit_code == Stopped.exit_code
        return _fail(_going_on(said, again) if stopped else said, error.exit_code)
    except typer.TyperException as error:
        return _fail(_usage(error), 2)
    except Exception as error:
        place = _of_this_machine(error)
        if place is not None:
            if debug:
                print(shown(redact(traceback.format_exc())), file=sys.stderr)
            return _fail(place, 2)
        trace = redact(traceback.format_exc())
        if debug:
            print(shown(trace), file=sys.stderr)
        first = next(iter(str(error).strip().splitlines()), "")
        hint = "" if debug else " Run it again with --debug to see where; please report it if it is ours."
        return _fail(f"{type(error).__name__}: {first}.{hint}".replace("..", "."), 1, trace)


def _going_on(sentence: str, again: Sequence[str]) -> str:
    """The sentence with the command that continues, where it does not name one; one of several processes does not know
    how it was started."""
    if not again or "continue with: " in sentence or "WORLD_SIZE" in os.environ:
        return sentence
    return f"{sentence} Everything that was done is kept; continue with: {' '.join(map(quoted, again))}"


def _of_this_machine(error: BaseException) -> str | None:
    """A sentence where a file or stream could not be written or read as the machine does not allow it."""
    seen: BaseException | None = error
    certain = set(NOT_ALLOWED)
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in certain and seen.errno is not None:
            what = shown(str(seen.filename)) if seen.filename is not None else "what is to be written or read"
            return f"{what}: {os.strerror(seen.errno)}; {NOT_ALLOWED[seen.errno]}."
        if seen.__cause__ is None:  # what was under way when it was raised may be another matter
            certain &= {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        seen = seen.__cause__ or seen.__context__
    return None


def _fail(sentence: str, code: int, trace: str = "") -> int:
    sentence = redact(sentence)
    if not report_failure(sentence, trace):
        say(f"hf-tl: {sentence}")
    return code


def _usage(error: Any) -> str:
    """typer's complaint as one sentence, with the nearest option or command."""
    context = getattr(error, "ctx", None)
    command = context.command if context else None
    path = str(context.command_path) if context else "hf-tl"
    place = f"{path.removeprefix('hf-tl').strip()}: ".removeprefix(": ")
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and command is not None:
        known = [name for parameter in command.params for name in parameter.opts if name.startswith("-")]
        hint = did_you_mean(option, known)
        if not hint and any(parameter.name == "words" for parameter in command.params):
            key = str(option).lstrip("-").replace("-", "_")
            hint = f"; a setting of the configuration is written key=value, such as training.{key}=VALUE."
        return f"{place}there is no option {option}{hint or f'; see {path} --help.'}"
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if message.startswith("No such command") and command is not None:
        word = message.split("'")[1] if "'" in message else ""
        known = list(command.commands)
        return f"{word!r} is not a command{did_you_mean(word, known) or '.'} There are {listing(known, most=30)}."
    message = " ".join(message.split())
    return f"{place}{message[:1].lower()}{message[1:].rstrip('.')}."


def report_failure(sentence: str, trace: str = "") -> bool:
    """In a process started by `torchrun`: leaves the error for the parent.

    Returns:
        Whether the parent is hf_tl, which prints it.
    """
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        extra = {"py_callstack": trace, "timestamp": str(int(time.time()))}
        try:
            with open(file, "w", encoding="utf-8") as stream:
                json.dump({"message": {"message": sentence, "extraInfo": extra}}, stream)
        except OSError as error:
            say(f"hf-tl: cannot write {file} ({error})")
            return False
    return bool(file) and os.environ.get(STARTED) == "1"
