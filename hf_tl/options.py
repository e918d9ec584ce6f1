"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout, everything else on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG.yaml] [key=value]...",
        help="A configuration file, and settings laid upon it such as training.learning_rate=3e-4 or method.r=16.",
        show_default=False,
    ),
]
Model = Annotated[str | None, typer.Option(help="Hub id or folder of the pretrained model.")]
DataPaths = Annotated[
    list[str] | None, typer.Option("--data", help="Hub id, folder, file or archive; may be repeated.")
]
TaskName = Annotated[str | None, typer.Option(help="Task (hf-tl tasks); found from the data when not given.")]
MethodName = Annotated[str | None, typer.Option(help="full, lora, frozen or scratch.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
Split = Annotated[str | None, typer.Option(help="Split of the data; default test, else validation, else all of it.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Samples at a time.")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run modelling code that comes with the model.")]
