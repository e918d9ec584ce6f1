"""What the commands share: the application, their options, and the configuration that words and flags make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hf_tl.errors import ConfigError

if TYPE_CHECKING:
    from hf_tl.config import RunConfig

app = typer.Typer(
    name="hf-tl",
    help="Transfer learning on the Hugging Face stack. Start with: hf-tl quickstart",
    add_completion=False,  # costs start-up time
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
recipes_app = typer.Typer(rich_markup_mode=None)
app.add_typer(recipes_app, name="recipes", help="List, copy or run the recipes.")

Json = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout, everything else on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG.yaml] [key=value]...",
        help="A configuration file, and settings applied to it such as training.learning_rate=3e-4 or method.r=16.",
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
SETTING = re.compile(r"data(\.[^.=\s]+)+=")
"""A word that sets a key of `data`."""
Split = Annotated[str | None, typer.Option(help="Split of the data; default test, else validation, else all of it.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Samples at a time.")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run modelling code that comes with the model.")]


def data_settings(words: Sequence[str] | None, data: Sequence[str] | None = None) -> dict[str, Any] | None:
    """What `--data` and `data.KEY=VALUE` words say of the data that a finished model is asked about; None: nothing.

    Raises:
        ConfigError: a word that is no setting of data.
    """
    from hf_tl.config import parse_overrides

    for word in words or ():
        if not SETTING.match(word):
            raise ConfigError(f"{word!r}: expected a setting of data, such as data.columns.text=body.")
    given: dict[str, Any] = parse_overrides(words or ()).get("data", {})
    if data:
        given["path"] = data[0] if len(data) == 1 else list(data)
    return given or None


def configure(
    words: Sequence[str] | None, base: Mapping[str, Any] | None = None, data: Sequence[str] | None = None, **flags: Any
) -> RunConfig:
    """The configuration of a command: file, then flags, then `key=value` words, each applied to the one before.

    Raises:
        ConfigError: a word that is neither, or what `load_config` finds.
    """
    from hf_tl.config import load_config, parse_overrides

    files = [word for word in words or () if "=" not in word]
    if len(files) > 1 or (files and base is not None):
        stray = files[-1]
        raise ConfigError(f"{stray!r}: expected key=value, for example training.num_train_epochs=5.")
    given = {key: value for key, value in flags.items() if value is not None}
    if data:
        given["data"] = data[0] if len(data) == 1 else list(data)
    overrides = parse_overrides(word for word in words or () if "=" in word)
    return load_config(files[0] if files else base, given, overrides)


def flags_behind(words: list[str]) -> list[str]:
    """`hf-tl --debug train ...` as `hf-tl train ... --debug`: every command has these two, wherever they stand."""
    count = next((at for at, word in enumerate(words) if word not in ("--json", "--debug")), len(words))
    flags, rest = words[:count], words[count:]
    if not rest or rest[0].startswith("-"):
        return words
    end = rest.index("--") if "--" in rest else len(rest)
    return [*rest[:end], *(flag for flag in flags if flag not in rest[:end]), *rest[end:]]
