"""What a person does with a finished run: read its metrics, predict, evaluate, push."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_tl.config import hub_config
from hf_tl.run_folder import RunFolder

if TYPE_CHECKING:
    from hf_tl.hub.upload import Pushed


class Run(RunFolder):
    """A run and its folder. `metrics`, `predict` and `push` are what a person does with a finished one."""

    def predict(self, inputs: Any, **options: Any) -> list[dict[str, Any]]:
        """`hf_tl.predict` with this run's model."""
        from hf_tl.inference.predict import predict

        return predict(str(self.folder), inputs, **options)

    def evaluate(self, data: Any = None, **options: Any) -> dict[str, Any]:
        """`hf_tl.evaluate` with this run's model, on its own held-out rows unless given other data."""
        from hf_tl.inference.evaluate import evaluate

        return evaluate(str(self.folder), data, **options)

    def push(self, id: str, **options: Any) -> Pushed:
        """`hf_tl.push`: shares this run on the Hub; `options` are fields of `HubConfig`."""
        from hf_tl.sharing.push import push

        return push(self, hub_config(id=id, **options))
