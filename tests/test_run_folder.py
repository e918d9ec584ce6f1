"""Which folder a run goes to: its own again, or the next free one where the data are others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hf_tl.config import RunConfig, load_config
from hf_tl.errors import ConfigError
from hf_tl.run_folder import RunFolder, changes

MADE_OF = {
    "labels": ["blue", "red"],
    "columns": {"image": "image", "label": "label"},
    "rows": {"train": 14, "validation": 2},
    "sha256": "aa",
    "content_sha256": "cc",
    "model": {"model.safetensors": "dd"},
}
MORE: dict[str, Any] = {
    **MADE_OF, "labels": ["blue", "green", "red"], "rows": {"train": 26, "validation": 3}, "content_sha256": "ee",
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(**options: Any) -> RunConfig:
    return load_config({"model": "vit", "data": "photos", **options})


def test_the_same_run_goes_on_and_one_of_other_data_is_made_anew(capsys: pytest.CaptureFixture[str]) -> None:
    first = RunFolder.begin(config(), MADE_OF)
    first.reach("reported")
    assert RunFolder.begin(config(), MADE_OF).reached("reported") and capsys.readouterr().err == ""
    second = RunFolder.begin(config(), MORE)
    assert second.folder == Path("runs/vit-photos-full-2") and second.stage == "started"
    assert capsys.readouterr().err == (
        "runs/vit-photos-full holds a run of the same configuration and other data: class 'green' is new; "
        "train has 26 rows, had 14; validation has 3 rows, had 2; training anew in runs/vit-photos-full-2.\n"
    )
    second.reach("saved")
    again = RunFolder.begin(config(), MORE)
    assert again.folder == second.folder and again.reached("saved")
    assert capsys.readouterr().err.endswith("; runs/vit-photos-full-2 holds the run of these.\n")
    # from its own configuration, which names its folder, too
    assert RunFolder.begin(again.config, MORE).folder == second.folder
    assert RunFolder.begin(config(), MADE_OF).folder == first.folder


def test_a_folder_that_was_named_is_not_left_without_asking() -> None:
    RunFolder.begin(config(output="out"), MADE_OF)
    with pytest.raises(
        ConfigError, match=r"output: out holds a run of .* other data: class 'green' is new; .*--on-change new"
    ):
        RunFolder.begin(config(output="out"), MORE)
    assert RunFolder.begin(config(output="out", on_change="new"), MORE).folder == Path("out-2")
    with pytest.raises(ConfigError, match="class 'green' is new"):
        RunFolder.begin(config(on_change="stop", output="out"), MORE)
    RunFolder.begin(config(), MADE_OF)
    with pytest.raises(ConfigError, match="class 'green' is new"):
        RunFolder.begin(config(on_change="stop"), MORE)


def test_another_configuration_stops_unless_a_new_folder_is_asked_for() -> None:
    first = RunFolder.begin(config(), MADE_OF)
    with pytest.raises(ConfigError, match=r"holds another run \(seed: 42 there, 7 here\).*--on-change new"):
        RunFolder.begin(config(seed=7), MADE_OF)
    other = RunFolder.begin(config(seed=7, on_change="new"), MADE_OF)
    assert other.folder == Path("runs/vit-photos-full-2") and other.config.seed == 7
    # `on_change` is no part of what makes a run; and a numbered folder of another configuration is passed by
    assert RunFolder.begin(config(on_change="stop"), MADE_OF).folder == first.folder
    assert RunFolder.begin(config(), MORE).folder == Path("runs/vit-photos-full-3")


def test_a_numbered_folder_of_somebody_else_is_passed_by(tmp_path: Path) -> None:
    RunFolder.begin(config(), MADE_OF)
    (tmp_path / "runs" / "vit-photos-full-2").mkdir()
    (tmp_path / "runs" / "vit-photos-full-2" / "notes.txt").write_text("mine")
    assert RunFolder.begin(config(), MORE).folder == Path("runs/vit-photos-full-3")


def test_a_run_of_before_is_known_by_its_environment_or_taken_as_it_is(tmp_path: Path) -> None:
    old = RunFolder.begin(config())
    assert RunFolder.begin(config(), MADE_OF).folder == old.folder
    assert old.made_of == MADE_OF  # from now on
    old.reach("saved", made_of=None)
    (old.folder / "environment.json").write_text(
        '{"task": "t", "model": {"id": "m"}, "data": {"sha256": "aa", "labels": ["blue", "red"]}}'
    )
    assert RunFolder.begin(config(), MADE_OF).folder == old.folder
    assert RunFolder.begin(config(), MORE).folder != old.folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"labels": ["alarm", "blue"]}, ["class 'alarm' is new", "class 'red' is gone"]),
        ({"labels": ["red", "blue"]}, ["the classes are in another order"]),
        ({"columns": {"image": "photo", "label": "label"}}, ["image is column photo, was image"]),
        ({"rows": {"train": 14, "test": 2}}, ["test has 2 rows, had no", "validation has no rows, had 2"]),
        ({"content_sha256": "x"}, ["the content of the rows has changed"]),
        ({"sha256": "x"}, ["the content of the rows has changed"]),
        ({"model": {"model.safetensors": "x"}}, ["the weights of the pretrained model have changed"]),
    ],
)
def test_what_changed_is_said(change: dict[str, Any], said: list[str]) -> None:
    assert changes(MADE_OF, {**MADE_OF, **change}) == said
    assert changes({}, {**MADE_OF, **change}) == []  # where nothing is known, nothing is claimed
