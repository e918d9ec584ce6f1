"""Report, model card and plots: pure functions of a run folder, without network and without a model."""
