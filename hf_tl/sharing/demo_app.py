"""The files of a demo: `app.py`, and what a Space needs beside it. It knows only the words of `hf_tl.task.Demo`."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import SpaceCardData
from jinja2 import Template

from hf_tl.data.kinds import KINDS, Explanation, Widget, processor_of
from hf_tl.data.timm_models import of_timm
from hf_tl.errors import ModelError
from hf_tl.hub.patience import endpoint
from hf_tl.io.console import visible
from hf_tl.io.json_text import read_object
from hf_tl.reporting.jinja import environment
from hf_tl.reporting.markdown import Raw, escape, url
from hf_tl.task import Demo, Task

TEMPLATES = Path(__file__).parent / "templates"
WIDGETS = {
    "line": replace(KINDS["text"].widget or Widget(""), component="gr.Textbox(label={label})", explanation=None),
    "score": Widget("gr.Slider(0, 1, 0.5, label={label})"),
}
"""What a demo can ask for beside the kinds of values that a column holds."""
SHOWN = {
    "labels": "gr.Label(label={label}, num_top_classes=5)",
    "highlights": "gr.HighlightedText(label={label})",
    "boxes": "gr.AnnotatedImage(label={label}, height=480, color_map=COLORS)",
    "masks": "gr.AnnotatedImage(label={label}, height=480, color_map=COLORS)",
    "number": "gr.Number(label={label})",
    "text": "gr.Textbox(label={label}, lines=4)",
    "chat": "",
}
NEEDED = {
    "boxes": {"import colorsys", "import numpy as np", "from PIL import Image, ImageDraw"},
    "masks": {"import colorsys", "import numpy as np"},
    "chat": {"import html"},
}


def widget_of(kind: str) -> Widget:
    """What asks for an input of a demo."""
    found = WIDGETS.get(kind) or KINDS[kind].widget
    assert found is not None, f"{kind}: no widget asks for it"
    return found


@dataclass(frozen=True)
class DemoApp:
    """What `app.py` says."""

    demo: Demo
    task: Task
    config: Any
    """The model's configuration."""
    folder: Path
    """Where the model's (or the adapter's) files are."""
    model: str
    """What the app loads: a folder or a Hub id."""
    title: str
    on_hub: bool
    revision: str | None
    trust: bool
    base: tuple[str, str | None] | None
    """(id, revision) of the model under an adapter."""

    @property
    def takes(self) -> list[tuple[str, Widget]]:
        return [(name, widget_of(kind)) for name, kind in self.demo.takes]

    @property
    def checks(self) -> list[tuple[str, str]]:
        """(Python expression that is true where an input is missing, what is said then)."""
        return [
            (widget.missing.format(name=name), widget.hint.format(label=self.labels[name]))
            for name, widget in self.takes
            if widget.missing
        ]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.demo.takes]

    @property
    def last(self) -> str:
        """The last text that goes in."""
        return next(name for name, widget in reversed(self.takes) if widget.is_text)

    @property
    def labels(self) -> dict[str, str]:
        return {name: name.replace("_", " ").capitalize() for name in self.names}

    @property
    def widgets(self) -> dict[str, str]:
        return {name: widget.component.format(label=python(self.labels[name])) for name, widget in self.takes}

    @property
    def shown(self) -> str:
        return SHOWN[self.demo.gives].format(label=python(self.demo.result))

    @property
    def triggers(self) -> list[str]:
        return ["submit.click", *(f"{name}.submit" for name, widget in self.takes if widget.is_text)]

    @property
    def chat(self) -> bool:
        return self.demo.gives == "chat"

    @property
    def number(self) -> bool:
        """Whether what looks like a label's score is a number of its own."""
        return getattr(self.config, "problem_type", None) == "regression"

    @property
    def explains(self) -> Explanation | None:
        """How the app tells what mattered: of one input without a gap, where there is a way."""
        one = self.demo.gives == "labels" and len(self.demo.takes) == 1 and self.task.new_head
        return self.takes[0][1].explanation if one else None

    @property
    def tag(self) -> str:
        """What `pipeline` calls the task."""
        return self.task.name

    @property
    def piped(self) -> bool:
        return self.task.inference.snippet is None

    @property
    def adapter(self) -> bool:
        return self.base is not None

    @property
    def writes(self) -> bool:
        """Whether there are generation settings beside an adapter."""
        return (self.folder / "generation_config.json").exists()

    @property
    def auto_class(self) -> str:
        return self.task.auto_class

    @property
    def processor_class(self) -> str:
        return processor_of(self.task).auto_class

    @property
    def processor_argument(self) -> str:
        return processor_of(self.task).argument

    @property
    def tokenizer(self) -> str:
        return "pipe.tokenizer" if self.piped else "processor"

    @property
    def revision_argument(self) -> str:
        return f", revision={python(self.revision)}" if self.revision else ""

    @property
    def arguments(self) -> str:
        """Further arguments of `from_pretrained` and `pipeline`."""
        return self.revision_argument + (", trust_remote_code=True" if self.trust else "")

    @property
    def base_arguments(self) -> str:
        return f", revision={python(self.base[1])}" if self.base and self.base[1] else ""

    @property
    def load(self) -> str:
        return self.demo.load.replace("{model}", f"MODEL{self.arguments}")

    @property
    def defined(self) -> str:
        """What the card's lines define; what they import is among `imports`."""
        lines = [] if self.demo.load else (self.task.inference.snippet or "").splitlines()
        return "\n".join(line for line in lines if not line.startswith(("import ", "from "))).strip()

    @property
    def limit(self) -> int | None:
        """Tokens that an encoder can take, where its tokenizer does not say so."""
        most = getattr(self.config, "max_position_embeddings", None)
        file = self.folder / "tokenizer_config.json"
        if self.demo.gives not in ("labels", "highlights") or not most or not file.exists() or self.demo.load:
            return None
        said = read_object(file, error=ModelError).get("model_max_length")
        if "roberta" in self.config.model_type:  # positions begin after the padding's
            most -= (self.config.pad_token_id or 0) + 1
        return None if isinstance(said, (int, float)) and 0 < said <= most else int(most)

    @property
    def link(self) -> str | None:
        return f"{endpoint()}/{url(self.model)}" if self.on_hub else None

    @property
    def summary(self) -> str:
        return self.task.summary.partition(":")[0]

    @property
    def about(self) -> str:
        """Markdown above the app; names are text in it."""
        title = escape(self.title)
        named = f"[{title}]({self.link})" if self.link else title
        return f"# {named}\n\n{escape(self.summary[:1].upper() + self.summary[1:])}."

    @property
    def results(self) -> str:
        return "[result, table]" if self.demo.gives == "boxes" else "result"

    @property
    def example_names(self) -> list[str]:
        """The inputs that examples fill."""
        return ["message"] if self.chat else [name for name, widget in self.takes if widget.is_text]

    @property
    def examples(self) -> list[list[str]]:
        """The task's examples that have a text for each of `example_names`, in order."""
        if self.chat:
            return [[str(each["messages"][-1]["content"])] for each in self.task.inference.widget if "messages" in each]
        wanted, found = len(self.example_names), []
        for example in self.task.inference.widget:
            texts = [part for value in example.values() for part in (value if isinstance(value, list) else [value])]
            if 0 < wanted <= len(texts) and all(isinstance(text, str) for text in texts):
                found.append(texts[:wanted])
        return found

    @property
    def imports(self) -> list[str]:
        found = {"import gradio as gr", *self.demo.imports}
        names = {"pipeline"} if self.piped else set()
        if self.adapter:
            found.add("from peft import PeftModel")
            names |= {"AutoConfig"} | ({"GenerationConfig"} if self.writes else set())
        if self.adapter or not self.piped:
            names |= {self.auto_class, self.processor_class}
        if self.explains:
            found |= set(self.explains.imports)
        found |= NEEDED.get(self.demo.gives, set())
        if not self.demo.load:
            found.add(f"from transformers import {', '.join(sorted(names, key=_case))}")
        ordered = sorted(found, key=_place)
        first = next(index for index, line in enumerate(ordered) if _place(line)[0])  # of those that are installed
        return [*ordered[:first], *([""] if first else []), *ordered[first:]]

    @property
    def packages(self) -> list[str]:
        """What `app.py` imports, Gradio aside: a Space's `sdk_version` brings that."""
        found = ["torch", "transformers", *self.demo.packages]
        found += ["peft"] if self.adapter else []
        found += ["captum"] if self.explains else []
        return found + (["timm", "torchvision"] if of_timm(self.config) else [])


def python(text: str) -> Raw:
    """A Python string literal."""
    return Raw(json.dumps(text) if text.isascii() else repr(text))


def _place(line: str) -> tuple[bool, bool, str]:
    """The standard library first, `import` before `from`."""
    return line.split()[1] not in sys.stdlib_module_names, line.startswith("from"), line


def _case(name: str) -> tuple[bool, str]:
    return name[0].islower(), name


def app_source(app: DemoApp) -> str:
    """`app.py`: names from the model are Python literals in it."""
    return _template("app.py.j2", lambda value: value).render(app=app)


def space_files(app: DemoApp, *, private: bool, hidden: bool = False) -> dict[str, str]:
    """Name -> text of what a Space needs. Packages have the versions that are installed here.

    Args:
        private: whether the Space is.
        hidden: whether the model is not for everybody to read.
    """
    data = SpaceCardData(
        title=visible(app.title.rpartition("/")[2]),
        sdk="gradio",
        sdk_version=_version("gradio"),
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        models=[app.model],
        tags=["hf_tl"],
    )
    text = _template("space.md.j2", _text).render(app=app, private=private, hidden=hidden)
    pinned = [f"{name}=={found}" if (found := _version(name)) else name for name in app.packages]
    return {
        "README.md": f"---\n{data.to_yaml()}\n---\n\n{text}",
        "app.py": app_source(app),
        "requirements.txt": "\n".join(pinned) + "\n",
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package).partition("+")[0]  # `+cpu` is no version of PyPI's
    except importlib.metadata.PackageNotFoundError:
        return None


def _text(value: Any) -> Any:
    return value if isinstance(value, Raw) or not isinstance(value, str) else escape(value)


def _template(name: str, finalize: Callable[[Any], Any]) -> Template:
    """One of Python or Markdown, in which literals and `escape` see to what is inserted."""
    made = environment(html=False, finalize=finalize, templates=TEMPLATES, python=python, raw=Raw)
    return made.get_template(name)
