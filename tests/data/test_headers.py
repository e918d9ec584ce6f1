"""The first line of a table: names of columns, or a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hf_tl.config import DataConfig
from hf_tl.data.sources import read_source
from hf_tl.errors import DataError


def read(folder: Path, content: str, name: str = "d.csv", **options: Any) -> list[dict[str, Any]]:
    path = folder / name
    path.write_text(content)
    found: list[dict[str, Any]] = read_source(DataConfig(path=str(path), **options)).splits["train"].to_list()
    return [{key: value for key, value in row.items() if key != "__file__"} for row in found]


COLA = "gj04\t1\t\tOur friends won't buy it.\ngj04\t0\t*\tOne more and I give.\nbc01\t1\t\tIt is.\n"


def test_a_file_without_a_header_stops(tmp_path: Path) -> None:
    """GLUE's CoLA, and the kind of sentiment140: the first row would be lost."""
    with pytest.raises(
        DataError,
        match=r"d\.tsv: the first line looks like a row, .*'gj04' is also a value of column 1.*"
        r"data\.column_names=\[text,label,c3,c4\]",
    ):
        read(tmp_path, COLA, "d.tsv")
    names = ["source", "label", "star", "sentence"]
    rows = read(tmp_path, COLA, "d.tsv", column_names=names)
    assert [row["label"] for row in rows] == [1, 0, 1] and rows[0]["sentence"] == "Our friends won't buy it."
    with pytest.raises(DataError, match="'0' is also a value of column 1"):
        read(tmp_path, '"0","1467","Mon","a tweet"\n"0","1468","Tue","another"\n"4","1469","Mon","third"\n')
    with pytest.raises(DataError, match="'pos' is also a value of column 2"):
        read(tmp_path, "a film,pos\na plot,neg\na cast,pos\nan end,neg\n")
    with pytest.raises(DataError, match=r"'0\.5' is also a value of column 2"):
        read(tmp_path, "a film,0.5\na plot,0.7\n")


@pytest.mark.parametrize(
    "content",
    [
        "text,label\ntext,x\nlabel,label\n",  # a dictionary
        "0,1\nneg,a film\npos,a plot\n",  # numbered
        "1,2\n1,2\n3,4\n",
        ",0,1\n0,1,2\n1,3,4\n",
        "country,1990,1991\nA,5,6\nB,7,8\n",
        "a,b\nx,1\ny,2\n",
        "word,meaning\nword,a word\nother,another\nthird,a third\nfourth,the fourth\n",
    ],
)
def test_names_are_names(content: str, tmp_path: Path) -> None:
    assert len(read(tmp_path, content)) == content.count("\n") - 1


def test_names_that_are_given_are_names(tmp_path: Path) -> None:
    rows = read(tmp_path, "kind,body\nkind,a film\nrude,a plot\nkind,a cast\nrude,x\n", columns={"text": "body"})
    assert [row["kind"] for row in rows] == ["kind", "rude", "kind", "rude"]


def test_names_for_a_file_that_has_some(tmp_path: Path) -> None:
    """CoLA's test file has a header, the others have none."""
    with pytest.raises(DataError, match=r"d\.tsv, line 1: looks like the names of the columns \('index', 'sentence'\)"):
        read(tmp_path, "index\tsentence\n0\tBill whistled.\n", "d.tsv", column_names=["number", "text"])


def test_names_below_a_title(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"d\.csv, line 2: looks like the names of the columns \('text', 'label'\)"):
        read(tmp_path, "My survey,\ntext,label\na film,x\n")
