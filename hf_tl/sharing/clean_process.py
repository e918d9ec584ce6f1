"""The clean process: this file's text runs in a process of its own, which cannot import hf_tl.

stdin: a JSON object with the task's `lines` and what loads it, the `rows` with what reads them (role -> Python lines
that define `read(stored, folder)`), and one or more models (folders or Hub ids);
stdout: a line `RESULT` and a JSON list, for each model `{"found": [...]}` or `{"error": "..."}`.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

MARK = "RESULT"


def answers(request: dict[str, Any], job: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the task's lines find for `rows` with one model; nothing of each row where there are no lines."""
    names: dict[str, Any] = {"rows": rows, "path": job["path"]}
    with tempfile.TemporaryDirectory() as as_on_the_hub:
        if not request["loads"]:
            names |= load(request, job)
        elif job["base"] is not None and Path(job["path"]).is_dir():
            # Transformers takes a local adapter with a configuration beside it for a whole model, one on the Hub not.
            for file in Path(job["path"]).iterdir():
                if file.name == "adapter_config.json":  # names a base of this machine without its folder
                    adapter = {**json.loads(file.read_text(encoding="utf-8")), "base_model_name_or_path": job["base"]}
                    (Path(as_on_the_hub) / file.name).write_text(json.dumps(adapter), encoding="utf-8")
                elif file.name != "config.json":
                    (Path(as_on_the_hub) / file.name).symlink_to(file)
            names["path"] = as_on_the_hub
        if not request["lines"]:
            return [{} for _ in rows]
        exec(request["lines"], names)
    found: list[dict[str, Any]] = names["found"]
    return found


def load(request: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """`pipe`, or `model` and `processor` where Transformers has no pipeline for the task."""
    import torch
    import transformers
    from transformers.pipelines import get_supported_tasks

    options: dict[str, Any] = {"trust_remote_code": job["trust"]}
    weights: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True}
    piped = request["task"] in get_supported_tasks()
    path = job["path"]
    if job["base"] is None and piped:
        return {
            "pipe": transformers.pipeline(
                request["task"],
                model=path,
                device="cpu",
                dtype=torch.float32,
                model_kwargs={"use_safetensors": True},
                **options,
            )
        }
    auto = getattr(transformers, request["auto_class"])
    processor = getattr(transformers, request["processor_class"]).from_pretrained(path, **options)
    if job["base"] is None:
        model, info = auto.from_pretrained(path, output_loading_info=True, **weights, **options)
        missing = sorted({*info["missing_keys"], *(str(key[0]) for key in info["mismatched_keys"])})
        if missing:
            raise ValueError(f"weights are missing: {', '.join(missing[:3])}")
    else:
        from peft import PeftModel

        config = transformers.AutoConfig.from_pretrained(path, **options)
        base = auto.from_pretrained(
            job["base"],
            config=config,
            ignore_mismatched_sizes=True,
            revision=job["revision"],
            trust_remote_code=False,  # the base is another model than the one that is proved
            **weights,
        )
        model = PeftModel.from_pretrained(base, path).merge_and_unload()
        with contextlib.suppress(OSError):  # a model that writes nothing has none
            model.generation_config = transformers.GenerationConfig.from_pretrained(path)
        if piped:
            by = {request["processor_argument"]: processor}
            pipe = transformers.pipeline(request["task"], model=model, device="cpu", trust_remote_code=False, **by)
            return {"pipe": pipe}
    return {"model": model.eval(), "processor": processor}


def read(rows: list[dict[str, Any]], readers: dict[str, str], folder: Path) -> list[dict[str, Any]]:
    """The rows, the values of each role as `readers` read what is stored of them; those of other roles as they are."""
    functions: dict[str, Any] = {}
    for role, lines in readers.items():
        names: dict[str, Any] = {}
        exec(lines, names)
        functions[role] = names["read"]

    def value(role: str, stored: Any) -> Any:
        return functions[role](stored, folder) if role in functions else stored

    return [{role: value(role, stored) for role, stored in row.items()} for row in rows]


def no_pickles(*words: Any, **options: Any) -> Any:
    """In the place of `torch.load`: whatever library would read one."""
    raise ValueError("a pickle is to be loaded, which can run code; only safetensors are read")


def main() -> None:
    sys.modules["hf_tl"] = None  # type: ignore[assignment]
    request = json.loads(sys.stdin.read())
    if request["torchvision"]:  # the model's library needs it: as this machine has it
        names: dict[str, Any] = {"__name__": "compat"}
        exec(request["torchvision"], names)
        names["declare_torchvision_operators"]()
    else:  # a machine with torch and Transformers alone: image processors then use Pillow, as hf_tl does
        sys.modules["torchvision"] = None  # type: ignore[assignment]
    import torch
    import transformers

    torch.load = no_pickles
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    found: list[dict[str, Any]] = []
    for job in request["jobs"]:
        try:
            with torch.no_grad():
                rows = read(request["rows"], request["readers"], Path(request["folder"]))
                found.append({"found": answers(request, job, rows)})
        except Exception as error:
            first = next(iter(str(error).strip().splitlines()), "")
            found.append({"error": f"{type(error).__name__}: {first}"})
    print(f"\n{MARK}{json.dumps(found, default=lambda number: number.item())}", flush=True)


if __name__ == "__main__":
    main()
