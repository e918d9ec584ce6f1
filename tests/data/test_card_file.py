"""What the card beside a model or data says: licence, languages, tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hf_tl.data.card_file import languages_in, languages_of, license_in, license_of, tags_of


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"license": "mit"}, "mit"),
        ({"license": ["mit", "cc-by-4.0"]}, "mit and cc-by-4.0"),
        ({"license": ["mit", " ", 3]}, "mit"),
        ({"license": " "}, None),
        ({"license": "other", "license_name": "own-1.0"}, "own-1.0"),
        ({"license": "mit", "license_name": "own-1.0"}, "mit"),
        ({"license": "other"}, "other"),
        ({"license": ["mit", "unknown"]}, None),
        ({}, None),
    ],
)
def test_licence(metadata: dict[str, Any], expected: str | None) -> None:
    assert license_in(metadata) == expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"language": "en"}, ["en"]),
        ({"languages": ["de", "pt-BR"]}, ["de", "pt-br"]),
        ({"language": ["fr"], "languages": ["de"]}, ["fr"]),
        ({"language": [False, "english", "e", "zh-", "multilingual"]}, ["no"]),
        ({"language": None}, []),
    ],
)
def test_languages(metadata: dict[str, Any], expected: list[str]) -> None:
    assert languages_in(metadata) == expected


def test_a_card_on_disk(tmp_path: Path) -> None:
    assert license_of(tmp_path) is None and languages_of(tmp_path) == [] and tags_of(tmp_path) == []
    metadata = "license: mit\nlanguage: en\npipeline_tag: fill-mask\ntags: [a, '', b]\n"
    (tmp_path / "README.md").write_text(f"---\n{metadata}---\n# A model\n")
    assert license_of(tmp_path) == "mit" and languages_of(tmp_path) == ["en"]
    assert tags_of(tmp_path) == ["fill-mask", "a", "b"]
    (tmp_path / "README.md").write_text("---\ntags: a\n---\n")
    assert tags_of(tmp_path) == []
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")  # one that cannot be parsed says nothing
    assert license_of(tmp_path) is None
