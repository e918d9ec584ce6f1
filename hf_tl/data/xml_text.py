"""Small XML files as trees: no document types, so no entities, and bounded in size and depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

MAX_BYTES = 16 * 1024**2
MAX_DEPTH = 100


class WrongXml(ValueError):
    """What is wrong with a file."""


def read_xml(file: Path) -> Element:
    """The tree of a file.

    Raises:
        WrongXml: not XML, too large or deep, or with a document type: its entities may be files, or grow without end.
    """
    if file.stat().st_size > MAX_BYTES:
        raise WrongXml(f"larger than {MAX_BYTES:,} bytes")
    builder, parser = TreeBuilder(), expat.ParserCreate()
    depth = 0

    def start(name: str, attributes: Any) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise WrongXml(f"more than {MAX_DEPTH} elements deep")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_: Any) -> None:
        raise WrongXml("it declares a document type (DOCTYPE), which annotations have no need of; remove it")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(file.read_bytes(), True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: an encoding that is not known
        if isinstance(error, WrongXml):
            raise
        raise WrongXml(f"not valid XML ({error})") from None
    return builder.close()
