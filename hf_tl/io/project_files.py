"""What belongs to the project and is not code: `recipes/` and `constraints.txt`."""

from __future__ import annotations

from pathlib import Path


def project_file(name: str) -> Path:
    """The file or folder `name`, in the installed package or in the checkout around it. It need not exist."""
    package = Path(__file__).parent.parent
    inside = package / "_package_data" / name
    return inside if inside.exists() else package.parent / name
