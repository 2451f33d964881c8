"""A layer from the text that names it."""

from __future__ import annotations

from pathlib import Path

from ...reference import LayerSpec


def resolve_spec(text: str) -> LayerSpec:
    """A preset by name, or a spec from the TOML file at that path. Raises ValueError."""
    if text.endswith(".toml") or "/" in text or Path(text).is_file():
        return LayerSpec.from_toml(text)
    return LayerSpec.preset(text)
