"""A card that people edit: their text and their metadata survive, whatever they do to the markers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hf_tl.config import HubConfig
from hf_tl.errors import ConfigError
from hf_tl.reporting import managed_sections
from hf_tl.reporting.card import write_card
from hf_tl.reporting.managed_sections import LICENSE, OWN_KEYS, merge_cards, remember
from tests.hub.server import RunningHub
from tests.reporting.run_folder import digits_run

METADATA = {
    "license": "apache-2.0",
    "tags": ["hf_tl", "lora"],
    "pipeline_tag": "x",
    "metrics": ["f1"],
    "language": "en",
}
NAMES = ("title", "usage", "results")


def made(version: str = "1", names: tuple[str, ...] = NAMES, **metadata: object) -> str:
    """A card as hf_tl makes it."""
    values = yaml.safe_dump({**METADATA, **metadata}, sort_keys=False)
    body = "\n".join(section(name, version) for name in names)
    return remember(f"---\n{values}---\n\n{body}")


def section(name: str, version: str = "1") -> str:
    return f"<!-- hf_tl:begin {name} -->\n\n{name} {version}\n\n<!-- hf_tl:end {name} -->\n"


def metadata(card: str) -> dict[str, object]:
    return dict(yaml.safe_load(card.split("---\n")[1]))


def edited(card: str, old: str, new: str) -> str:
    assert card.count(old) == 1
    return card.replace(old, new)


# Text of people: anything, and more often than by chance what could be taken for a marker.
LINES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.sampled_from([
        "", "```", "~~~", "````python", "---", "    ```", "> ```", "<!--", "-->", "<details>", "a\r", "# x", "- y",
        "<!-- hf_tl:begin usage -->", "<!-- hf_tl:end usage -->", "<!-- hf_tl:begin title -->", "hf_tl:begin",
        "<!-- hf_tl:end results --> ", "<!-- hf_tl:begin other -->", "<!-- hf_tl:end other -->",
        "<!-- hf_tl:wrote {} -->", '<!-- hf_tl:wrote {"head": {}, "sections": []} -->',
        "<!-- hf_tl:wrote { -->", "<!-- hf_tl:wrote [] -->", ' <!-- hf_tl:begin usage -->',
    ]),
)  # fmt: skip
TEXT = st.lists(LINES, max_size=6).map("\n".join)
PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<`~"), max_size=60)


@settings(max_examples=40, deadline=None)
@given(st.lists(PLAIN, min_size=4, max_size=4))
def test_any_text_around_the_fences_survives_byte_for_byte(texts: list[str]) -> None:
    old = made("1")
    top, body = old.split("---\n\n", 1)
    theirs, pieces = f"{top}---\n\n", re.split(r"(?<=-->\n)\n(?=<!-- hf_tl:begin)", body)
    for text, piece in zip(texts, [*pieces, ""], strict=True):
        theirs += f"{text}\n{piece}"
    new = merge_cards(made("2"), theirs)
    assert new == theirs.replace("title 1", "title 2").replace("usage 1", "usage 2").replace("results 1", "results 2")


@settings(max_examples=60, deadline=None)
@given(TEXT)
def test_whatever_they_make_of_it_no_line_of_theirs_is_lost_and_again_changes_nothing(theirs: str) -> None:
    for start in ("", made("1").split("---\n\n")[0] + "---\n\n", made("1") + "\n"):
        card = start + theirs
        try:
            new = merge_cards(made("2"), card)
        except ConfigError as error:
            assert "not YAML" in str(error)
            continue
        inside = re.compile(r"(?ms)^<!-- hf_tl:begin (\w+) -->\n.*?^<!-- hf_tl:end \1 -->[ ]*$")
        kept = new.split("\n")
        lost = [line for line in inside.sub("", theirs).split("\n") if line and line not in kept]
        # but for comments of ours, which are replaced, and metadata, whose values are kept
        lost = [line for line in lost if not re.match(r"[ \t]*<!-- hf_tl:(wrote \{|begin|end)|---", line)]
        assert not lost or theirs.lstrip().startswith("---"), (lost, new)
        assert merge_cards(made("2"), new) == new
        assert metadata(new)["pipeline_tag"] == "x"


def test_a_new_card_is_ours() -> None:
    assert merge_cards(made(), "") == made()
    assert merge_cards(made("2"), made("1")) == made("2")


def test_a_section_taken_out_stays_out_and_a_new_one_comes() -> None:
    without = edited(made(names=NAMES), section("usage") + "\n", "")
    for _ in range(2):
        without = merge_cards(made("2", (*NAMES[:2], "data", "results")), without)
        assert "usage" not in without.split("wrote")[0]
        assert without.index("title 2") < without.index("data 2") < without.index("results 2")


def test_a_section_that_says_nothing_keeps_its_place() -> None:
    empty = merge_cards(made("2", ("title", "results")), made("1"))
    assert "usage 1" not in empty and "begin usage" in empty
    assert merge_cards(made("3"), empty).index("usage 3") < merge_cards(made("3"), empty).index("results 3")


@pytest.mark.parametrize(
    "broken",
    [
        edited(made(), "<!-- hf_tl:end usage -->\n", "mine\n"),
        edited(made(), "<!-- hf_tl:begin usage -->\n", "mine\n"),
        edited(made(), "usage 1\n", section("results") + "mine\n"),  # one inside another
        edited(made(), section("usage"), "```\n" + section("usage") + "mine\n```\n"),  # shown as code
        edited(made(), section("usage"), "```\nmine\n" + section("usage")),  # a code block that does not end
    ],
)
def test_broken_fences_lose_nothing(broken: str) -> None:
    new = merge_cards(made("2"), broken)
    assert "mine\n" in new and ("usage 1" in new or "usage 1" not in broken) and "title 2" in new
    assert merge_cards(made("3"), new).count("title 3") == 1


def test_a_section_written_twice_is_renewed_twice() -> None:
    new = merge_cards(made("2"), edited(made(), section("usage"), section("usage") + "\nmine\n\n" + section("usage")))
    assert new.count("usage 2") == 2 and "usage 1" not in new and "mine" in new


def test_a_card_of_somebody_else_stays_above_ours() -> None:
    theirs = "---\nlicense: mit # ours\nmine: 1\ntags: [a]\n---\n# My model\n\ntext"
    new = merge_cards(made(), theirs)
    assert "---\n# My model\n\ntext\n\n<!-- hf_tl:begin title -->" in new and "license: mit # ours\nmine: 1\n" in new
    assert metadata(new) == {**METADATA, "license": "mit", "mine": 1, "tags": ["hf_tl", "lora", "a"]}
    assert merge_cards(made(), new) == new
    # its last code block is closed, so that ours is not part of it
    assert "text\n````\n\n<!--" in merge_cards(made(), "````\ntext") and "results 1" in merge_cards(made(), "~~~\nx")


def test_a_card_rewritten_by_hand_stays_as_it_is() -> None:
    theirs = edited(made(), made().split("---\n\n")[1], "All by hand.\n")
    assert merge_cards(made("2"), theirs).partition("<!-- hf_tl:wrote")[0] == theirs + "\n"


PLAIN_KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)
YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | PLAIN_KEYS | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN_KEYS, inner, max_size=3),
    max_leaves=6,
)
OURS = {*METADATA, *OWN_KEYS, *LICENSE}


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(PLAIN_KEYS.filter(lambda key: key not in OURS), YAML_VALUES, max_size=4),
    st.sampled_from([None, True, False]),
    st.booleans(),
    st.booleans(),
)
def test_any_keys_of_theirs_survive(theirs: dict[str, object], flow: bool | None, first: bool, crlf: bool) -> None:
    """Whatever their names and values, quoted or not, above or below ours, in blocks or on one line."""
    values = {**theirs, **METADATA} if first else {**METADATA, **theirs}
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=flow)
    text = text.replace("\n", "\r\n") if crlf else text
    new = merge_cards(made("2"), f"---\n{text}---\n{made().split('---', 2)[2]}")
    found = re.match(r"---\n(.*?)^---\n", new, re.S | re.M)
    assert found and yaml.safe_load(found[1]) == yaml.safe_load(text)
    assert merge_cards(made("2"), new) == new


def test_quoted_keys_keep_their_comments_and_spelling() -> None:
    theirs = edited(
        made(), "pipeline_tag: x\n", '# top\n"mine": [a,  b]  # kept\n? deep\n: 1.0\n\n# end\npipeline_tag: y\n'
    )
    new = merge_cards(made("2", pipeline_tag="z"), theirs)
    assert '# top\n"mine": [a,  b]  # kept\n? deep\n: 1.0\n\n# end\npipeline_tag: z\n' in new


def test_what_a_person_changes_of_the_head_stays_and_the_facts_are_ours() -> None:
    theirs = edited(made(), "license: apache-2.0\n", "# mine to give\nlicense: mit\nlicense_link: LICENSE\n")
    theirs = edited(theirs, "tags:\n- hf_tl\n- lora\n", "tags: [hf_tl, my-tag]\n")
    theirs = edited(theirs, "metrics:\n- f1\n", "metrics: [brilliance]\nthumbnail: 'x.png'   # kept\n")
    theirs = edited(theirs, "language: en\n", "")
    for _ in range(2):
        theirs = merge_cards(made("2", tags=["hf_tl", "new"], pipeline_tag="y"), theirs)
        assert metadata(theirs) == {
            "license": "mit", "license_link": "LICENSE", "tags": ["hf_tl", "new", "my-tag"], "pipeline_tag": "y",
            "metrics": ["f1"], "thumbnail": "x.png",
        }  # fmt: skip
        assert "# mine to give\n" in theirs and "thumbnail: 'x.png'   # kept\n" in theirs


def test_what_nobody_changed_of_the_head_is_renewed() -> None:
    new = merge_cards(remember(edited(made(license="mit", tags=["hf_tl"]), "language: en\n", "")), made())
    assert metadata(new) == {"license": "mit", "tags": ["hf_tl"], "pipeline_tag": "x", "metrics": ["f1"]}


def test_what_hf_tl_wrote_and_says_no_more_is_taken_out() -> None:
    """Facts, keys and items of lists that ours had and has no more; a person's own stay."""
    theirs = made(co2_eq_emissions={"emissions": 1.5}, datasets=["a/b"], library_name="peft", base_model="x/y")
    theirs = edited(theirs, "pipeline_tag: x\n", "pipeline_tag: x\nthumbnail: x.png\n")
    left = {"license": "apache-2.0", "tags": ["hf_tl"], "pipeline_tag": "x"}
    ours = remember(f"---\n{yaml.safe_dump(left)}---\n\n" + "\n".join(map(section, NAMES)))
    merged = merge_cards(ours, theirs)
    assert metadata(merged) == {**left, "thumbnail": "x.png"}
    assert merge_cards(ours, merged) == merged


def test_unusual_yaml_keeps_its_values() -> None:
    theirs = "---\n? a b\n: &x [1, 2]\n'license': mit\nb: *x\n\"tags\":\n- z\n---\ntext\n"
    assert metadata(merge_cards(made(), theirs)) == {
        **METADATA, "license": "mit", "tags": ["hf_tl", "lora", "z"], "a b": [1, 2], "b": [1, 2],
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"README\.md: the metadata of the card, line 2: not valid YAML"):
        merge_cards(made(), "---\na: [\n---\n")
    assert merge_cards(made(), "---\nruled off\n---\ntext").count("---\nruled off\n---\ntext") == 1


def test_text_of_the_run_folder_is_added_once() -> None:
    local = edited(made("2"), section("usage", "2"), section("usage", "2") + "\nOf the folder.\n")
    assert merge_cards(made("3"), local).count("usage 3 \n\nOf the folder.".replace(" \n", "\n")) == 0
    on_hub = merge_cards(local, edited(made("1"), section("usage"), section("usage") + "\nOf the Hub.\n"))
    assert on_hub.index("usage 2") < on_hub.index("Of the folder.") < on_hub.index("Of the Hub.")
    assert merge_cards(local, on_hub) == on_hub
    changed = edited(on_hub, "Of the folder.", "Of the folder, fixed on the Hub.")
    assert merge_cards(local, changed) == changed
    first = merge_cards(local, "")
    assert merge_cards(local, edited(first, "Of the folder.\n", "Fixed.\n")).count("Of the folder.") == 0


def test_the_run_folders_card_is_edited(tmp_path: Path) -> None:
    folder = digits_run(tmp_path / "run", epochs=1)
    card = write_card(folder)
    text = card.read_text(encoding="utf-8")
    mine = edited(text, "<!-- hf_tl:end summary -->\n", "<!-- hf_tl:end summary -->\n\nNot for <b>bank cheques</b>.\n")
    mine = edited(mine, "license: apache-2.0", "license: mit").replace("# run", "# stale")
    card.write_bytes(mine.replace("cheques</b>.\n", "cheques</b>.\r\n").encode())
    again = write_card(folder).read_bytes().decode()
    end = "<!-- hf_tl:end summary -->\n"
    expected = edited(text, end, f"{end}\nNot for <b>bank cheques</b>.\r\n")
    assert again == expected.replace("license: apache-2.0", "license: mit", 1)
    card.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        write_card(folder)


def test_the_comments_are_not_seen(tmp_path: Path) -> None:
    card = ModelCard.load(write_card(digits_run(tmp_path / "run", epochs=1)))
    html = MarkdownIt("commonmark").enable("table").render(card.text)
    seen = re.sub(r"<!--.*?-->", "", html, flags=re.S)
    assert "hf_tl:b" not in seen and "hf_tl:e" not in seen and "hf_tl:w" not in seen and "hf_tl:begin usage" in html
    wrote = re.search(r"<!-- hf_tl:wrote (.*) -->", html)
    assert wrote and json.loads(wrote[1])["sections"][:2] == ["title", "summary"]


@pytest.mark.slow
def test_edits_on_the_hub_survive_the_next_push(
    hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through `merged_card`, the part of a push that reads the Hub, in a process with the Hub's environment."""
    import subprocess
    import sys

    folder = digits_run(tmp_path / "run", epochs=1)
    write_card(folder)
    lines = (
        "import sys, tempfile; from pathlib import Path; from hf_tl.config import HubConfig\n"
        "from hf_tl.sharing.push import merged_card; from hf_tl.hub.upload import push_folder\n"
        "folder, scratch = Path(sys.argv[1]), Path(tempfile.mkdtemp())\n"
        "hub = HubConfig(id='alice/digits', revision=sys.argv[2] or None)\n"
        "card = (folder / 'README.md').read_bytes().decode()\n"
        "push_folder(folder, hub, files={'README.md': merged_card(card, hub, scratch)})"
    )

    def push(revision: str = "", code: int = 0) -> str:
        environment = hub.env("hf_test_alice")
        done = subprocess.run(
            [sys.executable, "-c", lines, str(folder), revision], capture_output=True, text=True, env=environment
        )
        assert done.returncode == code, done.stderr[-2000:]
        return done.stderr if code else hub.files("alice/digits", revision=revision or "main")["README.md"].decode()

    first = push()
    assert first == (folder / "README.md").read_text(encoding="utf-8")
    theirs = "---\nthumbnail: x.png\n" + edited(first, "license: apache-2.0", "license: mit").removeprefix("---\n")
    theirs = edited(theirs, "---\n\n<!-- hf_tl:begin title", "---\n\nBefore.\n\n<!-- hf_tl:begin title")
    theirs = edited(theirs, "<!-- hf_tl:begin data", "Between.\r\n\n<!-- hf_tl:begin data") + "After."
    (tmp_path / "edit").mkdir()
    (tmp_path / "edit" / "README.md").write_bytes(theirs.encode())
    hub.seed_model("alice/digits", tmp_path / "edit")

    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["metrics"]["accuracy"] = {"value": 0.12345, "low": 0.1, "high": 0.2}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    write_card(folder)
    again = push()
    for text in ("---\n\nBefore.\n\n<!--", "Between.\r\n\n<!--", "After.", "thumbnail: x.png\n", "license: mit\n"):
        assert text in again
    assert "| Accuracy | 0.123 |" in again and ModelCard(again).data.eval_results[0].metric_value == 0.12345
    assert "Between." in push("a/branch")  # new branches begin as main
    hub.faults.plan("(GET|HEAD) .*README.md", 403, times=9)
    assert "refuses it to this login" in push(code=1) and "Before." in hub.files("alice/digits")["README.md"].decode()
    assert HubConfig(id="alice/digits").revision is None


def test_items_that_a_person_took_out_of_a_list_stay_out() -> None:
    """What hf_tl wrote last decides whether an item is new or was removed."""
    settled = managed_sections._settled
    assert settled(["a", "b", "c"], ["a", "own"], ["a", "b"]) == ["a", "c", "own"]
    assert settled(["a"], ["a", "b"], ["a", "b"]) == ["a"]  # hf_tl says it no more
    assert settled("new", "old", "old") == "new" and settled("new", "theirs", "old") == "theirs"
