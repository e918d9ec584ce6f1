"""The kinds of values that columns hold, one frozen record each: how a kind is recognised, read, shown and stored, and
what of Transformers, a demo app and the Hub belongs to it.

The engine asks the kind of a column and never which kind it is, so a new kind is a record in `KINDS` and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, Image, Value

from hf_tl.data import image_values as images
from hf_tl.data import recognition as found
from hf_tl.data import texts
from hf_tl.data.timm_models import of_timm
from hf_tl.task import Column, Task


@dataclass(frozen=True)
class Processor:
    """What makes a model's inputs of values, as Transformers loads it."""

    what: str
    """As sentences call it."""
    auto_class: str
    """Name in `transformers` of the class that it is loaded with."""
    argument: str
    """By which `transformers.pipeline` takes it."""
    files: tuple[str, ...]
    """Of which a model's folder has at least one, the usual first."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `from_pretrained`."""
    in_config: Callable[[Any], bool] = lambda config: False
    """`(config) -> bool`: whether it is a part of the model's configuration, so that there is no file of it."""
    check: Callable[[Any, Any, str], None] | None = None
    """`(processor, config, id)`: raises ModelError where it does not fit the model called `id`."""
    resize: Callable[[Any, Any, int], Any] | None = None
    """`(processor, config, size) -> processor`, where `data.preprocessing.image_size` has an effect."""
    preview: Callable[[Mapping[str, Any], Sequence[str], Any, Path], dict[str, Any]] | None = None
    """`(batch, labels, processor, path) -> parts of hf_tl.preview's result`, `samples` among them: what the model gets.
    An image of it goes to `path`."""


@dataclass(frozen=True)
class Explanation:
    """How the app of `hf-tl demo` tells which parts of an input mattered for a label."""

    template: str
    """Of `hf_tl/sharing/templates/`: defines `explain` with the names of the inputs."""
    imports: tuple[str, ...]
    component: str
    """Of Gradio, as Python: shows what `explain` returns."""


@dataclass(frozen=True)
class Widget:
    """How the app of `hf-tl demo` asks for a value."""

    component: str
    """Of Gradio, as Python with `{label}`."""
    missing: str = ""
    """A Python expression with `{name}`, true where nothing was given; empty: there is always a value."""
    hint: str = ""
    """What is said then, with `{label}`."""
    is_text: bool = False
    """Whether it is typed: entered by a key, and filled by the task's examples."""
    explanation: Explanation | None = None


def _content(value: Any) -> str:
    return " ".join(str(value).lower().split())


@dataclass(frozen=True)
class Kind:
    """All that hf_tl knows about one kind of value. What is left out holds for plain JSON values that nobody types."""

    name: str
    """What `Column.kind` says."""
    plural: str
    """What a column of it holds, in sentences."""

    # which column it is
    recognised: Callable[[Dataset, str], bool]
    """`(rows, column) -> bool`: whether a column can be that."""
    recognised_named: Callable[[Dataset, str], bool] | None = None
    """The same of a column that has a usual name; None: no other."""
    recognised_given: Callable[[Dataset, str], bool] | None = None
    """The same of a column that the configuration names; None: as one with a usual name."""
    likelier: Callable[[Dataset, list[str]], list[str]] | None = None
    """`(rows, columns) -> columns`: of several that can be it those that rather are."""
    together: Callable[[Dataset, list[str]], bool] | None = None
    """`(rows, columns) -> bool`: whether several columns are one value a row; None: never."""
    absent: Callable[[Dataset], str | None] | None = None
    """`(rows) -> sentence`: what is wrong with data without such a column, where more can be said than that."""
    decisive: bool = False
    """Whether data that have such a column are for tasks that read it, and other data for other tasks."""

    # a value
    noun: str = ""
    """What an input of it is called in sentences; empty: as its role."""
    check: Callable[[Any, str], str | None] | None = None
    """`(value, noun) -> what is wrong or None`, of a value as the data have it, not decoded; None: the task checks."""
    survey: Callable[[Dataset, str, str], list[str]] | None = None
    """`(rows, column, column of places) -> notes` on the inputs of a split as a whole; raises DataError."""
    decode: Callable[[Dataset, str], Dataset] | None = None
    """`(rows, column) -> rows` whose values of the column are decoded when they are read."""
    given: Callable[[Any, str], Any] | None = None
    """`(item, said) -> value` of what a person gives to `hf_tl.predict`; `said` begins the sentence of an error. None:
    it comes in mappings alone, and as it is."""
    feature: Callable[[], Any] | None = None
    """The type of a column of these in `datasets`; None: inferred."""

    # shown and stored
    text: Callable[[Any], str] | None = texts.as_text
    """`(value) -> str` beside a prediction; None: as where the row is from."""
    thumbnail: Callable[[Any], bytes] | None = None
    """`(value) -> JPEG`, small, for the report."""
    quoted: bool = False
    """Whether rows may be quoted in a card, where the data are public."""
    store: Callable[[Any, Path], Any] = lambda value, stem: value
    """`(value, stem) -> JSON` for the proof; files of it begin with `stem` and are named in what it returns."""
    read_stored: str = ""
    """Python lines that define `read(stored, folder) -> value` in a process without hf_tl; empty: as it is stored."""

    # around the model
    processor: Processor | None = None
    """What makes the model's inputs of it; None: it is never an input alone."""
    widget: Widget | None = None
    example: str = ""
    """A Python expression of an input, for the card of a task that has no example of its own."""
    spoken: bool = False
    """Whether it is in a language, which the card's metadata then name."""
    own_data: str = ""
    """What a person's own data may be called, in a command that is printed."""


TOKENIZER = Processor(
    "tokenizer",
    "AutoTokenizer",
    "tokenizer",
    ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
     "tokenizer.model", "tokenizer_config.json"),
    check=texts.check_tokenizer,
    preview=texts.show_tokens,
)  # fmt: skip
IMAGE_PROCESSOR = Processor(
    "image processor",
    "AutoImageProcessor",
    "image_processor",
    ("preprocessor_config.json", "processor_config.json"),
    # the same pixels with and without torchvision, so that scores do not depend on what else is installed
    options={"backend": "pil"},
    in_config=of_timm,
    check=images.check_processor,
    resize=images.resize,
    preview=images.show_pixels,
)

_ALL = (
    Kind(
        "text",
        "texts",
        found.is_text,
        likelier=found.wordy,
        check=texts.wrong_text,
        given=texts.given_text,
        feature=lambda: Value("string"),
        quoted=True,
        processor=TOKENIZER,
        widget=Widget(
            "gr.Textbox(label={label}, lines=4)",
            "not {name}.strip()",
            "Write something in {label!r} first.",
            is_text=True,
            explanation=Explanation(
                "explain_text.py.j2",
                ("import torch", "from captum.attr import FeatureAblation"),
                'gr.HighlightedText(label="Red spoke for the first label, violet against it", visible=False)',
            ),
        ),
        spoken=True,
        own_data="reviews.csv",
    ),
    Kind(
        "image",
        "images",
        found.is_image,
        decisive=True,
        noun="image",
        check=images.wrong_image,
        survey=images.surveyed,
        decode=images.decoded_when_read,
        given=images.given_image,
        feature=Image,
        text=None,
        thumbnail=images.thumbnail,
        store=images.store_image,
        read_stored=images.READ_STORED,
        processor=IMAGE_PROCESSOR,
        widget=Widget(
            'gr.Image(label={label}, type="pil", sources=["upload", "clipboard"], height=360)',
            "{name} is None",
            "Choose an image first.",
            explanation=Explanation(
                "explain_image.py.j2",
                ("import torch", "from captum.attr import Occlusion"),
                'gr.AnnotatedImage(label="What spoke for the first label", height=360, visible=False)',
            ),
        ),
        example='"image.jpg"',
        own_data="my_photos/",
    ),
    Kind(
        "label",
        f"classes (at most {found.MAX_CLASSES}, each with several rows), numbers or lists of labels",
        found.is_label,
        recognised_named=found.is_target,
        recognised_given=found.is_given_target,
        together=found.are_flags,
        absent=found.no_label,
    ),
    Kind(
        "words", "lists of words", found.is_list_of("string", "large_string"),
        quoted=True, processor=TOKENIZER, spoken=True,
    ),
    Kind("tags", "lists of tags, one a word", found.is_list_of("string", "large_string", "int")),
    Kind("spans", "records of start, end and label", found.is_record("start", "end", "label")),
    Kind("answers", "records of text and answer_start", found.is_record("text", "answer_start")),
    Kind("objects", "records of bbox and category", found.is_record("bbox"), text=None),
    Kind(
        "messages", "lists of role and content", found.is_record("role", "content"),
        quoted=True, processor=TOKENIZER, spoken=True,
    ),
    Kind(
        "texts", "records of texts, such as one a language", found.is_texts,
        quoted=True, processor=TOKENIZER, spoken=True,
    ),
)  # fmt: skip
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
"""`Column.kind` -> its record."""


def kind_of(column: Column) -> Kind:
    return KINDS[column.kind]


def kinds_of(task: Task, roles: Iterable[str]) -> dict[str, Kind]:
    """Role -> kind, in order, of those of `roles` that the task has."""
    columns = [task.column(role) for role in roles]
    return {column.role: kind_of(column) for column in columns if column is not None}


def input_kinds(task: Task) -> list[Kind]:
    """The kinds of what a task reads, in the order of its columns."""
    return list(kinds_of(task, task.input_roles).values())


def main_kind(task: Task) -> Kind:
    """The kind of the input that the processor is for."""
    return next(kind for kind in input_kinds(task) if kind.processor is not None)


def processor_of(task: Task) -> Processor:
    """What the model's inputs are made with."""
    processor = main_kind(task).processor
    assert processor is not None
    return processor


def check_input(value: Any, kind: Kind, column: Column) -> str | None:
    """What is wrong with a value of the data, not decoded; None: nothing."""
    if kind.check is None:
        return None
    return kind.check(value, column.role if column.target or not kind.noun else kind.noun)


def stored(kind: Kind | None, value: Any, stem: Path) -> Any:
    """A value as JSON; whatever else it needs lies in files that begin with `stem`."""
    out = kind.store(value, stem) if kind is not None else value
    json.dumps(out)  # whatever a row may hold is written as it is
    return out
