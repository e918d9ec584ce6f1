"""How a model with an encoder and a decoder is told to write: prefix of the inputs, lengths, languages, first and last
token, and whatever else `GenerationConfig` knows. `configure` settles it once, on model and tokenizer."""

from __future__ import annotations

import inspect
from typing import Any

from hf_tl.errors import ConfigError, ModelError, did_you_mean, listing
from hf_tl.task import TaskContext

MAX_SOURCE_LENGTH = 1024
"""Tokens of an input where neither tokenizer nor model has a limit."""
MAX_TARGET_LENGTH = 128
"""Tokens of a target, and of what is written, by default (as in Transformers' own example scripts)."""
SHAPING = (
    "max_length", "min_length", "max_new_tokens", "min_new_tokens", "num_beams", "length_penalty",
    "no_repeat_ngram_size", "repetition_penalty", "do_sample",
)  # fmt: skip
"""Generation settings that a pretrained model brings and that show in every text."""
BEAMS = {"early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty"}
"""They mean something with several beams only."""
ONE_TEXT = {"num_return_sequences", "return_dict_in_generate"}
READS = (
    "data.preprocessing.max_length", "data.preprocessing.max_target_length", "data.preprocessing.prefix",
    "data.preprocessing.source_lang", "data.preprocessing.target_lang", "training.label_smoothing_factor", "generation",
)  # fmt: skip


def direction(context: TaskContext) -> tuple[str | None, str | None]:
    """(source language, target language): as configured, else as the model says."""
    options, config = context.preprocessing, context.model_config
    return (
        getattr(options, "source_lang", None) or getattr(config, "source_lang", None),
        getattr(options, "target_lang", None) or getattr(config, "target_lang", None),
    )


def prefix_of(context: TaskContext, name: str) -> str:
    """What every input begins with: as configured, else as the model's `task_specific_params` say (T5's convention)."""
    wanted = getattr(context.preprocessing, "prefix", None)
    if wanted is not None:
        return str(wanted)
    known = getattr(context.model_config, "task_specific_params", None) or {}
    source, target = direction(context)
    own = [key for key in known if key == name or key.startswith(f"{name}_")]
    key = next((key for key in own if key in (name, f"{name}_{source}_to_{target}")), own[0] if len(own) == 1 else None)
    return str((known[key] or {}).get("prefix") or "") if key else ""


def positions(config: Any, part: str) -> int | None:
    """Tokens that the `encoder` or `decoder` has positions for; None where they are relative."""
    found = getattr(config, f"max_{part}_position_embeddings", None) or getattr(config, "max_position_embeddings", None)
    return int(found) if found else None


def source_limit(context: TaskContext) -> int:
    """Tokens of an input: `max_length`, else the tokenizer's own limit, within what the model has positions for."""
    wanted = getattr(context.preprocessing, "max_length", None)
    own = context.processor.model_max_length
    limit = wanted or (own if own and own < 10**9 else MAX_SOURCE_LENGTH)
    return min(limit, positions(context.model_config, "encoder") or limit)


def target_limit(context: TaskContext) -> int:
    wanted = getattr(context.preprocessing, "max_target_length", None) or MAX_TARGET_LENGTH
    return min(wanted, positions(context.model_config, "decoder") or wanted)


def end_of(context: TaskContext) -> int:
    """The token that ends a text.

    Raises:
        ModelError: neither model nor tokenizer has one, so that writing would never stop.
    """
    ends = getattr(context.model_config, "eos_token_id", None)
    found = ends[0] if isinstance(ends, list) else ends
    for name in ("eos_token_id", "sep_token_id"):
        found = getattr(context.processor, name, None) if found is None else found
    if found is None:
        raise ModelError("model: neither model nor tokenizer has an end-of-sequence token, so no text would ever end.")
    return int(found)


def start_of(context: TaskContext) -> int:
    """The token that the decoder begins with; T5 begins with padding."""
    found = getattr(context.model_config, "decoder_start_token_id", None)
    for name in ("bos_token_id", "cls_token_id", "pad_token_id"):
        found = getattr(context.processor, name, None) if found is None else found
    return int(found or 0)


def set_languages(context: TaskContext) -> None:
    """Gives the codes to a tokenizer that has languages (mBART, NLLB, M2M100).

    Raises:
        ConfigError: a code that it does not know.
    """
    tokenizer = context.processor
    if not hasattr(tokenizer, "src_lang"):
        return
    for option, attribute in (("source_lang", "src_lang"), ("target_lang", "tgt_lang")):
        code = getattr(context.preprocessing, option, None)
        if code and getattr(tokenizer, attribute) != code:
            codes = language_codes(tokenizer)
            if code not in codes:
                hint = did_you_mean(code, codes) or f"; such as {listing(sorted(codes))}."
                raise ConfigError(f"data.preprocessing.{option}: {code!r} is no language of this tokenizer{hint}")
            setattr(tokenizer, attribute, code)


def language_codes(tokenizer: Any) -> dict[str, int]:
    """Code -> token id, as the models write them: `fr_XX`, `fra_Latn`, `fr`."""
    known = getattr(tokenizer, "lang_code_to_id", None) or {}
    plain = getattr(tokenizer, "lang_code_to_token", None) or {}  # M2M100: fr -> __fr__
    if plain:
        return {code: tokenizer.convert_tokens_to_ids(token) for code, token in plain.items()}
    special = {str(token): tokenizer.convert_tokens_to_ids(str(token)) for token in tokenizer.all_special_tokens}
    named = set(tokenizer.special_tokens_map.values() if tokenizer.special_tokens_map else ())
    found = known or {code: id for code, id in special.items() if code not in {str(each) for each in named}}
    return {str(code): int(id) for code, id in found.items()}


def configure(model: Any, context: TaskContext, *, name: str) -> None:
    """Settles on model and tokenizer, in place, what writing a text needs; all of it is saved with them.

    Raises:
        ConfigError: generation settings that do not go together, or languages that the tokenizer lacks.
    """
    set_languages(context)
    if model is None or context.mode != "training":
        return
    config, generation, tokenizer = model.config, model.generation_config, context.processor
    generation._from_model_config = False  # else Transformers would make it anew
    config.decoder_start_token_id = generation.decoder_start_token_id = start_of(context)
    for each in (config, generation):
        if getattr(each, "eos_token_id", None) is None:
            each.eos_token_id = end_of(context)
        if getattr(each, "pad_token_id", None) is None:
            each.pad_token_id = tokenizer.pad_token_id
    _first_language(model, tokenizer)
    _settle(generation, context, target_limit(context))
    most = positions(config, "decoder")
    for key in ("max_new_tokens", "max_length"):
        wanted = getattr(generation, key)
        if most and wanted and wanted > most:
            raise ConfigError(f"generation.{key}: {wanted} tokens, and this model has positions for {most}.")
    source, target = direction(context)
    prefix = prefix_of(context, name)
    config.task_specific_params = {f"{name}_{source}_to_{target}" if source and target else name: {"prefix": prefix}}
    if prefix:
        context.notes.append(f"Every input begins with {prefix!r} (data.preprocessing.prefix).")
    tokenizer.model_max_length = source_limit(context)
    accepted = inspect.signature(model.forward).parameters
    names = [each for each in tokenizer.model_input_names if each in accepted]
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names  # the latter is what is saved


def _first_language(model: Any, tokenizer: Any) -> None:
    """Where targets begin with a language's code it is forced (NLLB, mBART-50); where they end in it the decoder begins
    with it (mBART).

    Raises:
        ConfigError: the tokenizer has languages, and none is chosen.
    """
    if not hasattr(tokenizer, "tgt_lang"):
        return
    codes = language_codes(tokenizer)
    if tokenizer.tgt_lang is None or tokenizer.src_lang is None:
        raise ConfigError(
            "data.preprocessing: this model writes many languages; choose with source_lang and target_lang among "
            f"{listing(sorted(codes))}."
        )
    code, ids = codes.get(tokenizer.tgt_lang), tokenizer(text_target="a")["input_ids"]
    if ids[0] == code:
        model.generation_config.forced_bos_token_id = code
    elif ids[-1] == code:
        model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = code


def _settle(generation: Any, context: TaskContext, longest: int) -> None:
    """`generation:` of the configuration applied to what the pretrained model brings."""
    given = dict(context.generation)
    for key in sorted(ONE_TEXT & set(given)):
        raise ConfigError(f"generation.{key}: one text is written for each input; leave it out.")
    set_lengths = {"max_length", "max_new_tokens"}
    wanted = context.preprocessing.max_target_length is not None
    if not set_lengths & set(given) and (wanted or not (generation.max_length or generation.max_new_tokens)):
        given["max_new_tokens"] = longest
    if set_lengths & set(given):  # one of them is enough, and two contradict each other
        generation.max_length = generation.max_new_tokens = None
    for key, value in given.items():
        setattr(generation, key, value)
    if (generation.num_beams or 1) == 1:
        for key in BEAMS - set(given):
            setattr(generation, key, None)
    brought = {key: value for key, value in generation.to_diff_dict().items() if key in SHAPING and key not in given}
    if brought:
        said = ", ".join(f"{key} {value}" for key, value in sorted(brought.items()))
        context.notes.append(
            f"Generation settings kept from the pretrained model: {said} (change them with generation.NAME=VALUE)."
        )
    try:
        generation.validate(strict=True)
    except ValueError as error:
        raise ConfigError(f"generation: {' '.join(str(error).split())}") from None


def save(model: Any, context: TaskContext, folder: Any) -> None:
    """The generation settings beside an adapter too."""
    model.generation_config.save_pretrained(folder)
