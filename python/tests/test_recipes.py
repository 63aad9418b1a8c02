"""docs/recipes.md and docs/python.md: each section is run as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = [
    section
    for page in ("recipes.md", "python.md")
    for section in re.findall(
        r"^## (.+?)\n(.*?)(?=^## |\Z)", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE
    )
]


@pytest.mark.parametrize(("title", "text"), RECIPES, ids=[title for title, _ in RECIPES])
def test_a_recipe_works_as_it_is_written(title: str, text: str, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "panpipe").symlink_to(ROOT / "target" / "release" / "panpipe")
    (programs / "python3").symlink_to(sys.executable)
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for code in re.findall(r"```(?:python|js)\n(.*?)```", text, re.DOTALL):
        name = re.match(r"(?:#|//) (\S+)\n", code)
        assert name, f"the first line of a file in {title} says its name"
        (tmp_path / name[1]).write_text(code)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "python")}
    sessions = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    assert sessions, title
    for session in sessions:
        for command, output in re.findall(r"^\$ (.*?)\n(.*?)(?=^\$ |\Z)", session, re.DOTALL | re.MULTILINE):
            ran = subprocess.run(
                ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
            )
            assert ran.stdout == output, f"{command}\n{ran.stderr}"
