"""The order of the rooms: app imports recon, recon imports render, never the other way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {"render": {"app", "recon"}, "recon": {"app"}, "app": set()}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_rooms_below_it(room: str):
    files = list((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] not in FORBIDDEN[room], f"{file}:{node.lineno} imports {name}"
