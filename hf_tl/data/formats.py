"""The formats of data files, one record each: which files are of it, and how its rows are read.

A new format is a record in `FORMATS` and a function in a file of its own. Columns of a particular shape, whatever file
they are in, are `hf_tl.data.shapes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hf_tl.config import DataConfig
from hf_tl.data import answers, excel, fasttext, tables, tagged
from hf_tl.data.archives import unpack
from hf_tl.data.headers import check_header
from hf_tl.data.table import Table
from hf_tl.errors import DataError


@dataclass(frozen=True)
class Format:
    """One way to write rows into a file."""

    name: str
    """As sentences call it."""
    endings: tuple[str, ...]
    read: Callable[[Path, DataConfig], Table]
    recognised: Callable[[Path], bool] = lambda path: True
    """`(path) -> bool`: whether a file with such an ending is of this format, by its first bytes."""
    text: bool = True
    """Whether it is text, so that it may be compressed."""


def _alone(read: Callable[[Path], Table]) -> Callable[[Path, DataConfig], Table]:
    """A reader that no option changes."""
    return lambda path, config: read(path)


def _table(path: Path, config: DataConfig) -> Table:
    table = tables.read_places(path, config.column_names)
    if path.suffix.lower() in (".csv", ".tsv"):
        check_header(path, table.rows, table.places, config)
    return table


FORMATS = (
    Format("SQuAD", (".json",), _alone(answers.read_squad), answers.is_squad),
    Format("columns of words", (".conll", ".iob", ".iob2", ".bio", ".bioes"), _alone(tagged.read_tagged)),
    Format("columns of words", (".txt", ".tsv", ".csv"), _alone(tagged.read_tagged), tagged.is_tagged),
    Format("fastText", (".txt", ".ft"), _alone(fasttext.read_fasttext), fasttext.is_fasttext),
    Format("Universal Dependencies", (".conllu",), _alone(tagged.read_universal)),
    Format("Excel", (".xlsx", ".xlsm"), excel.read_excel, text=False),
    Format("Parquet and Arrow", (".parquet", ".arrow"), _table, text=False),
    Format("a table", (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".txt"), _table),
)
"""In the order in which they are tried."""
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
CSV = "save it as CSV or Parquet"
OTHERS = {
    ".xls": "an old Excel workbook: save it as .xlsx or CSV",
    ".ods": f"a spreadsheet of LibreOffice: {CSV}",
    ".numbers": f"a spreadsheet of Numbers: {CSV}",
    ".feather": "Feather: pandas.read_feather(FILE).to_parquet('data.parquet') makes Parquet of it",
    ".orc": "ORC: pandas.read_orc(FILE).to_parquet('data.parquet') makes Parquet of it",
    ".avro": f"Avro: {CSV}",
    ".dta": "Stata: pandas.read_stata(FILE).to_parquet('data.parquet') makes Parquet of it",
    ".sav": "SPSS: pandas.read_spss(FILE).to_parquet('data.parquet') makes Parquet of it",
    ".rdata": f"R: {CSV}",
    ".rds": f"R: {CSV}",
    ".pkl": "a pickle, which may run code and is not opened: save it with DataFrame.to_parquet",
    ".pickle": "a pickle, which may run code and is not opened: save it with DataFrame.to_parquet",
    ".joblib": "a pickle, which may run code and is not opened: save it with DataFrame.to_parquet",
    ".pt": "a pickle of torch, which may run code and is not opened: save rows as Parquet, images as files",
    ".npy": "an array of NumPy: save rows as Parquet, images as files in a folder for each class",
    ".npz": "arrays of NumPy: save rows as Parquet, images as files in a folder for each class",
    ".mat": "MATLAB: save rows as CSV, images as files in a folder for each class",
    ".h5": "HDF5: save rows as Parquet, images as files in a folder for each class",
    ".hdf5": "HDF5: save rows as Parquet, images as files in a folder for each class",
    ".tfrecord": "TensorFlow's records: load them with tensorflow_datasets and save rows as Parquet, images as files",
    ".db": "a database: pandas.read_sql(...).to_parquet('data.parquet') makes Parquet of a table",
    ".sqlite": "a database: pandas.read_sql(...).to_parquet('data.parquet') makes Parquet of a table",
    ".sqlite3": "a database: pandas.read_sql(...).to_parquet('data.parquet') makes Parquet of a table",
    ".ann": "brat's annotations: convert them to CoNLL, or to JSONL with text and spans (start, end, label)",
    ".spacy": "spaCy's DocBin: write JSONL with text and spans (start, end, label) of doc.ents",
    ".tmx": "texts in several languages as TMX: write a table with a column for each language",
    ".xml": "XML: write a table of it, such as JSONL",
    ".html": "a web page: save its text as .txt, or a table as CSV",
    ".pdf": "a PDF: save its text as .txt (one text a line), or a table as CSV",
    ".doc": "a Word document: save its text as .txt (one text a line), or a table as CSV",
    ".docx": "a Word document: save its text as .txt (one text a line), or a table as CSV",
    ".md": "Markdown: save it as .txt (one text a line)",
    ".yaml": "YAML: data are read from tables such as JSONL; a run's configuration is given without --data",
    ".yml": "YAML: data are read from tables such as JSONL; a run's configuration is given without --data",
    ".rar": "a RAR archive: unpack it, or pack it as zip",
    ".7z": "a 7-Zip archive: unpack it, or pack it as zip",
    ".wav": "sound, which no task of hf_tl reads",
    ".mp3": "sound, which no task of hf_tl reads",
    ".flac": "sound, which no task of hf_tl reads",
    ".mp4": "a film, which no task of hf_tl reads: save its frames as images",
    ".avi": "a film, which no task of hf_tl reads: save its frames as images",
}
"""Ending -> what such a file is, and what to do."""
READ = (
    "csv, tsv, jsonl, json, parquet, arrow, xlsx, txt and CoNLL, texts also compressed by gz, bz2, xz or zst, zip and "
    "tar, and folders of these or of images"
)


def _plain(path: Path) -> tuple[Path, bool]:
    """(the name without the ending of a compression, whether there was one)."""
    packed = path.suffix.lower() in COMPRESSED
    return (path.with_suffix(""), True) if packed else (path, False)


def is_data_file(path: Path) -> bool:
    """Whether a file of this name can be read as rows."""
    plain, packed = _plain(path)
    ending = plain.suffix.lower()
    return any(ending in each.endings and (each.text or not packed) for each in FORMATS)


def is_table_text(path: Path) -> bool:
    """Whether a file of this name is rows written as text, not compressed."""
    return any(path.suffix.lower() in each.endings and each.text for each in FORMATS)


def unread(path: Path) -> str:
    """What to do with a file that is not read, as the end of a sentence."""
    plain, packed = _plain(path)
    known = OTHERS.get(plain.suffix.lower())
    if packed and is_data_file(plain):
        return f"{plain.suffix.lower()[1:]} is compressed by itself; unpack it and give {plain.name}"
    return known or f"not a kind of file that hf_tl reads; it reads {READ}"


def read_file(path: Path, config: DataConfig, cache: Path, within: int | None = None) -> Table:
    """The rows of a file, and where each stands in it.

    Args:
        cache: where compressed files are unpacked.
        within: bytes of the archive that the file was in.

    Raises:
        DataError: names the file, where there is one the line, what was found and what was expected.
    """
    plain, packed = _plain(path)
    inner = path
    if packed:
        size = min(path.stat().st_size, within or path.stat().st_size)
        inner = unpack(path, cache, plain.name, size)
    if inner.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty.")
    ending = plain.suffix.lower()
    form = next((each for each in FORMATS if ending in each.endings and each.recognised(inner)), None)
    if form is None:
        raise DataError(f"{path}: not what its ending says; a file of one text on each line is called .txt.")
    try:
        if packed:
            tables.check_density(inner, size)
        return form.read(inner, config)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8.") from None
    except DataError as error:
        said = str(error).replace(str(inner), str(path))
        raise DataError(said.replace(f"{plain.name}: has", f"{path}: has") if packed else said) from None
