"""How texts in different scripts are cut into words, for metrics that count those that two texts share."""

from __future__ import annotations

import re


class Words:
    """Words of any script, lower case; characters where words have no spaces between them. For rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+", text.lower())


UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, kana and Han."""


def is_other_script(texts: list[str]) -> bool:
    """Whether more than a tenth of the letters are beyond ASCII: accents are not, whole alphabets are."""
    letters = [sign for text in texts for sign in text if sign.isalpha()]
    return sum(not sign.isascii() for sign in letters) * 10 > len(letters)


def bleu_words(texts: list[str]) -> str:
    """sacreBLEU's way to cut texts: its default; Chinese by `zh`, other scripts without spaces by `char`."""
    letters = [sign for text in texts for sign in text if sign.isalpha()]
    unspaced = re.findall(f"[{UNSPACED}]", "".join(letters))
    if len(unspaced) * 2 <= len(letters):
        return "13a"
    return "zh" if all(sign >= "\u3400" for sign in unspaced) else "char"
