"""JSON schema of the configuration, for editors: hf_tl's own keys, and those that pass through, by their own names."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from hf_tl.compat import declare_torchvision_operators
from hf_tl.config import SHORTHAND, RunConfig, Section

Schema = dict[str, Any]


def schema() -> Schema:
    """JSON schema (draft 2020-12) of `RunConfig`, with the fields of `TrainingArguments` under `training`, the
    arguments of `from_pretrained` under `model`, and the fields of PEFT's `LoraConfig` under `method`.

    In a YAML file: `# yaml-language-server: $schema=hf_tl.schema.json`.
    """
    declare_torchvision_operators()
    out: Schema = RunConfig.model_json_schema()
    out = {"$schema": "https://json-schema.org/draft/2020-12/schema", **out, "title": "hf_tl run configuration"}
    sections: dict[str, Schema] = out["$defs"]
    for section in Section.__subclasses__() + [
        cls for base in Section.__subclasses__() for cls in base.__subclasses__()
    ]:
        properties = (out if section is RunConfig else sections.get(section.__name__, {})).get("properties", {})
        for name, text in field_docs(section).items():
            if name in properties:
                properties[name]["description"] = text

    sections["TrainingConfig"]["properties"] |= training_fields()
    sections["TrainingConfig"]["additionalProperties"] = False
    sections["ModelConfig"]["properties"] |= from_pretrained_arguments()
    lora = {name: value for name, value in lora_fields().items() if name not in sections["MethodConfig"]["properties"]}
    sections["MethodConfig"]["properties"] |= lora
    task = out["properties"]["task"]
    from hf_tl.task import task_names

    out["properties"]["task"] = {**task, "anyOf": [{"type": "string", "enum": task_names()}, {"type": "null"}]}
    for key in SHORTHAND:
        out["properties"][key] = _with_shorthand(out["properties"][key], sections, SHORTHAND[key])
    return out


def _with_shorthand(value: Schema, sections: Mapping[str, Schema], field: str) -> Schema:
    """`method: lora` beside `method: {name: lora}`."""
    options = value.get("anyOf") or [{"$ref": value["$ref"]}]
    name = next(option["$ref"] for option in options if "$ref" in option).rsplit("/", 1)[1]
    plain = {key: item for key, item in sections[name]["properties"][field].items() if key not in ("title", "default")}
    rest = {key: item for key, item in value.items() if key not in ("anyOf", "$ref")}
    return {**rest, "anyOf": [plain, *options]}


def field_docs(cls: type) -> dict[str, str]:
    """The string under each field of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    docs: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            if isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
                docs[field.target.id] = " ".join(below.value.value.split())
    return docs


def training_fields() -> dict[str, Schema]:
    """What `training` accepts beyond its own two keys."""
    from transformers import TrainingArguments

    from hf_tl.training.arguments import OURS, SECRET

    return _dataclass_fields(TrainingArguments, without=OURS | SECRET)


def lora_fields() -> dict[str, Schema]:
    """What `method: {name: lora}` accepts; other PEFT types (`peft_type`) have further fields."""
    from peft import LoraConfig, PeftType

    fields = _dataclass_fields(LoraConfig, without={"peft_type", "task_type", "inference_mode", "auto_mapping"})
    return {"peft_type": {"type": "string", "enum": [kind.value for kind in PeftType]}, **fields}


def from_pretrained_arguments() -> dict[str, Schema]:
    """What `model` passes to `from_pretrained`."""
    from transformers import PreTrainedModel

    from hf_tl.models.model_options import PASSED

    signature = inspect.signature(PreTrainedModel.from_pretrained).parameters
    own = {"pretrained_model_name_or_path", "model_args", "config", "kwargs", "token", "revision"}
    typed = {
        name: _type_schema(_evaluated(parameter.annotation, PreTrainedModel.from_pretrained))
        for name, parameter in signature.items()
        if name not in own
    }
    return {**{name: {} for name in sorted(PASSED)}, **typed}


def _dataclass_fields(cls: Any, without: Iterable[str]) -> dict[str, Schema]:
    out: dict[str, Schema] = {}
    try:
        hints = typing.get_type_hints(cls)
    except (NameError, TypeError):
        hints = {}
    for field in dataclasses.fields(cls):
        if not field.init or field.name in set(without) or field.name.startswith("_"):
            continue
        value = _type_schema(hints.get(field.name, field.type))
        if field.metadata.get("help"):
            value["description"] = " ".join(str(field.metadata["help"]).split())
        if isinstance(field.default, (bool, int, float, str)):
            value["default"] = getattr(field.default, "value", field.default)
        out[field.name] = value
    return out


def _evaluated(annotation: Any, function: Any) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, function.__globals__)  # written in the library's own source
    except Exception:
        return Any


def _type_schema(annotation: Any) -> Schema:
    """What of a type YAML can say; an empty schema (anything) where that is unclear.

    Numbers may be written as whole numbers or with a point: `warmup_steps: 0.1` and `max_grad_norm: 1` are both fine.
    """
    simple: dict[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    if annotation in simple:
        return {"type": simple[annotation]}
    generic, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if generic in (typing.Union, types.UnionType):
        options = [_type_schema(argument) for argument in arguments]
        if any(not option for option in options):
            return {}
        unique = [option for index, option in enumerate(options) if option not in options[:index]]
        return unique[0] if len(unique) == 1 else {"anyOf": unique}
    if generic is typing.Literal:
        return {"enum": list(arguments)}
    if generic in (list, set, tuple) or annotation in (list, set, tuple):
        items = _type_schema(arguments[0]) if arguments and generic is not tuple else {}
        return {"type": "array", **({"items": items} if items else {})}
    if generic is dict or annotation is dict:
        return {"type": "object"}
    if inspect.isclass(annotation) and hasattr(annotation, "__members__"):
        return {"enum": [member.value for member in annotation]}  # type: ignore[attr-defined]
    return {}
