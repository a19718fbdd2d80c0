"""docs/doctor.md names every topic and every code that a check may give."""

import ast
import re
from pathlib import Path

from certs.domain.diagnosis import TOPICS
from certs.services.diagnoses import looks

ROOT = Path(__file__).resolve().parents[1]
GIVERS = {"fine", "note", "bad", "unknown", "bad_for"}


def codes_given() -> set[str]:
    """What is written as the first argument wherever a line is made, and the names of the checks themselves."""
    found = {each.code for each in looks()}
    for file in (ROOT / "certs" / "services" / "diagnosis").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in GIVERS):
                continue
            if node.args and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
    return found


def test_every_code_and_topic_is_documented() -> None:
    text = (ROOT / "docs" / "doctor.md").read_text()
    documented = set(re.findall(r"`([a-z0-9-]+)`", text))
    missing = {code for code in codes_given() if code not in documented and not code.startswith("names-")}
    assert not missing
    assert set(TOPICS) <= documented
    rows = re.findall(r"^\| `([a-z-]+)` \| `", text, re.MULTILINE)
    assert [row for row in rows if row in TOPICS] == list(TOPICS)
