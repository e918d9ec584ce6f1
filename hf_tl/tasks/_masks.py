"""Masks of images: which values they hold, what classes those are, and images of them for people."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_tl.errors import DataError, listing
from hf_tl.io.data_uri import content_of, data_uri
from hf_tl.io.json_text import parse_json, read_text

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from hf_tl.config import DataConfig

IGNORED = 255
"""The value of a pixel that counts for nothing, as VOC, Cityscapes and ADE20K have it."""
COLOUR = 1 << 24
"""Marks a value that was a colour: COLOUR | red << 16 | green << 8 | blue."""
MAX_CLASSES = 1000
"""More different values than this are no classes."""
VOID = {"void", "ignore", "ignored", "unlabeled", "unlabelled", "border", "boundary", "edge", "nothing", "unknown"}
"""Words of names of IGNORED that make it no class."""
SHADES = 16
"""More values than this, nearly all pixels being of two, are no classes."""
NAMES = ("classes.txt", "labels.json", "id2label.json")
"""Files beside the data that name the classes."""


def values(mask: Image.Image) -> np.ndarray:
    """int32 (height, width): index, grey value or marked colour of each pixel.

    Raises:
        ValueError: a kind of image that holds no classes.
    """
    import numpy as np

    if mask.format == "JPEG":
        raise ValueError("the mask is a JPEG, which changes values; save masks as PNG")
    if mask.mode in ("RGB", "RGBA"):
        red, green, blue = np.moveaxis(np.asarray(mask.convert("RGB")).astype(np.int32), -1, 0)
        out: np.ndarray = COLOUR | red << 16 | green << 8 | blue
        return out
    if mask.mode == "LA":
        mask = mask.getchannel("L")
    if mask.mode not in ("1", "L", "P", "I") and not mask.mode.startswith("I;16"):
        raise ValueError(f"the mask is an image of mode {mask.mode}, which holds no class ids")
    return np.asarray(mask).astype(np.int32)


def values_in(mask: dict[str, Any], image: dict[str, Any]) -> dict[int, int]:
    """The different values of a mask, colours marked, and how many pixels have each.

    Raises:
        ValueError: it does not fit its image, or holds no classes.
    """
    import numpy as np

    from hf_tl.data.images import opened, upright_size

    with opened(mask) as stored:
        if stored.size != upright_size(image):
            (width, height), (right, lower) = stored.size, upright_size(image)
            raise ValueError(f"the mask is {width} x {height} pixels, its image {right} x {lower}")
        found = values(stored)
    if found.min(initial=0) < 0:
        raise ValueError(f"the mask holds {found.min()}, and class ids are not negative")
    # counting is much faster than sorting, but needs room for every value up to the greatest
    if found.max(initial=0) < 1 << 16:
        counts = np.bincount(found.ravel())
        distinct = np.flatnonzero(counts)
        counts = counts[distinct]
    else:
        distinct, counts = np.unique(found, return_counts=True)
    if len(distinct) > MAX_CLASSES:
        raise ValueError(f"the mask holds {len(distinct)} different values, too many to be classes")
    return dict(zip(distinct.tolist(), counts.tolist(), strict=True))


def is_grey(value: int) -> bool:
    """Whether red, green and blue of a marked colour are the same."""
    return value & 0xFF == value >> 8 & 0xFF == value >> 16 & 0xFF


@dataclass(frozen=True)
class Coding:
    """What class each value of a mask is."""

    labels: tuple[str, ...]
    ids: dict[int, int]
    """Value -> index into `labels`; colours without their mark."""
    colour: bool
    """Whether values are colours."""
    ignored: frozenset[int] = frozenset()
    """Values that are left out."""

    @property
    def ignores(self) -> bool:
        """Whether IGNORED is left out."""
        return IGNORED in self.ignored

    def plain(self, value: int) -> int:
        """A value without the mark of colours: a colour, or in a grey image of three channels the grey value."""
        if value < COLOUR:
            return value
        if self.colour:
            return value & ~COLOUR
        return value & 0xFF if is_grey(value) else value

    def unknown(self, found: Iterable[int]) -> list[str]:
        """Names of the values that are no class of these."""
        known = {*self.ids, *self.ignored}
        return [value_name(value, self.colour) for value in sorted({self.plain(each) for each in found} - known)]

    def counts(self, found: Iterable[int]) -> bool:
        """Whether any value is that of a class."""
        return any(self.plain(value) in self.ids for value in found)

    def encode(self, mask: Image.Image) -> bytes:
        """PNG of class indices, uint8 or for more than 255 classes uint16; what is left out is the greatest value."""
        import numpy as np
        from PIL import Image

        dtype = np.uint8 if len(self.labels) <= 255 else np.uint16
        given, where = np.unique(values(mask), return_inverse=True)
        left_out = int(np.iinfo(dtype).max)
        classes = np.array([self.ids.get(self.plain(int(value)), left_out) for value in given], dtype=dtype)
        return png(Image.fromarray(classes[where].reshape(mask.height, mask.width)))


def decode(mask: Image.Image) -> np.ndarray:
    """int64 (height, width) of class indices from what `Coding.encode` wrote, -100 for what is left out."""
    import numpy as np

    ids = np.asarray(mask)
    out = ids.astype(np.int64)
    out[ids == np.iinfo(np.uint8 if mask.mode == "L" else np.uint16).max] = -100
    return out


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def value_name(value: int, colour: bool) -> str:
    """`7`, or `#ff0000` for a colour."""
    return f"#{value & 0xFFFFFF:06x}" if colour or value >= COLOUR else str(value)


def value_of(name: str) -> int | None:
    """The value that a class is named by, where its name is one."""
    if re.fullmatch(r"#[0-9a-fA-F]{6}", name):
        return int(name[1:], 16)
    return int(name) if re.fullmatch(r"\d{1,5}", name) else None


def coding(found: Collection[int], named: dict[int, str] | None, known: Sequence[str] | None) -> Coding:
    """What class each value is.

    Args:
        found: all values of the masks that decide: train's, or where the labels are known, those to be read.
        named: value -> class name, from a file beside the data.
        known: a finished model's own labels.
    """
    colour = any(value >= COLOUR and not is_grey(value) for value in found)
    values = {Coding((), {}, colour).plain(value) for value in found}
    # 0 and 255 alone are the black and white of two classes
    black_white = not colour and IGNORED in values and values <= {0, IGNORED}
    ignores = not colour and not black_white and len(values) > 1 and not _is_class(named)
    ignored = {IGNORED} if ignores else set()
    if named is not None:
        classes = {value: name for value, name in named.items() if not (ignores and value == IGNORED)}
        # ADE20K's ids begin at 1, and 0 is what nobody looked at
        ignored |= {0} if not colour and min(named) == 1 else set()
    elif known is not None:
        given = [value_of(name) for name in known]
        classes = {
            index if value is None or None in given else value: name
            for index, (value, name) in enumerate(zip(given, known, strict=True))
        }
    else:
        kept = {0, 1} if black_white else values - ignored
        classes = {value: value_name(value, colour) for value in sorted(kept)}
    labels = tuple(known) if known is not None else tuple(classes[value] for value in sorted(classes))
    ids = {value: labels.index(name) for value, name in classes.items() if name in labels}
    if black_white and IGNORED not in ids and 1 in ids:
        ids[IGNORED] = ids.pop(1)
    return Coding(labels, ids, colour, frozenset(ignored))


def _is_class(named: Mapping[int, str] | None) -> bool:
    """Whether IGNORED is named, and not as what counts for nothing."""
    name = (named or {}).get(IGNORED, "void").lower()
    return not set(re.split(r"[^a-z]+", name)) & VOID


def why_doubtful(pixels: Mapping[int, int], coding: Coding) -> str | None:
    """What is unlikely about values that no file names: 255 that covers more than the edges that it marks elsewhere,
    or the shades of a mask whose edges were smoothed. `pixels`: value -> pixels of all masks of train."""
    plain: Counter[int] = Counter()
    for value, count in pixels.items():
        plain[coding.plain(value)] += count
    total, left_out = plain.total(), plain[IGNORED] if IGNORED in coding.ignored else 0
    others = total - left_out - plain[0]
    if left_out and (left_out >= total / 3 or left_out > others):
        rare = ", ".join(f"{value} ({plain[value]:,} pixels)" for value in sorted(set(plain) - {0, IGNORED})[:5])
        return (
            f"value {IGNORED} covers {left_out / total:.0%} of all pixels, and would count for nothing beside 0 and "
            f"{rare}. Is it a class, and are the others stray values?"
        )
    most = sum(count for _, count in plain.most_common(2))
    if not coding.colour and len(plain) > SHADES and most >= 0.9 * total:
        return (
            f"they hold {len(plain)} values, of which two cover {most / total:.0%} of all pixels: shades of smoothed "
            "edges? Resize masks without interpolation."
        )
    return None


def notes_on(coding: Coding, pixels: Collection[int], names: Path | None) -> list[str]:
    """What is said of the values of train's masks, which `names` may name."""
    out = [f"The classes are named by {names.name}."] if names else []
    seen = {coding.plain(value) for value in pixels}
    there = {coding.ids.get(value) for value in seen}
    absent = [label for index, label in enumerate(coding.labels) if index not in there]
    if absent:
        out.append(f"{listing(absent)} have no pixel in train.")
    for value in sorted(coding.ignored & seen):
        out.append(f"Pixels of value {value} count for nothing, neither in training nor in the metrics.")
    return out


def names_beside(rows: Any, config: DataConfig) -> tuple[dict[int, str], Path] | None:
    """(value -> class name, file) from the first of NAMES that lies where the data lie.

    Raises:
        DataError: the file cannot be understood.
    """
    from hf_tl.data.sources import FILE
    from hf_tl.data.split_names import split_of

    folder = Path(re.sub(r", (line|row) \d+$", "", str(rows[0][FILE]))).parent
    folders = [folder, *([folder.parent] if split_of(folder.name, config) else [])]
    for given in map(Path, config.paths):
        folders.append(given if given.is_dir() else given.parent)
    for file in (each / name for each in folders for name in NAMES):
        if file.is_file():
            return _read_names(file), file
    return None


def _read_names(file: Path) -> dict[int, str]:
    text = read_text(file, error=DataError)
    if file.suffix == ".txt":
        named: dict[Any, Any] = dict(enumerate(line.strip() for line in text.strip().splitlines()))
    else:
        given = parse_json(text, str(file), error=DataError)
        if isinstance(given, list):
            named = dict(enumerate(given))
        elif isinstance(given, dict) and any(value_of(str(key)) is None for key in given):
            named = {value: key for key, value in given.items()}  # name -> id
        else:
            named = given if isinstance(given, dict) else {}
    out = {value_of(str(key)): str(name).strip() for key, name in named.items()}
    if not out or None in out or "" in out.values():
        raise DataError(
            f"{file}: expected a name for each class, such as a list, or ids or #rrggbb colours with names."
        )
    twice = sorted(name for name, count in Counter(out.values()).items() if count > 1)
    if twice:
        raise DataError(f"{file}: {listing(twice)} names more than one class.")
    return {value: name for value, name in out.items() if value is not None}


def as_uri(ids: np.ndarray) -> str:
    """`data:image/png;base64,...` of class indices, uint8 or uint16 (height, width)."""
    from PIL import Image

    return data_uri(png(Image.fromarray(ids)))


def from_uri(uri: str) -> np.ndarray:
    """The class indices that `as_uri` was given."""
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content_of(uri))))


def colours(count: int) -> np.ndarray:
    """uint8 (count, 3): the colours of Pascal VOC, which differ most for the first classes; class 0 is black."""
    import numpy as np

    out = np.zeros((count, 3), dtype=np.uint8)
    for index in range(count):
        rest = index
        for bit in range(7, -1, -1):
            out[index] |= np.array([(rest >> channel & 1) << bit for channel in range(3)], dtype=np.uint8)
            rest >>= 3
    return out


def overlay(image: Image.Image, ids: np.ndarray, count: int, side: int) -> str:
    """JPEG data URI of an RGB image with its classes laid over in colour, class 0 and what is left out clear.

    Args:
        ids: int (height, width), negative where nothing is said.
        count: number of classes.
        side: longest side in pixels.
    """
    import numpy as np
    from PIL import Image as Pillow

    from hf_tl.data.image_values import jpeg

    share = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    small = np.asarray(image.resize(size, Pillow.Resampling.BILINEAR)).astype(np.float32)
    classes = np.asarray(Pillow.fromarray(ids.astype(np.int32)).resize(size, Pillow.Resampling.NEAREST))
    mixed = np.where((classes > 0)[..., None], small / 2 + colours(count)[np.maximum(classes, 0)] / 2, small)
    return data_uri(jpeg(Pillow.fromarray(mixed.astype(np.uint8)), 85))
