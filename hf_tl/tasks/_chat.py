"""Conversations as tokens: checked turn by turn, written by the tokenizer's chat template, with the assistant's turns
marked as what is trained on."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from hf_tl.errors import ConfigError, ModelError, listing
from hf_tl.task import TaskContext
from hf_tl.tasks._template_bounds import check_length, in_bounds

FOLLOWS: dict[str | None, tuple[str, ...]] = {
    None: ("system", "developer", "user"),
    "system": ("user",),
    "developer": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}
"""Role -> the roles whose turn it may be next."""


def clean(messages: Any) -> list[dict[str, Any]]:
    """Turns as a chat template reads them: without the empty fields that Arrow adds, at any depth, and without a system
    turn that says nothing; a content of text parts becomes one text, and tool calls kept as JSON are read."""
    turns = [_turn(message) for message in messages or ()]
    return [turn for turn in turns if not _says_nothing(turn)]


def _turn(message: dict[str, Any]) -> dict[str, Any]:
    from hf_tl.data.conversations import as_text

    turn: dict[str, Any] = _filled(message)
    if isinstance(turn.get("tool_calls"), str):
        with contextlib.suppress(ValueError):
            turn["tool_calls"] = json.loads(turn["tool_calls"])
    if "content" in turn:
        turn["content"] = as_text(turn["content"])
    return turn


def _filled(value: Any) -> Any:
    """A value without the null fields of its records: the record of a column has the fields of all rows."""
    if isinstance(value, dict):
        return {key: _filled(each) for key, each in value.items() if each is not None}
    return [_filled(each) for each in value] if isinstance(value, list) else value


def _says_nothing(turn: dict[str, Any]) -> bool:
    content = turn.get("content") or ""
    return turn.get("role") in ("system", "developer") and isinstance(content, str) and not content.strip()


def wrong(messages: Any, answered: bool = True) -> str | None:
    """What is wrong with a conversation; `answered`: whether the assistant has to say something in it."""
    from hf_tl.data.conversations import WRONG

    if messages is not None and not isinstance(messages, list):
        return f"the conversation is a {type(messages).__name__}, expected a list of turns"
    if not messages:
        return "the conversation is empty"
    before: str | None = None
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict):
            return f"turn {number} is a {type(message).__name__}, expected a record of role and content"
        turn = _turn(message)
        role, content = turn.get("role"), turn.get("content")
        if turn.get(WRONG):
            return f"turn {number} {turn[WRONG]}"
        if role not in FOLLOWS or role is None:
            return f"turn {number} has the role {role!r}, expected one of {listing(name for name in FOLLOWS if name)}"
        if _says_nothing(turn):
            continue
        if role not in FOLLOWS[before]:
            after = f"follows one of the {before}'s" if before else "comes first"
            return (
                f"turn {number} is the {role}'s and {after}, where the turn is of {' or '.join(FOLLOWS[before])} "
                "(system first, then user and assistant in turns)"
            )
        if content is not None and not isinstance(content, str):
            return f"the content of turn {number} is a {type(content).__name__}, expected a text"
        if not (content or "").strip() and not turn.get("tool_calls"):
            return f"turn {number} (of the {role}) is empty"
        before = role
    if before is None:
        return "the conversation is empty"
    if answered and not any(turn["role"] == "assistant" for turn in messages):
        return "no turn is the assistant's, so there is nothing to learn from"
    return None


def set_template(context: TaskContext) -> None:
    """Gives the tokenizer the configured chat template, which is saved with it.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = getattr(context.preprocessing, "chat_template", None)
    if path is None:
        return
    try:
        context.processor.chat_template = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"data.preprocessing.chat_template: {path} cannot be read ({error}).") from None


def training_template(tokenizer: Any, where: str) -> tuple[str | None, bool]:
    """(template, or None for the tokenizer's own; whether it marks the assistant's tokens by `{% generation %}`).

    Where the own template does not, TRL knows one for many model families that writes the same and does.

    Raises:
        ModelError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ModelError(
            f"{where}: the tokenizer has no chat template, so conversations cannot be written as text; start from a "
            "chat (instruct) model, give one with data.preprocessing.chat_template=FILE.jinja, or use plain columns "
            "with data.columns.prompt=NAME and data.columns.completion=NAME."
        )
    from jinja2 import TemplateError
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    try:
        if has_generation_markers(tokenizer.chat_template):
            return None, True
        return get_training_chat_template(tokenizer), True
    except (ValueError, TypeError, KeyError, TemplateError):  # not one that TRL knows
        return None, False


def encode(
    messages: list[dict[str, Any]], tokenizer: Any, template: str | None, marked: bool, ends: set[int]
) -> tuple[list[int], list[bool]]:
    """(token ids, whether each is trained on) of a conversation.

    The token that ends a turn is trained on with it, and where the template does not end the last turn with one of
    `ends`, an end-of-sequence token is added: otherwise the model would never learn to stop.

    Raises:
        ValueError: the template refuses the conversation, or does not tell the turns apart.
    """
    from jinja2 import TemplateError

    try:
        with in_bounds(tokenizer):
            text = tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template)
            check_length(str(text), messages)
            ids, trained = _marked(messages, tokenizer, template) if marked else _by_prefix(messages, tokenizer)
    except TemplateError as error:
        raise ValueError(f"the chat template refuses the conversation ({error})") from None
    for at in range(1, len(ids)):
        if trained[at - 1] and not trained[at] and ids[at] in ends and ids[at - 1] not in ends:
            trained[at] = True
    # What a template writes after the end of a turn, a line break for most, is not the assistant's.
    ended = False
    for at in range(len(ids)):
        ended = trained[at] and (ended or (at > 0 and trained[at - 1] and ids[at - 1] in ends))
        trained[at] = trained[at] and not ended
    if messages[-1]["role"] == "assistant" and any(trained):
        last = max(at for at, each in enumerate(trained) if each)
        if ids[last] not in ends:
            trained[last + 1 :] = [True] * (len(ids) - last - 1)
            ids, trained = [*ids, tokenizer.eos_token_id], [*trained, True]
    return ids, trained


def _marked(messages: list[dict[str, Any]], tokenizer: Any, template: str | None) -> tuple[list[int], list[bool]]:
    found = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, chat_template=template,
        tokenizer_kwargs={"verbose": False},
    )  # fmt: skip
    return list(found["input_ids"]), [bool(each) for each in found["assistant_masks"]]


def _by_prefix(messages: list[dict[str, Any]], tokenizer: Any) -> tuple[list[int], list[bool]]:
    """The assistant's part is what its turns add to the text of the conversation before them."""

    def written(count: int, prompt: bool = False) -> str:
        return str(tokenizer.apply_chat_template(messages[:count], tokenize=False, add_generation_prompt=prompt))

    text, spans = written(len(messages)), []
    for index, turn in enumerate(messages):
        if turn["role"] != "assistant":
            continue
        before, through = written(index, prompt=True), written(index + 1)
        if not text.startswith(before):
            before = written(index)
        if not text.startswith(through) or not through.startswith(before):
            raise ValueError(
                "the chat template has no {% generation %} markers and writes earlier turns otherwise once there are "
                "later ones, so that the assistant's tokens cannot be told from the others"
            )
        spans.append((len(before), len(through)))
    if not tokenizer.is_fast:
        raise ValueError("the chat template has no {% generation %} markers, and the tokenizer does not tell places")
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    inside = [any(start <= at < end for start, end in spans) and at < to for at, to in found["offset_mapping"]]
    return list(found["input_ids"]), inside


def prompt_ids(messages: list[dict[str, Any]], tokenizer: Any) -> list[int]:
    """A conversation that the assistant is to go on with, as the stock pipeline writes it."""
    with in_bounds(tokenizer):
        check_length(str(tokenizer.apply_chat_template(messages, tokenize=False)), messages)
        found = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, add_generation_prompt=True, tokenizer_kwargs={"verbose": False}
        )
    return list(found["input_ids"])


def prompt_turns(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A conversation up to the last turn that is not the assistant's: what is answered anew."""
    last = max((at for at, turn in enumerate(messages) if turn["role"] != "assistant"), default=-1)
    return messages[: last + 1]
