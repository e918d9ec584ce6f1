"""How a decoder writes texts: the settings that are saved with the model, and a batch of prompts gone on with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hf_tl.errors import ConfigError, ModelError
from hf_tl.task import TaskContext
from hf_tl.tasks import _chat

if TYPE_CHECKING:
    import torch

MAX_NEW_TOKENS = 256
"""Tokens of a text that is written, by default, as in the stock pipeline."""
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")


def capacity(context: TaskContext) -> int:
    """Tokens of prompt and text together that tokenizer and model can take."""
    limits = [context.processor.model_max_length, getattr(context.model_config, "max_position_embeddings", None)]
    return min([limit for limit in limits if limit and limit < 10**9], default=10**9)


def most_new(context: TaskContext, generation: Any = None) -> int:
    """Tokens that are written at most: as set, else `MAX_NEW_TOKENS`, and half of what the model can take."""
    wanted = context.generation.get("max_new_tokens") or getattr(generation, "max_new_tokens", None)
    return int(wanted or min(MAX_NEW_TOKENS, max(1, capacity(context) // 2)))


def check_end(context: TaskContext) -> None:
    """Raises ModelError where no token ends a text."""
    if context.processor.eos_token_id is None:
        raise ModelError(
            "model: the tokenizer has no end-of-sequence token (eos_token), so the model could never learn to stop; "
            "set one on the tokenizer and save it beside the model."
        )


def ends_of(context: TaskContext) -> set[int]:
    """The tokens that end a text: the tokenizer's, and those of the model's generation settings."""
    from transformers import GenerationConfig

    ends: Any = None
    if context.folder is not None and (context.folder / "generation_config.json").exists():
        ends = GenerationConfig.from_pretrained(context.folder).eos_token_id
    return {context.processor.eos_token_id, *(ends if isinstance(ends, list) else [] if ends is None else [ends])}


def configure(model: Any, context: TaskContext) -> None:
    """Settles the chat template and the generation settings, which are saved with the model: the tokenizer's special
    tokens, and greedy unless asked otherwise, so that everybody gets the same texts.

    Raises:
        ConfigError: settings that do not go together, or a template that cannot be read.
        ModelError: there is no end-of-sequence token.
    """
    from transformers.trainer_utils import align_special_tokens

    from hf_tl.io.quiet import quiet

    if context.mode != "training":
        return
    check_end(context)
    _chat.set_template(context)
    if model is None:
        return
    with quiet():
        align_special_tokens(model, context.processor)
    generation, given = model.generation_config, dict(context.generation)
    if not given.get("do_sample"):
        if generation.do_sample:
            context.notes.append(
                "The pretrained model samples; this one decodes greedily (generation.do_sample=true samples again)."
            )
        generation.do_sample = False
        for name in SAMPLING:
            setattr(generation, name, None)
    if "max_length" not in given and "max_new_tokens" not in given and generation.max_length is None:
        given["max_new_tokens"] = most_new(context, generation)
    if "max_new_tokens" in given:
        generation.max_length = None
    for name, value in given.items():
        setattr(generation, name, value)
    try:
        generation.validate(strict=True)
    except ValueError as error:
        raise ConfigError(f"generation: {' '.join(str(error).split())}") from None


def save(model: Any, context: TaskContext, folder: Any) -> None:
    """The generation settings beside an adapter too."""
    model.generation_config.save_pretrained(folder)


def write(model: Any, prompts: torch.Tensor, context: TaskContext) -> list[dict[str, Any]]:
    """Goes on with each prompt: the new `text`, its `score` (the mean probability of a token, geometrically) and
    whether it was `cut` at the longest length.

    Args:
        prompts: int64 (batch, tokens), -1 where there is none, on the left.
    """
    import torch

    from hf_tl.io.quiet import quiet

    tokenizer, generation = context.processor, model.generation_config
    real = prompts >= 0
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ids = prompts.masked_fill(~real, pad)
    # As the stock pipeline, for a model that does not say how long its texts may be.
    free = generation.max_new_tokens is None and "max_length" not in generation.to_diff_dict()
    more = {"max_new_tokens": most_new(context)} if free else {}
    with quiet():
        out = model.generate(input_ids=ids, attention_mask=real.long(), pad_token_id=pad, **more)
        new = out[:, ids.shape[1] :]
        ends = generation.eos_token_id
        stops = torch.isin(
            new, torch.tensor(ends if isinstance(ends, list) else [ends if ends is not None else -1]).to(new)
        )
        kept = (stops.cumsum(1) - stops.long()) == 0  # up to and with the end
        mask = torch.cat([real, kept], dim=1)
        places = (mask.long().cumsum(1) - 1).clamp(min=0)
        logits = model(input_ids=out, attention_mask=mask.long(), **_positions(model, places))["logits"]
    found = []
    for index in range(len(out)):
        log_p = logits[index, ids.shape[1] - 1 : -1].float().log_softmax(-1)  # (new tokens, vocabulary)
        of_new = log_p.gather(1, new[index][:, None])[:, 0][kept[index]]
        text = tokenizer.decode(new[index][kept[index]].tolist(), skip_special_tokens=True)
        score = math.exp(float(of_new.mean())) if len(of_new) else 0.0
        found.append({"text": text, "score": score, "cut": not bool(stops[index].any())})
    return found


def _positions(model: Any, places: Any) -> dict[str, Any]:
    import inspect

    return {"position_ids": places} if "position_ids" in inspect.signature(model.forward).parameters else {}
