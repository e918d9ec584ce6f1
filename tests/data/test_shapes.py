"""Columns in the shapes that datasets commonly have: conversations, questions with answers, words one a row."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_tl.config import DataConfig
from hf_tl.data import load_data, load_rows
from hf_tl.data.annotations import FILE
from hf_tl.data.conversations import ROLES
from hf_tl.data.json_rows import as_row
from hf_tl.data.shapes import shaped
from hf_tl.data.tables import read_table
from hf_tl.data.written import from_text
from hf_tl.errors import DataError
from hf_tl.task import Targets, get_task

CHAT, QA, TAGS = get_task("text-generation"), get_task("question-answering"), get_task("token-classification")
ASKED = {"role": "user", "content": "What is 2 + 2?"}
SAID = {"role": "assistant", "content": "4"}
PART = {"type": "text", "text": "x"}
RULE = {"role": "system", "content": "Be brief."}


def read(rows: list[Any], task: Any = None, need_labels: bool = True, **columns: Any) -> list[dict[str, Any]]:
    """The rows of a JSON file as tasks see them."""
    table = [as_row(row) for row in rows]
    names = {name: None for row in table for name in row}
    made = Dataset.from_dict({name: [row.get(name) for row in table] for name in names})
    found: list[dict[str, Any]] = shaped({"train": made}, task, columns, [], need_labels)["train"].to_list()
    return found


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "user: a | assistant: b"),
        ({"chat": [{"role": "Human", "content": "a"}, {"role": "bot", "content": "b"}]}, "user: a | assistant: b"),
        ({"dialog": [{"from": "observation", "value": "a"}]}, "tool: a"),
        (
            {"system": "s", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
            "system: s | user: a | assistant: b",
        ),
        ({"system": "s", "messages": [RULE, ASKED, SAID]}, "system: Be brief. | user: What is 2 + 2? | assistant: 4"),
        ({"instruction": "q", "input": "", "output": "a"}, "user: q | assistant: a"),
        ({"instruction": "q", "input": "i", "output": "a"}, "user: q\n\ni | assistant: a"),
        ({"Instruction": "q", "Context": "c", "Response": "a", "category": "x"}, "user: q\n\nc | assistant: a"),
        ({"system_prompt": "s", "question": "q", "response": "a"}, "system: s | user: q | assistant: a"),
        ({"system_prompt": "", "question": "q", "response": "a"}, "user: q | assistant: a"),
        ({"system": "s", "prompt": "q", "completion": "a"}, "system: s | user: q | assistant: a"),
        ({"prompt": [RULE, ASKED], "completion": [SAID]}, "system: Be brief. | user: What is 2 + 2? | assistant: 4"),
        ({"prompt": "q", "completion": [SAID]}, "user: q | assistant: 4"),
        ({"prompt": [ASKED], "response": "4"}, "user: What is 2 + 2? | assistant: 4"),
        ([ASKED, SAID], "user: What is 2 + 2? | assistant: 4"),
        ({"messages": json.dumps([ASKED, SAID])}, "user: What is 2 + 2? | assistant: 4"),
        ({"messages": repr([ASKED, SAID])}, "user: What is 2 + 2? | assistant: 4"),
        (
            {"messages": [{"role": "user", "content": [PART, PART]}, SAID]},
            "user: xx | assistant: 4",
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
@pytest.mark.parametrize("task", [None, CHAT], ids=["inferred", "asked"])
def test_conversations_of_every_shape(row: Any, expected: str, task: Any) -> None:
    (found,) = read([row], task)
    assert " | ".join(f"{turn['role']}: {turn['content']}" for turn in found["messages"]) == expected


def test_questions_and_answers_are_conversations_when_they_are_asked_to_be() -> None:
    rows = [{"question": "q", "answer": "a"}]
    assert read(rows) == rows
    assert read(rows, CHAT) == [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}]
    assert read(rows, get_task("text-classification")) == rows
    assert read(rows, CHAT, text="question") == rows, "a column that the configuration names is left as it is"
    prompts = [{"prompt": "q", "completion": "a"}]
    assert read(prompts, CHAT) == prompts
    kept = [{"messages": [ASKED, SAID], "question": "q", "answer": "a"}]
    assert read(kept, CHAT) == kept, "conversations are there already"


def test_columns_as_pandas_writes_them(tmp_path: Path) -> None:
    rows = [{"text": f"number {at}", "label": "ab"[at % 2]} for at in range(12)]
    for orient in ("columns", "index", "records", "list"):
        file = tmp_path / f"{orient}.json"
        if orient == "list":
            file.write_text(json.dumps(pd.DataFrame(rows).to_dict("list")))
        else:
            pd.DataFrame(rows).to_json(file, orient=orient)  # type: ignore[call-overload]
        assert Dataset.from_list(rows).to_dict() == read_table(file).to_dict()


def test_a_named_column_of_conversations_keeps_its_name() -> None:
    rows = [{"talk": [{"from": "human", "value": "a"}]}]
    assert read(rows, CHAT, messages="talk") == [{"talk": [{"role": "user", "content": "a"}]}]


def test_questions_alone_can_be_answered_but_not_learned_from() -> None:
    rows = [{"instruction": "q", "input": "i"}]
    assert read(rows, CHAT) == rows
    assert read(rows, CHAT, need_labels=False) == [{"messages": [{"role": "user", "content": "q\n\ni"}]}]


def test_a_model_reads_what_it_learned_from(tmp_path: Path) -> None:
    """Of the same table the texts, where it learned from texts, and conversations where it learned from these."""
    file = tmp_path / "a.jsonl"
    file.write_text('{"question": "q", "answer": "a"}\n')
    for usual, role in (({"text": "question"}, "text"), ({"messages": "messages"}, "messages"), ({}, "messages")):
        data = load_rows(DataConfig(path=str(file)), CHAT, Targets(), need_labels=False, usual=usual)
        (rows,) = data.splits.values()
        assert set(rows.column_names) == {role, "file"}, usual


@pytest.mark.parametrize(
    ("row", "role"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "completion"),
        ({"chosen": [ASKED, SAID], "rejected": [ASKED, SAID]}, "messages"),
    ],
)
def test_preferences_are_named(row: dict[str, Any], role: str) -> None:
    with pytest.raises(DataError, match=f"hold preferences .* data.columns.{role}=chosen trains on the preferred"):
        read([row])
    assert read([row], CHAT, **{role: "chosen"}) == [row]
    assert read([row], get_task("text-classification")) == [row]


def test_tool_calls_keep_their_own_arguments(tmp_path: Path) -> None:
    """Arrow would give each call the arguments of all others, as null, and refuse two types of one name."""
    from hf_tl.tasks._chat import clean

    def calls(name: str, **arguments: Any) -> list[dict[str, Any]]:
        return [{"type": "function", "function": {"name": name, "arguments": arguments}}]

    first = [ASKED, {"role": "assistant", "content": None, "tool_calls": calls("weather", city="Rome", day=None)}]
    then = [ASKED, {"role": "assistant", "content": None, "tool_calls": calls("add", city=1, x=[2])}]
    then += [{"role": "tool", "content": "3"}, SAID]
    file = tmp_path / "calls.jsonl"
    file.write_text("".join(json.dumps({"messages": each}) + "\n" for each in [first, then] * 10))
    rows = load_data(DataConfig(path=str(file))).splits["train"]["messages"]
    found = {json.dumps(clean(row), sort_keys=True) for row in rows}
    wanted = [
        [{key: value for key, value in turn.items() if value is not None} for turn in each] for each in (first, then)
    ]
    assert found == {json.dumps(each, sort_keys=True) for each in wanted}
    padded = Dataset.from_dict(
        {"messages": [[{**ASKED, "tool_calls": calls("a", x=1)}], [{**ASKED, "tool_calls": calls("b", y=2)}]]}
    )
    assert padded[0]["messages"][0]["tool_calls"][0]["function"]["arguments"] == {"x": 1, "y": None}
    assert clean(padded[0]["messages"])[0]["tool_calls"] == calls("a", x=1)


def test_an_empty_system_turn_is_none() -> None:
    from hf_tl.tasks._chat import clean, wrong

    for nothing in ("", "  ", None):
        turns = [{"role": "system", "content": nothing}, ASKED, SAID]
        assert clean(turns) == [ASKED, SAID] and wrong(turns) is None
    assert wrong([{"role": "system", "content": ""}]) == "the conversation is empty"
    assert "turn 3 is the user's" in str(wrong([{"role": "system", "content": ""}, ASKED, ASKED]))
    assert wrong(["hello"]) == "turn 1 is a str, expected a record of role and content"


def test_content_that_is_no_text_is_named(tmp_path: Path) -> None:
    image = [{"type": "image", "url": "a.png"}, {"type": "text", "text": "what is this"}]
    rows = [{"messages": [ASKED, SAID]}] * 8 + [{"messages": [{"role": "user", "content": image}, SAID]}]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="line 9: turn 1 holds 'image', 'text' beside text, and only text is read"):
        load_data(DataConfig(path=str(file)))


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), words), min_size=1, max_size=5),
        min_size=1,
        max_size=4,
    ),
    st.data(),
)
def test_random_conversations_are_read_back(chats: list[list[tuple[str, str]]], data: Any) -> None:
    """Whatever names roles and keys have in the file, whether content is a text or a list of its parts."""
    names = {role: data.draw(st.sampled_from(ROLES[role]), label=role) for role in ("user", "assistant", "tool")}
    who, what = data.draw(st.sampled_from([("from", "value"), ("role", "content"), ("from", "text")]))
    parts = data.draw(st.booleans(), label="parts")

    def content(text: str, at: int) -> Any:
        return [{"type": "text", "text": text}] if parts and at % 2 else text

    rows = [
        {"conversations": [{who: names[role], what: content(text, at)} for at, (role, text) in enumerate(chat)]}
        for chat in chats
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "chats.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        from hf_tl.data.sources import read_source

        source = read_source(DataConfig(path=str(file)))
        found = shaped(source.splits, CHAT, {}, [])["train"]
    column = "messages" if "messages" in found.column_names else "conversations"
    assert [[(turn["role"], turn["content"]) for turn in row] for row in found[column]] == chats


# questions with answers in their contexts

ABOUT = "Ada was born in Rome. She lives in Berkeley."
ROME = {"text": ["Rome"], "answer_start": [16]}


@pytest.mark.parametrize(
    "row",
    [
        {"answer_text": "Rome", "answer_start": 16},
        {"answer_text": "Rome", "answer_start": 16.0},
        {"answer_text": "Rome", "answer_start": "16"},
        {"text": "Rome", "start": 16},
        {"answer": ["Rome"], "answer_start": [16]},
        {"answers": "['Rome']", "answer_start": "[16]"},
        {"answers": str(ROME)},
        {"answers": json.dumps(ROME)},
        {"answers": json.dumps([{"text": "Rome", "answer_start": 16}])},
        {"answers": "{'text': array(['Rome'], dtype=object), 'answer_start': array([16], dtype=int32)}"},
        {"answer": "Rome"},
    ],
    ids=str,
)
@pytest.mark.parametrize("task", [None, QA], ids=["inferred", "asked"])
def test_answers_of_every_shape(row: dict[str, Any], task: Any) -> None:
    (found,) = read([{"context": ABOUT, "question": "Where?", **row}], task)
    name = next(name for name in ("answers", "answer") if name in found)
    assert found[name] == ROME and found["context"] == ABOUT


def test_a_question_without_an_answer() -> None:
    about = {"context": ABOUT, "question": "?"}
    rows = [
        {**about, "answer_text": text, "answer_start": start} for text, start in (("Rome", 16), ("", -1), (None, None))
    ]
    none = {"text": [], "answer_start": []}
    assert [row["answers"] for row in read(rows, QA)] == [ROME, none, none]


def test_an_answer_without_a_place_is_the_first_that_is_written_so() -> None:
    rows = [{"context": "Rome is Rome", "question": "?", "answer": "Rome"}]
    notes: list[str] = []
    found = shaped({"train": Dataset.from_list(rows)}, QA, {}, notes)["train"]
    assert found[0]["answers"] == {"text": ["Rome"], "answer_start": [0]}
    assert notes == ["'answer' (answers, each where it first stands in its context) are read as the column 'answers'."]
    about = [{"context": ABOUT, "question": "?", "answer": "a poet"}]
    assert read(about, QA) == about, "answers that are not in their contexts are no spans of them"


def test_places_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "qa.csv"
    rows = [{"context": ABOUT, "question": "?", "answer_text": "Rome", "answer_start": 16}] * 6
    pd.DataFrame([*rows, {**rows[0], "answer_start": 16.5}]).to_csv(file, index=False)
    with pytest.raises(
        DataError, match=r"line 8: the answer 'Rome' does not stand at character -1 of the context \(it stands at 16\)"
    ):
        load_data(DataConfig(path=str(file)))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(words, words, words), min_size=1, max_size=6),
    st.sampled_from(["record", "flat", "float", "text"]),
)
def test_random_answers_are_read_back(parts: list[tuple[str, str, str]], shape: str) -> None:
    rows, wanted = [], []
    for before, answer, after in parts:
        place = {"text": answer, "answer_start": len(before)}
        wanted.append(
            {"text": [answer] if answer.strip() else [], "answer_start": [len(before)] if answer.strip() else []}
        )
        shapes: dict[str, Any] = {
            "record": {"answers": {"text": [answer], "answer_start": [len(before)]}},
            "flat": {"answer_text": answer, "answer_start": len(before)},
            "float": {"answer_text": answer, "answer_start": float(len(before))},
            "text": {"answers": str({key: [value] for key, value in place.items()})},
        }
        rows.append({"context": before + answer + after, "question": "?", **shapes[shape]})
    found = [row["answers"] for row in read(rows, QA)]
    if shape == "record":
        assert [each["text"] for each in found] == [[answer] for _, answer, _ in parts]
    else:
        assert found == wanted


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**40), 2**40) | words,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=8,
    ).filter(lambda value: isinstance(value, (list, dict)))
)
def test_values_written_as_text_are_read_back(value: Any) -> None:
    assert from_text(json.dumps(value)) == value
    assert from_text(repr(value)) == value


@pytest.mark.parametrize(
    "text", ["x", "", "[", "[" * 5000, "[__import__('os')]", "[" + "(" * 300 + ")" * 300 + "]", "[1 + 1]"]
)
def test_values_that_are_no_lists(text: str) -> None:
    with pytest.raises(ValueError):
        from_text(text)


# words and spans

KAGGLE = """Sentence #,Word,POS,Tag
Sentence: 1,Ada,NNP,B-per
,lives,VBZ,O
,in,IN,O
,"Rome, Italy",NNP,B-geo
Sentence: 2,null,NN,O
,rains,VBZ,O
"""


def test_one_word_a_row(tmp_path: Path) -> None:
    file = tmp_path / "ner.csv"
    file.write_text(KAGGLE + KAGGLE.partition("\n")[2].replace("1", "3").replace("2", "4") * 4)
    data = load_data(DataConfig(path=str(file)))
    assert data.task.name == TAGS.name and sum(map(len, data.splits.values())) == 10
    found = load_rows(DataConfig(path=str(file)), TAGS, Targets(labels=("O", "B-geo", "B-per")), need_labels=True)
    (rows,) = found.splits.values()
    assert rows[0]["words"] == ["Ada", "lives", "in", "Rome, Italy"]
    assert rows[0]["tags"] == [2, 0, 0, 1] and rows[1]["words"] == ["null", "rains"]
    assert str(rows[1]["file"]).endswith("line 6")


names = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=8)
tagged = st.lists(st.tuples(names, st.sampled_from(["O", "B-x", "I-x"])), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(st.lists(tagged, min_size=1, max_size=5), st.booleans(), st.sampled_from(["Sentence: {}", "{}", "sent-{}"]))
def test_random_words_of_rows_are_read_back(found: list[Any], filled: bool, number: str) -> None:
    """Whether the number of a sentence stands beside each word or beside its first."""
    rows = [
        {"Sentence #": number.format(at) if filled or index == 0 else None, "Word": word, "Tag": tag}
        for at, sentence in enumerate(found)
        for index, (word, tag) in enumerate(sentence)
    ]
    made = Dataset.from_list(rows).add_column(FILE, [f"row {at}" for at in range(len(rows))])
    read_back = shaped({"train": made}, TAGS, {}, [])["train"]
    assert [list(zip(row["tokens"], row["ner_tags"], strict=True)) for row in read_back] == found
    firsts = [sum(map(len, found[:at])) for at in range(len(found))]
    assert read_back[FILE] == [f"row {at}" for at in firsts]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), names), max_size=4), st.data())
def test_random_spans_are_read_back(found: list[tuple[int, int, str]], data: Any) -> None:
    keys = ("start", "end", "label")
    wanted = [dict(zip(keys, span, strict=True)) for span in found]
    other = data.draw(st.sampled_from([("start_offset", "end_offset", "label"), ("begin", "end", "type"), keys]))
    for spans in ([list(span) for span in found], [dict(zip(other, span, strict=True)) for span in found]):
        assert as_row({"text": "t", "x": spans}) == {"text": "t", "x": wanted}


def test_a_word_in_its_sentence_is_no_word_of_it() -> None:
    rows = [{"word": "bank", "sentence": "a bank of the river", "label": "shore"}]
    assert read(rows) == rows


@pytest.mark.parametrize(
    "row",
    [
        {"text": "Ada in Rome", "label": [[0, 3, "PER"], [7, 11, "LOC"]]},
        {"text": "Ada in Rome", "entities": [{"id": 1, "start_offset": 0, "end_offset": 3, "label": "PER"},
                                             {"id": 2, "start_offset": 7, "end_offset": 11, "label": "LOC"}]},
        {"text": "Ada in Rome", "label": [{"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]},
                                          {"start": 7, "end": 11, "text": "Rome", "labels": ["LOC"]}]},
        ["Ada in Rome", {"entities": [[0, 3, "PER"], [7, 11, "LOC"]]}],
        {"text": "Ada in Rome", "spans": [{"start": 0, "end": 3, "tag": "PER"}, {"start": 7, "end": 11, "tag": "LOC"}]},
    ],
    ids=["doccano", "doccano relations", "Label Studio", "spaCy", "other keys"],
)  # fmt: skip
def test_spans_of_every_tool(row: Any, tmp_path: Path) -> None:
    file = tmp_path / "spans.json"
    empty = {"text": "it rains", **({} if isinstance(row, list) else {name: [] for name in row if name != "text"})}
    file.write_text(json.dumps([row, empty if isinstance(row, dict) else ["it rains", {"entities": []}]] * 6))
    data = load_data(DataConfig(path=str(file)))
    assert data.task.name == TAGS.name and data.labels == ("O", "B-LOC", "B-PER")
    tagged = {tuple(row["words"]): [data.labels[tag] for tag in row["tags"]] for row in data.splits["train"]}
    assert tagged == {("Ada", "in", "Rome"): ["B-PER", "O", "B-LOC"], ("it", "rains"): ["O", "O"]}
