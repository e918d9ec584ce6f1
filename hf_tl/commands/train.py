"""A whole run, from configuration to shared model, in the order it happens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed

from hf_tl.config import RunConfig, load_config
from hf_tl.data import load_data
from hf_tl.data.understood import as_text as understood
from hf_tl.errors import HubError, ProofError, together
from hf_tl.hub.upload import check_target
from hf_tl.inference.held_out import measure_saved
from hf_tl.inference.processes import process_state
from hf_tl.inference.reloaded import few_rows, loss_of
from hf_tl.io.console import between, say
from hf_tl.metrics.intervals import too_few
from hf_tl.models.context import make_context
from hf_tl.models.methods import get_method
from hf_tl.models.pretrained import check_task, find_pretrained, load_model
from hf_tl.models.processors import load_processor
from hf_tl.models.quantized import check_quantization
from hf_tl.models.trusted import check_same_code
from hf_tl.reporting.card import write_card
from hf_tl.reporting.report import write_report
from hf_tl.run import Run
from hf_tl.sharing import proof
from hf_tl.sharing.checkpoint_pushes import PushCheckpoints
from hf_tl.sharing.push import push, push_command, save_model
from hf_tl.training.arguments import check_best_metric, check_training
from hf_tl.training.description import check_adapter_alone, check_adapter_loads, describe_run, label_weights, made_of
from hf_tl.training.fit import fit
from hf_tl.training.options import check_classes, check_options


def finetune(config: RunConfig | Mapping[str, Any] | str | Path | None = None, /, **options: Any) -> Run:
    """Adapts a pretrained model to data, measures it on the held-out split, and writes the run folder.

    `config` is a `RunConfig`, a mapping or a YAML file; `options` are its keys (`model=`, `data=`, `method=`, ...) and
    win. Called again with the same configuration, output and data, it goes on where the last call stopped.

    Raises:
        InputError: something about the configuration, data or model, in one sentence.
        Stopped: SIGINT or SIGTERM; a checkpoint was saved and the same call resumes.
        ProofError: what was saved does not predict what was measured when it is loaded elsewhere.
        HubError: the Hub refused or could not be reached.
    """
    config = load_config(config, {key: value for key, value in options.items() if value is not None})
    start = time.monotonic()

    # 1. What can be wrong without reading anything.
    _check_settings(config)
    method = get_method(config.method)
    if config.hub is not None:
        hub = config.hub
        try:
            config = config.model_copy(update={"hub": hub.model_copy(update={"id": check_target(hub).id})})
        except HubError as error:
            raise HubError(
                f"{error} Nothing was begun: run the same command again, or leave hub.id out and push the run later: "
                f"{push_command(config.folder, hub)}"
            ) from error.__cause__

    # 2. Data and model: found, read and matched before anything is written.
    data = load_data(config.data, config.task, seed=config.seed)
    say("\n".join([*data.notes, understood(data.labels, data.source)]))
    task = data.task
    method.check(task)
    together(
        lambda: check_options(config, task),
        lambda: check_best_metric(config.training, task),
        lambda: check_classes(config, data),
    )
    pretrained = find_pretrained(config.model)
    check_task(pretrained, task)
    check_adapter_alone(config, task, pretrained)
    processor = load_processor(pretrained, task, image_size=config.data.preprocessing.image_size, adapt=True)
    weights = label_weights(config.loss, data)

    # 3. The run folder; a finished part of the same run is not done again.
    main = process_state()
    with main.main_process_first():
        run = Run.begin(config, made_of(data, pretrained))
    if not run.reached("saved"):
        # 4. Adapt and train; the best checkpoint is what comes back. A new head is drawn here, hence the seed.
        set_seed(config.seed)
        loaded = load_model(pretrained, task, data.targets, config.model, scratch=not method.pretrained)
        check_adapter_loads(config, loaded.model)
        context = make_context(
            task, pretrained, processor, loaded.model, config=config, targets=data.targets, class_weights=weights,
            notes=(*data.notes, *loaded.notes),
        )  # fmt: skip
        to = config.hub
        pushes = [PushCheckpoints(run, to, processor, pretrained)] if to is not None and to.every_save else []
        fitted = fit(run, config, data, task, context, method, loaded, pushes)
        validation = few_rows(task, data.splits["validation"])
        loss = loss_of(fitted.adapted.module, task, context, validation, config.seed)
        if main.is_main_process:
            written = save_model(run, method.finish, fitted.adapted, processor, task, context, pretrained)
            describe_run(run, pretrained, data, context, fitted)
            # last: a stage is reached when all of it is on disk
            run.reach("saved", train=fitted.statistics, written=written, loss_before_saving=loss)
        main.wait_for_everyone()

    # 5. Measure what was saved, as loaded from disk; write it up; share it.
    trusted = bool(pretrained.code)
    if trusted:
        check_same_code(run.model, pretrained.code)
    if not run.reached("measured") or not (run.folder / "metrics.json").exists():
        measure_saved(run, data, trust=trusted)
        main.wait_for_everyone()
    if main.is_main_process:
        try:
            if proof.wanted(config.proof):
                proof.prove(run, trust=trusted)
        except ProofError as error:  # what was measured is worth reading all the same
            run.reach("measured", proof_failed=str(error))
            _write_up(run)
            raise
        if not run.reached("reported"):
            run.reach("measured", proof_failed=None)
            _write_up(run)
            run.reach("reported")
        if config.hub is not None and not run.reached("pushed"):
            pushed = push(run, config.hub, proof=config.proof, trust_remote_code=trusted)
            say(f"Pushed to {pushed.url}")
        _say_result(run, time.monotonic() - start)
    main.wait_for_everyone()
    return run


def _write_up(run: Run) -> None:
    write_report(run.folder)
    write_card(run.folder, shared=False)  # a push names the repository


def _check_settings(config: RunConfig) -> None:
    together(
        lambda: check_training(config.training),
        lambda: get_method(config.method),
        lambda: check_quantization(config.model, config.method.name),
    )


def _say_result(run: Run, seconds: float) -> None:
    metrics = run.metrics
    best = [f"{name} {v['value']:.3f} ({between(v)})" for name, v in metrics["metrics"].items()]
    say(f"{metrics['split']}, {metrics['samples']} samples: {', '.join(best)}")
    name, value = next(iter(metrics["metrics"].items()))
    if few := too_few(metrics["samples"], metrics["split"], name, value):
        say(few)
    say(f"{seconds:.0f} s in all; report: {run.folder / 'report.html'}; model: {run.model}")
