"""Several processes on this machine: the command starts itself again through `torch.distributed.run`."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_tl.cli.exit_codes import STARTED
from hf_tl.errors import ConfigError, HfTlError, Stopped
from hf_tl.io.console import say


class WorkerError(HfTlError):
    """What a started process ended with: its sentence and its exit code."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def launch(arguments: Sequence[str], processes: int) -> None:
    """Runs `hf-tl <arguments>` in `processes` processes, one for each GPU, or on the CPU where there is none.

    Raises:
        ConfigError: more processes than GPUs, or already one of several processes.
        WorkerError: the first error of a process, with its exit code.
        Stopped: interrupted.
    """
    if "WORLD_SIZE" in os.environ:
        raise ConfigError("--processes: this is already one of several processes (torchrun or accelerate launch).")
    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    gpus = torch.cuda.device_count()
    if gpus and processes > gpus:
        raise ConfigError(f"--processes: found {processes}, expected at most {gpus}, the number of GPUs here.")
    os.environ[STARTED] = "1"
    os.environ.update(safe_path())
    if not gpus:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    options = ["--standalone", "--nproc-per-node", str(processes), "-m", "hf_tl", *arguments]
    where = f"{processes} of {gpus} GPUs" if gpus else f"the CPU, {os.environ['OMP_NUM_THREADS']} threads each"
    say(f"hf-tl: starting {processes} processes on {where}: python -m torch.distributed.run {' '.join(options)}")
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the sentence is enough
    try:
        torchrun(options)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        sentence = failure.message if isinstance(failure.message, str) else str(failure.message.get("message"))
        code = failure.exitcode if failure.exitcode > 0 else 1
        raise WorkerError(sentence, code) from None
    except SignalException:
        raise Stopped("stopped; the same command goes on from the last checkpoint.") from None


def safe_path() -> dict[str, str]:
    """Environment in which Python imports nothing from the current folder, which may hold anybody's `torch.py`, and
    this very hf_tl is found: where it is not installed, its folder is named."""
    environment = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(_absolute(os.environ.get("PYTHONPATH", "")))}
    here = Path(__file__).resolve().parent.parent
    probe = "import importlib.util as u; found = u.find_spec('hf_tl'); print(found.origin if found else '')"
    done = subprocess.run(
        [sys.executable, "-c", probe], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if not done.stdout.strip() or Path(done.stdout.strip()).resolve().parent != here:
        environment["PYTHONPATH"] = os.pathsep.join([str(here.parent), *_absolute(environment["PYTHONPATH"])])
    return environment


def _absolute(path: str) -> list[str]:
    """The entries of a search path as its user meant them; an empty one would be the current folder."""
    return [os.path.abspath(entry) for entry in path.split(os.pathsep) if entry]


def without_option(arguments: Sequence[str], name: str) -> list[str]:
    """`arguments` without `name VALUE` and `name=VALUE`."""
    out: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == name:
            next(rest, None)
        elif not argument.startswith(f"{name}="):
            out.append(argument)
    return out
