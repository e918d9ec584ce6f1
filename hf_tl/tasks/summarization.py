"""Summarization: a short summary of a long text."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Form, Inference, Library, Targets, Task, TaskContext
from hf_tl.tasks import _scripts as scripts
from hf_tl.tasks import _seq2seq as seq2seq
from hf_tl.tasks import _writing as writing

if TYPE_CHECKING:
    from hf_tl.metrics.intervals import Measurement

NAME = "summarization"
LONGER = 1.2
"""So much longer than their documents no summaries are."""
ROUGE = ("rouge1", "rouge2", "rougeL")


def targets(splits: Any, config: Any, known: Targets | None, notes: list[str]) -> Targets:
    """Nothing to encode; raises DataError where the two columns have most likely changed places."""
    import numpy as np

    from hf_tl.errors import DataError

    rows = splits.get("train")
    if rows is not None and known is None and not {"document", "summary"} & set(config.columns):
        lengths = {role: np.median([len(text or "") for text in rows[:1000][role]]) for role in ("document", "summary")}
        if lengths["summary"] > LONGER * lengths["document"]:
            raise DataError(
                f"data.columns: the summaries have {lengths['summary']:.0f} characters, the documents "
                f"{lengths['document']:.0f} (medians of train); say which column is which with "
                "data.columns.document=NAME data.columns.summary=NAME."
            )
    return Targets()


def measure(outputs: Any, samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    """ROUGE-1, -2 and -L (Lin 2004, https://aclanthology.org/W04-1013/): means of the texts' F-measures, by
    rouge-score with stemming, as papers give them. It knows Latin letters only, so texts in other scripts are compared
    word by word, and those without spaces character by character."""
    import numpy as np
    from rouge_score.rouge_scorer import RougeScorer

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals

    true = list(rows["summary"])
    words = scripts.Words() if scripts.is_other_script(true) else None
    scorer = RougeScorer(list(ROUGE), use_stemmer=True, tokenizer=words)
    found = [scorer.score(text, each["text"]) for text, each in zip(true, outputs, strict=True)]
    values = np.array([[each[name].fmeasure for name in ROUGE] for each in found])  # (rows, 3)
    scores = {name: Score(float(values[:, at].mean()), values[:, at]) for at, name in enumerate(ROUGE)}
    scores |= seq2seq.lengths(outputs)
    extra = {"rouge_words": "any script" if words else "rouge-score, stemmed"}
    return Measurement(with_intervals(scores, len(rows), **options), extra=extra)


TASK = Task(
    name=NAME,
    summary="a short summary of a long text",
    columns=(
        Column(
            "document",
            "text",
            ("document", "article", "dialogue", "dialog", "report", "ctext", "text", "content", "body"),
        ),
        Column("summary", "text", ("summary", "highlights", "abstract", "tldr", "headline"), target=True),
    ),
    forms=(Form(("document", "summary"), by_name=("summary",)),),
    auto_class="AutoModelForSeq2SeqLM",
    peft_task_type="SEQ_2_SEQ_LM",
    metrics=(*ROUGE, "generated_tokens", "cut_share", "loss"),
    best_metric="rougeL",
    greater_is_better=True,
    targets=targets,
    preprocess=partial(seq2seq.preprocess, name=NAME, source="document", target="summary"),
    collator=seq2seq.collator,
    loss=seq2seq.loss,
    collect=seq2seq.collect,
    postprocess=partial(seq2seq.postprocess, key="summary_text"),
    measure=measure,
    render_html=partial(seq2seq.render_html, source="document", target="summary"),
    inference=Inference(
        proof=seq2seq.PROOF.format(role="document"),
        snippet=seq2seq.SNIPPET,
        example=seq2seq.EXAMPLE.format(
            text="Anna: Shall we meet at six? Ben: Seven would be better, I work late. Anna: Seven it is."
        ),
        demo=(seq2seq.demo("Summary"),),
        widget=({"text": "Anna: Shall we meet at six? Ben: Seven would be better, I work late. Anna: Seven it is."},),
    ),
    configure=partial(writing.configure, name=NAME),
    library=Library(save=writing.save),
    new_head=False,
    methods=("full", "lora", "scratch"),
    defaults=Defaults(
        batch_sizes=(16, 16),
        validation_rows=seq2seq.ROWS_IN_TRAINING,
        models=("google-t5/t5-small", "facebook/bart-base", "google/pegasus-xsum"),
    ),
    reads=writing.READS,
)
