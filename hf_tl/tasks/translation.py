"""Translation: a translation of a text into another language."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hf_tl.errors import ConfigError, listing
from hf_tl.task import Column, Defaults, Form, Inference, Library, Targets, Task, TaskContext
from hf_tl.tasks import _scripts as scripts
from hf_tl.tasks import _seq2seq as seq2seq
from hf_tl.tasks import _writing as writing

if TYPE_CHECKING:
    import numpy as np

    from hf_tl.metrics.intervals import Measurement

NAME = "translation"
ORDER = 4
"""Longest n-grams of words that BLEU counts."""
CHARACTERS = 6
"""Longest n-grams of characters that chrF counts."""
BETA = 2.0
"""How much more recall weighs in chrF than precision."""


def targets(splits: Any, config: Any, known: Targets | None, notes: list[str]) -> Targets:
    """A `translation` column of texts by language as `source` and `target`."""
    from hf_tl.data.rows import encode_rows

    before = known.config if known is not None else {}
    source = config.preprocessing.source_lang or before.get("source_lang")
    target = config.preprocessing.target_lang or before.get("target_lang")
    first = next(iter(splits.values()))
    if NAME in first.column_names:
        keys = list(first.features[NAME])
        given = source, target
        source, target = of_keys(keys, source, target)
        if not all(given):
            notes.append(f"Translation from {source} to {target} (data.preprocessing.source_lang and target_lang).")

        def check(value: Any) -> None:
            for key in (target, source):
                text = (value or {}).get(key)
                if text is None or not text.strip():
                    raise ValueError(f"the text in {key!r} is {'missing' if text is None else 'empty'}")

        for split in list(splits):
            encode_rows(splits, split, (NAME,), check, config, notes)
            splits[split] = as_columns(splits[split], source, target)
        source, target = (code or key for code, key in zip(given, (source, target), strict=True))
    return Targets(config={"source_lang": source, "target_lang": target} if source and target else {})


def of_keys(keys: list[str], source: str | None, target: str | None) -> tuple[str, str]:
    """(source, target) among the languages of a `translation` column; `eng_Latn` and `en_XX` are `en` too.

    Raises:
        ConfigError: a language that is not there, or several that could be it.
    """

    def key_of(code: str | None) -> str | None:
        return next((key for key in keys if key == code), None) or next(
            (key for key in keys if code and (code.startswith(key) or key.startswith(code))), None
        )

    found = [key_of(source), key_of(target)]
    if len(keys) == 2:
        if found == [None, None] and not source and not target:
            return keys[0], keys[1]
        for at in (0, 1):  # of two, the other one
            if found[at] is None and found[1 - at] is not None:
                found[at] = next(key for key in keys if key != found[1 - at])
    if found[0] is None or found[1] is None or found[0] == found[1]:
        option = "source_lang" if found[0] is None else "target_lang"
        raise ConfigError(
            f"data.preprocessing.{option}: the column {NAME!r} has {listing(keys)}; say which two, "
            f"such as source_lang={keys[0]} and target_lang={keys[1]}."
        )
    return found[0], found[1]


def as_columns(rows: Any, source: str, target: str) -> Any:
    pairs = rows.with_format(None)[NAME]
    rows = rows.remove_columns(NAME).add_column("source", [each[source] for each in pairs])
    return rows.add_column("target", [each[target] for each in pairs])


def preprocess(rows: Any, context: TaskContext, training: bool) -> Any:
    """As `_seq2seq.preprocess`; rows to be translated may have the `translation` column still."""
    return seq2seq.preprocess(_columns(rows, context), context, training, name=NAME, source="source", target="target")


def _columns(rows: Any, context: TaskContext) -> Any:
    if NAME not in rows.column_names:
        return rows
    source, _ = of_keys(list(rows.features[NAME]), *writing.direction(context))
    pairs = rows.with_format(None)[NAME]
    return rows.remove_columns(NAME).add_column("source", [(each or {}).get(source) or "" for each in pairs])


def bleu_of_sums(sums: np.ndarray) -> np.ndarray:
    """Corpus BLEU (0 to 100) from sums of sacreBLEU's statistics: (resamples, 2 + 2 * ORDER) of both lengths, matches
    and n-grams by order -> (resamples,); `exp` smoothing, its default."""
    import numpy as np

    written, true = sums[:, 0], sums[:, 1]
    right, total = sums[:, 2 : 2 + ORDER], sums[:, 2 + ORDER :]
    halving = 2.0 ** np.cumsum((right == 0) & (total > 0), axis=1)  # each order without a match halves the next guess
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(right > 0, right, 1 / halving) / total
        brevity = np.where(written < true, np.exp(1 - true / written), 1.0)
        score = 100 * brevity * np.exp(np.log(precision).mean(1))
    out: np.ndarray = np.where((total > 0).all(1) & (right > 0).any(1), score, 0.0)
    return out


def chrf_of_sums(sums: np.ndarray) -> np.ndarray:
    """Corpus chrF (0 to 100) from sums of n-grams written, true and common, by order: (resamples, 3 * CHARACTERS) ->
    (resamples,)."""
    import numpy as np

    written, true, common = (sums[:, at::3] for at in range(3))
    counted = (written > 0) & (true > 0)
    orders = np.maximum(counted.sum(1), 1)
    precision = np.divide(common, written, out=np.zeros_like(common), where=counted).sum(1) / orders
    recall = np.divide(common, true, out=np.zeros_like(common), where=counted).sum(1) / orders
    below = BETA**2 * precision + recall
    above = (1 + BETA**2) * precision * recall
    out: np.ndarray = 100 * np.divide(above, below, out=np.zeros_like(below), where=below > 0)
    return out


def measure(outputs: Any, samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    """Corpus BLEU (Papineni et al. 2002, https://aclanthology.org/P02-1040/) and chrF (Popović 2015,
    https://aclanthology.org/W15-3049/) of the whole split by sacreBLEU, 0 to 100."""
    import numpy as np
    from sacrebleu.metrics import BLEU, CHRF

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals

    true, written = list(rows["target"]), [each["text"] for each in outputs]
    bleu, chrf = BLEU(tokenize=scripts.bleu_words(true), force=True), CHRF(char_order=CHARACTERS, beta=int(BETA))
    scores = {}
    for name, metric, recompute in (("chrf", chrf, chrf_of_sums), ("bleu", bleu, bleu_of_sums)):
        # what sacreBLEU itself sums over a corpus
        parts = np.array(metric._extract_corpus_statistics(written, [true]), dtype=np.float64)
        scores[name] = Score(float(metric.corpus_score(written, [true]).score), parts, recompute)
    scores |= seq2seq.lengths(outputs)
    extra = {"signatures": {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}}
    return Measurement(with_intervals(scores, len(rows), **options), extra=extra)


TASK = Task(
    name=NAME,
    summary="a translation of a text into another language",
    columns=(
        Column("source", "text", ("source", "src", "source_text"), required=False),
        Column("translation", "texts", ("translation", "translations"), required=False),
        Column("target", "text", ("target", "tgt", "target_text", "translation"), required=False, target=True),
    ),
    forms=(
        Form(("source", "target"), by_name=("source", "target")),
        Form(("translation",)),
    ),
    auto_class="AutoModelForSeq2SeqLM",
    peft_task_type="SEQ_2_SEQ_LM",
    metrics=("chrf", "bleu", "generated_tokens", "cut_share", "loss"),
    best_metric="chrf",
    greater_is_better=True,
    targets=targets,
    preprocess=preprocess,
    collator=seq2seq.collator,
    loss=seq2seq.loss,
    collect=seq2seq.collect,
    postprocess=partial(seq2seq.postprocess, key="translation_text"),
    measure=measure,
    render_html=partial(seq2seq.render_html, source="source", target="target"),
    inference=Inference(
        proof=seq2seq.PROOF.format(role="source"),
        reference_rows=lambda rows, context: _columns(rows, context).select_columns(["source"]),
        snippet=seq2seq.SNIPPET,
        example=seq2seq.EXAMPLE.format(text="My name is Clara and I live in Berkeley."),
        demo=(seq2seq.demo("Translation"),),
        widget=({"text": "My name is Clara and I live in Berkeley."},),
    ),
    configure=partial(writing.configure, name=NAME),
    library=Library(save=writing.save),
    new_head=False,
    methods=("full", "lora", "scratch"),
    defaults=Defaults(
        batch_sizes=(16, 16),
        validation_rows=seq2seq.ROWS_IN_TRAINING,
        models=("google-t5/t5-small", "Helsinki-NLP/opus-mt-en-fr", "facebook/nllb-200-distilled-600M"),
    ),
    reads=writing.READS,
)
