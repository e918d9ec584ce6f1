"""Text in and out: JSON, YAML and cards read within bounds, and what is shown on a terminal."""
