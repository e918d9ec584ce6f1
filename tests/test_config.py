"""One configuration from a file, `key=value` words and Python; wrong ones are answered in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_tl.config import RunConfig, expand, load_config, merge, parse_overrides, slug
from hf_tl.errors import ConfigError
from hf_tl.io.yaml_text import read_yaml

LEAST = {"model": "bert", "data": "reviews.csv"}


def test_shorthands_stand_for_their_section() -> None:
    config = load_config({**LEAST, "method": "lora", "hub": "me/x"})
    assert (config.model.id, config.data.path, config.method.name) == ("bert", "reviews.csv", "lora")
    assert config.hub is not None and config.hub.id == "me/x"


def test_defaults() -> None:
    config = load_config(LEAST)
    assert (config.method.name, config.seed, config.task, config.hub) == ("full", 42, None, None)
    assert config.folder == Path("runs/bert-reviews-full")


def test_layers_win_in_order_and_leave_the_rest() -> None:
    base = {**LEAST, "training": {"learning_rate": 1e-4, "num_train_epochs": 3}}
    config = load_config(base, {"training": {"learning_rate": 2e-4}}, {"training": {"learning_rate": 3e-4}})
    assert config.training.passed_through == {"learning_rate": 3e-4, "num_train_epochs": 3}
    assert base["training"] == {"learning_rate": 1e-4, "num_train_epochs": 3}


def test_a_new_method_starts_from_its_own_defaults() -> None:
    lora = {**LEAST, "method": {"name": "lora", "r": 16}}
    assert load_config(lora, {"method": "full"}).method.passed_through == {}
    assert load_config(lora, {"method": "lora"}).method.passed_through == {"r": 16}


def test_overrides_are_yaml_under_dotted_keys() -> None:
    words = ["training.learning_rate=3e-4", "method=lora", "method.r=16", "data.columns={text: body}", "hub="]
    assert parse_overrides(words) == {
        "training": {"learning_rate": 3e-4},
        "method": {"name": "lora", "r": 16},
        "data": {"columns": {"text": "body"}},
        "hub": None,
    }


@pytest.mark.parametrize("text", ["3e-4", "3.0e-4", "3E-4", "0.0003"])
def test_numbers_as_people_write_them(text: str) -> None:
    assert parse_overrides([f"x={text}"]) == {"x": 3e-4}


def test_a_file_says_what_python_says(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model: bert\ndata: reviews.csv\ntraining: {learning_rate: 3e-4}\n", encoding="utf-8")
    assert load_config(file) == load_config({**LEAST, "training": {"learning_rate": 3e-4}})


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    config = load_config(
        {
            **LEAST,
            "method": {"name": "full", "unfreeze": {0: "head", 1.5: 2}},
            "data": {"path": "é: #x", "validation": 0.2},
        }
    )
    file = tmp_path / "config.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(file) == config


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({**LEAST, "metod": "lora"}, "metod: unknown key; did you mean 'method'?"),
        ({**LEAST, "data": {"path": "x", "colums": {}}}, "data.colums: unknown key; did you mean 'columns'?"),
        ({**LEAST, "data": {"path": "x", "preprocessing": {"max_len": 3}}}, "did you mean 'max_length'?"),
        (
            {**LEAST, "method": "lorra"},
            "method.name: found \"lorra\", expected one of 'full', 'lora', 'frozen', 'scratch'",
        ),
        ({**LEAST, "seed": "x"}, 'seed: found "x"'),
        ({**LEAST, "seed": -1}, "seed: found -1"),
        ({**LEAST, "task": "text-clasification"}, "did you mean 'text-classification'?"),
        ({**LEAST, "data": {"path": "x", "validation": 1.5}}, "data.validation: found 1.5"),
        ({**LEAST, "data": {"path": "x", "splits": {"training": "a"}}}, "data.splits"),
        ({"data": "x"}, "model: missing"),
        ({"model": "x"}, "data: missing"),
        ({**LEAST, "model": {"head": "mlp"}}, "model.id: missing"),
        ({**LEAST, "method": ["lora"]}, "method"),
        ({**LEAST, "model": None}, "model: found null"),
    ],
)
def test_wrong_values_are_named(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(values)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["training.learning_rate", "=3", "a..b=3", ".a=1", "a=[1", "a={b: 1"])
def test_wrong_overrides(word: str) -> None:
    with pytest.raises(ConfigError):
        parse_overrides([word])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"model: [x", "line"),
        (b"model: a\nmodel: b\n", "line 2: not valid YAML: key 'model' stands twice"),
        (b"- a\n", "found a list"),
        (b"", "found nothing"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"model: !!python/object/apply:os.system ['echo']\n", "not valid YAML"),
    ],
)
def test_wrong_files(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"run\.yaml") as caught:
        read_yaml(file)
    assert sentence in str(caught.value)


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config("nowhere.yaml")


def test_a_configuration_is_checked_when_changed() -> None:
    config = load_config(LEAST)
    with pytest.raises(ValueError):
        config.seed = "x"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("me/my model", "my-model"),
        ("data/reviews.csv.gz", "reviews"),
        ("../", "x"),
        ("C:\\x\\y.parquet", "y"),
        ("a/b/", "b"),
    ],
)
def test_run_folders_have_safe_names(text: str, expected: str) -> None:
    assert slug(text) == expected


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from([*RunConfig.model_fields, "metod", ""])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keys, plain_values, max_size=6), st.dictionaries(keys, plain_values, max_size=6))
def test_nothing_but_a_sentence_comes_of_nonsense(base: dict[str, Any], over: dict[str, Any]) -> None:
    try:
        config = load_config({**LEAST, **base}, over)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert load_config(yaml.safe_load(config.to_yaml())).folder == config.folder


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=20))
def test_nothing_but_a_sentence_comes_of_a_nonsense_word(word: str) -> None:
    try:
        found = parse_overrides([word])
    except ConfigError as error:
        assert str(error) and "\n" not in str(error)
    else:
        key, equals, _ = word.partition("=")
        assert equals and list(found) == [key.split(".")[0]]


@given(plain_values.filter(lambda value: isinstance(value, dict)))
def test_merging_nothing_changes_nothing(values: dict[str, Any]) -> None:
    whole = repr(expand(values))  # as text: not a number is unlike itself
    assert repr(merge(values, {})) == repr(merge({}, values)) == whole


def test_merging_goes_into_mappings() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": [1, 2]}
    assert merge(base, {"a": {"c": 3, "e": 4}, "d": [5]}) == {"a": {"b": 1, "c": 3, "e": 4}, "d": [5]}
    assert base == {"a": {"b": 1, "c": 2}, "d": [1, 2]}


@pytest.mark.parametrize(
    ("word", "section", "found"),
    [
        ("data.columns.text=1", "columns", {"text": "1"}),
        ("data.columns.label=yes", "columns", {"label": "yes"}),
        ("data.columns.text=the text, whole", "columns", {"text": "the text, whole"}),
        ("data.columns.label=label: final", "columns", {"label": "label: final"}),
        ("data.columns.label='a: b'", "columns", {"label": "a: b"}),
        ("data.columns.label=[no, 3, off]", "columns", {"label": ["no", "3", "off"]}),
        ("data.columns={text: 1, label: 0}", "columns", {"text": "1", "label": "0"}),
        ("data.splits.test=2020", "splits", {"test": "2020"}),
    ],
)
def test_names_of_columns_and_splits_are_taken_as_they_stand(word: str, section: str, found: dict[str, Any]) -> None:
    data = load_config(LEAST, parse_overrides([word])).data
    assert getattr(data, section) == found


def test_labels_that_are_numbers_have_weights(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model: m\ndata: d\nloss: {class_weights: {0: 1, 1: 2.5}}\n")
    for config in (load_config(file), load_config(LEAST, parse_overrides(["loss.class_weights={0: 1, 1: 2.5}"]))):
        assert config.loss.class_weights == {"0": 1.0, "1": 2.5}
    with pytest.raises(ConfigError, match="put the name in quotes"):
        load_config(LEAST, parse_overrides(["loss.class_weights={yes: 1, no: 2}"]))


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = {"data": {"path": "d", "validation": 2, "on_error": "halt"}, "seed": -1}
    with pytest.raises(ConfigError) as raised:
        load_config(wrong)
    for place in ("model: missing", "data.validation: found 2", "data.on_error: found", "seed: found -1"):
        assert place in str(raised.value)
    with pytest.raises(ConfigError, match=r"^metod: unknown key; did you mean 'method'\?"):
        load_config({"metod": "lora", "model": "m", "data": {"path": "d", "validation": 2}})
