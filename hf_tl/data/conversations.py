"""Conversations in the forms that people keep them, as lists of turns with `role` and `content`: ShareGPT's `from` and
`value`, columns of system prompt, question and answer (Alpaca, Dolly, OpenOrca), prompt and completion as turns (TRL).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from datasets import Dataset, Value

from hf_tl.data.texts import STRINGS
from hf_tl.data.written import from_text
from hf_tl.errors import listing

ROLE_KEYS, CONTENT_KEYS = ("role", "from"), ("content", "value", "text")
ROLES = {
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "bing", "bard", "model", "ai"),
    "system": ("system",),
    "developer": ("developer",),
    "tool": ("tool", "observation", "function_response"),
}
"""Role -> the names that people give it; what is none of them is kept, and refused where conversations are checked."""
_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
WRONG = "wrong"
"""Key of a turn with what is wrong in it, said where conversations are checked."""
KEPT = ("tool_calls", "tool_call_id", "name", "reasoning_content", WRONG)
"""What else of a turn a chat template reads."""
COLUMNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns")
"""Usual names of a column of conversations, for one that is written as text."""
SYSTEM = ("system", "system_prompt", "system_message")
QUESTIONS = ("instruction", "question", "query", "problem", "prompt", "input")
ANSWERS = ("output", "response", "answer", "completion", "solution")
GIVEN = ("input", "context")
"""What a question may be about."""
SURE = {("instruction", answer) for answer in ANSWERS} | {("question", "response"), ("query", "response")}
"""Questions and answers whose names stand for a conversation; others may be anything, and are read so when asked."""
LOOKED_AT = 50
"""Rows by which a column is known."""


def is_turn(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and any(isinstance(value.get(key), str) for key in ROLE_KEYS)
        and any(key in value for key in CONTENT_KEYS)
    )


def are_turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(is_turn(each) for each in value)


def as_text(content: Any) -> Any:
    """A content of text parts as one text; any other as it is."""
    if isinstance(content, list) and all(isinstance(each, dict) and each.get("type") == "text" for each in content):
        return "".join(str(each.get("text") or "") for each in content)
    return content


def as_written(value: Any) -> Any:
    """A conversation as Arrow can hold it: content as text, and tool calls as JSON, since the columns of a record would
    give to every call the arguments of all others. Anything else as it is."""
    return [_turn_as_written(turn) for turn in value] if are_turns(value) else value


def _turn_as_written(turn: dict[str, Any]) -> dict[str, Any]:
    out = {key: as_text(each) if key in CONTENT_KEYS else each for key, each in turn.items()}
    if out.get("tool_calls") is not None and not isinstance(out["tool_calls"], str):
        out["tool_calls"] = json.dumps(out["tool_calls"], ensure_ascii=False)
    for key in CONTENT_KEYS:
        if isinstance(out.get(key), (list, dict)):
            kinds = [each.get("type") if isinstance(each, dict) else each for each in out[key]]
            out |= {key: None, WRONG: f"holds {listing(kinds)} beside text, and only text is read"}
    return out


def standard(turns: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turns by `role` and `content`, with the roles that chat templates know."""
    out = []
    for turn in map(_turn_as_written, turns):
        role = next((turn[key] for key in ROLE_KEYS if turn.get(key) is not None), None)
        content = next((turn[key] for key in CONTENT_KEYS if turn.get(key) is not None), None)
        known = _ROLE_OF.get(str(role).strip().lower(), role)
        out.append({"role": known, "content": content, **{key: turn[key] for key in KEPT if turn.get(key) is not None}})
    return out


# columns


def _sample(rows: Dataset, name: str) -> list[Any]:
    return [value for value in rows.select(range(min(len(rows), LOOKED_AT))).with_format(None)[name] if value]


def _texts(rows: Dataset) -> dict[str, str]:
    """Lower-case name -> name of the columns of texts."""
    return {
        name.lower(): name
        for name, feature in reversed(rows.features.items())
        if isinstance(feature, Value) and feature.dtype in STRINGS
    }


def _turns(rows: Dataset, name: str) -> list[list[dict[str, Any]]] | None:
    """The first conversations of a column; None where it holds others things."""
    feature = rows.features[name]
    values = _sample(rows, name) if not isinstance(feature, Value) else []
    if isinstance(feature, Value) and feature.dtype in STRINGS and name.lower() in COLUMNS:
        values = _sample(rows, name)
        if not all(text.lstrip().startswith("[") for text in values):
            return None
        try:
            values = [from_text(text) for text in values]
        except ValueError:
            return None
    return values if values and all(are_turns(value) for value in values) else None


def turns_column(rows: Dataset) -> list[str] | None:
    """[column of conversations, column of their system prompts where there is one], where they are not as chat
    templates want them."""
    ordered = sorted(rows.column_names, key=lambda name: COLUMNS.index(name) if name in COLUMNS else len(COLUMNS))
    for name in ordered:
        found = _turns(rows, name)
        if found is None:
            continue
        system = _system(rows)
        usual = not isinstance(rows.features[name], Value) and all(
            turn.get("role") in ROLES and (turn.get("content") is None or isinstance(turn["content"], (str, list)))
            for turns in found
            for turn in turns
        )
        if usual and "content" in found[0][0] and not system:
            return None
        return [name, *system]
    return None


def _system(rows: Dataset) -> list[str]:
    texts = _texts(rows)
    return [texts[name] for name in SYSTEM if name in texts][:1]


def from_turns(conversation: Any, system: Any = None) -> Any:
    """A conversation of any form, after its system prompt."""
    if isinstance(conversation, str):
        try:
            conversation = from_text(conversation)
        except ValueError:
            return []
    if not isinstance(conversation, list) or not all(isinstance(turn, dict) for turn in conversation):
        return []
    turns = standard(conversation)
    first = turns[0]["role"] if turns else None
    return turns if first in ("system", "developer") else [*_turn("system", system), *turns]


def _turn(role: str, content: Any) -> list[dict[str, Any]]:
    text = content if isinstance(content, str) else ""
    return [{"role": role, "content": text}] if text.strip() else []


def _asked(rows: Dataset) -> tuple[str, str] | None:
    texts = _texts(rows)
    question = next((name for name in QUESTIONS if name in texts), None)
    answer = next((name for name in ANSWERS if name in texts), None)
    return (question, answer) if question and answer else None


def _pair(rows: Dataset, pair: tuple[str, str] | None) -> list[str] | None:
    """[question, answer, what the question is about, system prompt], the last two where they are there."""
    texts = _texts(rows)
    if pair is None:
        return None
    about = [texts[name] for name in GIVEN if name in texts and name not in pair]
    return [texts[pair[0]], texts[pair[1]], *about[:1], *_system(rows)]


def sure_pair(rows: Dataset) -> list[str] | None:
    """The columns of questions and answers whose names leave no doubt, or that a system prompt stands beside."""
    pair = _asked(rows)
    return _pair(rows, pair) if pair in SURE or _system(rows) else None


def any_pair(rows: Dataset) -> list[str] | None:
    """The columns of questions and answers; prompts and completions are texts to go on with, and none of these."""
    pair = _asked(rows)
    return None if pair and pair[0] == "prompt" and pair[1] in ("completion", "response") else _pair(rows, pair)


def question_only(rows: Dataset) -> list[str] | None:
    """The columns of questions that are to be answered."""
    texts = _texts(rows)
    question = next((name for name in ("instruction", "question", "query", "problem") if name in texts), None)
    if question is None:
        return None
    about = [texts[name] for name in GIVEN if name in texts]
    return [texts[question], *about[:1], *_system(rows)]


def conversation_of(columns: list[str], answered: bool = True) -> Callable[..., Any]:
    """What makes a conversation of the values of these columns, which `_pair` or `question_only` found."""
    names = [name.lower() for name in columns]
    system = names.index(next(name for name in names if name in SYSTEM)) if set(names) & set(SYSTEM) else None
    about = next((at for at, name in enumerate(names) if at > answered and name in GIVEN), None)

    def make(*values: Any) -> list[dict[str, Any]]:
        more = values[about] if about is not None and isinstance(values[about], str) else ""
        question = f"{values[0] or ''}\n\n{more}" if more.strip() else values[0]
        first = _turn("system", values[system]) if system is not None else []
        last = [{"role": "assistant", "content": values[1]}] if answered else []
        return [*first, {"role": "user", "content": question}, *last]

    return make


def prompt_and_completion(rows: Dataset) -> list[str] | None:
    """The columns prompt and completion where one of them at least holds turns."""
    lower = {name.lower(): name for name in rows.column_names}
    answer = next((lower[name] for name in ("completion", "response") if name in lower), None)
    if "prompt" not in lower or answer is None:
        return None
    found = [lower["prompt"], answer]
    kinds = [_turns(rows, name) is not None for name in found]
    texts = _texts(rows).values()
    return found if any(kinds) and all(k or name in texts for k, name in zip(kinds, found, strict=True)) else None


def joined(prompt: Any, completion: Any) -> list[dict[str, Any]]:
    """The turns of a prompt and of its completion; a text is one turn."""
    first = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else standard(prompt or [])
    then = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else standard(completion or [])
    return [*first, *then]


def preferences(rows: Dataset) -> list[str] | None:
    lower = {name.lower(): name for name in rows.column_names}
    return [lower["chosen"], lower["rejected"]] if {"chosen", "rejected"} <= set(lower) else None
