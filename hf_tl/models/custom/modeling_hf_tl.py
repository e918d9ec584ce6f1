"""A pretrained backbone with a chosen pooling and head, for what the stock classes lack.

This file is saved beside the weights and loaded with `trust_remote_code=True`; it needs torch and transformers only.
"""

# mypy: ignore-errors
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class TransferConfig(PreTrainedConfig):
    """`backbone` is the configuration of the pretrained model, as a dictionary with its `model_type`."""

    model_type = "hf_tl_transfer"

    def __init__(self, backbone=None, pooling="cls", head="linear", head_hidden=1024, head_dropout=0.1, **kwargs):
        self.backbone = backbone or {}
        self.pooling = pooling
        self.head = head
        self.head_hidden = head_hidden
        self.head_dropout = head_dropout
        super().__init__(**kwargs)

    def backbone_config(self):
        fields = {key: value for key, value in self.backbone.items() if key != "auto_map"}
        return AutoConfig.for_model(fields.pop("model_type"), **fields)


def pool(output, pooling, attention_mask=None):
    """One vector a sample, (batch, hidden): from the backbone's own `pooler`, or the mean, maximum or first position
    of the last hidden state, (batch, tokens, hidden) or (batch, channels, height, width); padding is left out."""
    if pooling == "pooler":
        return output.pooler_output.flatten(1)
    hidden = output.last_hidden_state
    if hidden.dim() == 4:
        hidden, attention_mask = hidden.flatten(2).transpose(1, 2), None
    if pooling == "cls":
        return hidden[:, 0]
    if attention_mask is None or attention_mask.shape[1] != hidden.shape[1]:
        return hidden.mean(1) if pooling == "mean" else hidden.amax(1)
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    if pooling == "mean":
        return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
    return hidden.masked_fill(mask == 0, torch.finfo(hidden.dtype).min).amax(1)


def make_head(hidden, config):
    """`linear`: dropout, Linear; `mlp`: Linear, ReLU, dropout, Linear, with `head_hidden` hidden units."""
    dropout = nn.Dropout(config.head_dropout)
    if config.head == "mlp":
        inner = nn.Linear(hidden, config.head_hidden)
        return nn.Sequential(inner, nn.ReLU(), dropout, nn.Linear(config.head_hidden, config.num_labels))
    return nn.Sequential(dropout, nn.Linear(hidden, config.num_labels))


class TransferModel(PreTrainedModel):
    config_class = TransferConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config, backbone=None):
        super().__init__(config)
        inner = config.backbone_config()
        self.backbone = AutoModel.from_config(inner, trust_remote_code=False) if backbone is None else backbone
        pooler = getattr(self.backbone, "pooler", None)
        if config.pooling != "pooler" and pooler is not None and any(True for _ in pooler.parameters()):
            self.backbone.pooler = None  # unused weights
        self.head = make_head(self.hidden_size(inner, config.pooling), config)
        self.post_init()

    def hidden_size(self, inner, pooling):
        if inner.model_type == "timm_wrapper":  # the width depends on the pooling (VGG: 512 or 4096), so look
            shape = (getattr(inner, "pretrained_cfg", None) or {}).get("input_size") or (3, 224, 224)
            modes = {module: module.training for module in self.backbone.modules()}
            self.backbone.eval()
            with torch.no_grad():
                width = pool(self.backbone(pixel_values=torch.zeros(1, *shape)), pooling).shape[-1]
            for module, mode in modes.items():
                module.training = mode
            return width
        if getattr(inner, "hidden_sizes", None):
            return inner.hidden_sizes[-1]
        for name in ("hidden_size", "d_model", "hidden_dim", "dim"):
            if getattr(inner, name, None):
                return getattr(inner, name)
        with torch.no_grad():  # convolutional networks that do not say: look
            model = AutoModel.from_config(inner, trust_remote_code=False).eval()
            size = getattr(inner, "image_size", None) or 224
            output = model(pixel_values=torch.zeros(1, getattr(inner, "num_channels", 3), size, size))
        return output.last_hidden_state.shape[1]

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(mean=0.0, std=0.02)
            if module.bias is not None:
                module.bias.data.zero_()

    def forward(self, attention_mask=None, labels=None, **inputs):
        if attention_mask is not None:
            inputs["attention_mask"] = attention_mask
        inputs.pop("return_dict", None)
        output = self.backbone(**inputs, return_dict=True)
        logits = self.head(pool(output, self.config.pooling, attention_mask))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class TransferForSequenceClassification(TransferModel):
    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, labels=None, **inputs):
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, labels=labels, **inputs)


class TransferForImageClassification(TransferModel):
    main_input_name = "pixel_values"

    def forward(self, pixel_values=None, labels=None, **inputs):
        return super().forward(pixel_values=pixel_values, labels=labels, **inputs)
