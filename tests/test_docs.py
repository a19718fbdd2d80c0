"""The documents say what the code does: variables, make targets, commands, links."""

import ast
import re
import shlex
import subprocess
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.core.management import CommandError, get_commands, load_command_class

from certs.domain.options import options_of
from certs.services.challenges import solver_kinds
from certs.solvers.dns01_provider import parameters

ROOT = Path(__file__).resolve().parents[1]
READERS = {
    "text",
    "is_set",
    "integer",
    "port",
    "boolean",
    "words",
    "choice",
    "zone",
    "servers",
    "addresses",
    "proxies",
    "rate",
    "certificates",
}
ROW = re.compile(r"^\| `([A-Z][A-Z0-9_]*)` \|\s*(.*?)\s*\| (.*?) \|$", re.MULTILINE)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@cache
def variables_read() -> dict[str, str]:
    """Name → default, as the typed readers of portal/env.py are called."""
    found: dict[str, str] = {}
    for file in [*(ROOT / "portal").rglob("*.py"), *(ROOT / "certs").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "env" and node.args):
                continue
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                default = node.args[1] if len(node.args) > 1 else None
                text = str(default.value) if isinstance(default, ast.Constant) else ""
                found[name.value] = found.get(name.value) or text
    return found


def variables_documented() -> dict[str, str]:
    return {name: default for name, default, _ in ROW.findall((ROOT / "docs" / "settings.md").read_text())}


def test_every_variable_read_is_documented_and_every_one_documented_is_read() -> None:
    assert set(variables_read()) == set(variables_documented())


def test_documented_defaults_are_the_real_ones() -> None:
    documented = variables_documented()
    wrong = {
        name: (default, documented.get(name))
        for name, default in variables_read().items()
        if default and f"`{default}`" not in documented.get(name, "") and not default.startswith(("True", "False"))
    }
    assert not wrong


def make_targets() -> dict[str, str]:
    """Target → help line; every target of .PHONY must have one."""
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    helps = dict(re.findall(r"^([a-z0-9-]+):[^#\n]*## (.+)$", text, re.MULTILINE))
    return {target: helps.get(target, "") for target in phony.group(1).split()}


def test_every_make_target_has_a_help_line() -> None:
    assert [target for target, line in make_targets().items() if not line] == []
    ruled = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert ruled == set(make_targets())


def test_make_alone_lists_all_targets() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target, line in make_targets().items():
        assert re.search(rf"^\s+{target}\s+{re.escape(line)}$", shown, re.MULTILINE), target


def own_commands() -> list[str]:
    return sorted(name for name, app in get_commands().items() if app == "certs")


def parser_of(name: str) -> ArgumentParser:
    return load_command_class("certs", name).create_parser("manage.py", name)


def verbs_of(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """The parser of each second word, where a command has them."""
    groups = [action.choices for action in parser._actions if isinstance(action, _SubParsersAction)]
    return {verb: own for group in groups for verb, own in group.items()}


@pytest.mark.parametrize("name", own_commands())
def test_every_command_and_each_of_its_words_says_what_it_does(name: str) -> None:
    command = load_command_class("certs", name)
    assert len(command.help) > 20
    parser = parser_of(name)
    silent = [
        f"{own.prog} {action.dest}"
        for own in (parser, *verbs_of(parser).values())
        for action in own._actions
        if not action.help and not isinstance(action, _SubParsersAction)
    ]
    assert not silent


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    wrong = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", document.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        file = document.parent / target if target else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(f"{target}#{anchor}")
    assert not wrong


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_commands_named_in_documents_exist(document: Path) -> None:
    text = document.read_text()
    known = {*get_commands(), "help"}
    targets = set(make_targets())
    wrong = [f"manage.py {name}" for name in re.findall(r"manage\.py ([a-z_]+)", text) if name not in known]
    wrong += [f"make {name}" for name in re.findall(r"`make ([a-z0-9-]+)", text) if name not in targets]
    assert not wrong


PROGRAM = re.compile(r"(?:manage\.py|sudo bindery) ([a-z_]+(?: .+)?)")


def lines_shown(text: str) -> Iterator[list[str]]:
    """The words behind manage.py of each line of the code blocks, without what explains them."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"(?:^ {4}\S.*\n)+", text, re.MULTILINE)
    for line in "\n".join(blocks).splitlines():
        if found := PROGRAM.search(line):
            yield shlex.split(re.split(r" {2,}|[|>&;…]", found.group(1))[0], comments=True)


def words_named(text: str) -> Iterator[list[str]]:
    """The same of code in the running text, which may be only the beginning of a command."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`([^`]+)`", prose):
        if found := PROGRAM.match(" ".join(span.split())):
            yield found.group(1).split()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_commands_shown_in_documents_can_be_given_like_that(document: Path) -> None:
    own, wrong = own_commands(), []
    for name, *words in lines_shown(document.read_text()):
        try:
            if name in own:
                parser_of(name).parse_args(words)
        except CommandError as error:
            wrong.append(f"{name} {' '.join(words)}: {error}")
    for name, *words in words_named(document.read_text()):
        if name not in own:
            continue
        parser = parser_of(name)
        verbs = verbs_of(parser)
        if verbs and words and words[0].islower() and words[0] not in verbs:
            wrong.append(f"{name} {words[0]}")
        known = {
            flag for each in (parser, *verbs.values()) for action in each._actions for flag in action.option_strings
        }
        wrong += [f"{name}: {word}" for word in words if word.startswith("-") and word not in known]
    assert not wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_documents_name_only_known_variables(document: Path) -> None:
    named = {name.removesuffix("_FILE") for name in re.findall(r"\b(BINDERY_[A-Z0-9_]+)\b", document.read_text())}
    assert named <= set(variables_read()) | variables_of_hooks()


def variables_of_hooks() -> set[str]:
    """What a hook script is told, beside the settings of the portal."""
    source = (ROOT / "certs" / "solvers" / "dns01_hook.py").read_text()
    return set(re.findall(r'"(BINDERY_[A-Z]+)":', source))


def option_rows(kind: str) -> list[str]:
    """The table of a challenge's options in docs/challenges.md; a provider's own parameters are left out."""
    solver = solver_kinds()[kind]
    provider = {"provider": "powerdns"} if solver.chooser else {}
    own = {each.name for each in parameters("powerdns")} if solver.chooser else set()
    rows = []
    for about in options_of(solver.options_for(provider)):
        if about.name not in own:
            default = "needed" if about.required else f"`{about.default}`" if about.default not in ("", None) else ""
            secret = " Secret." if about.secret else ""
            choices = ", ".join(f"`{value}`" for value, _ in about.choices if not about.required)
            one_of = f" One of {choices}." if choices else ""
            meaning = f"{about.help}{secret}{one_of}".strip().replace("|", "\\|")
            rows.append(f"| `{about.name}` | {about.label} | {default} | {meaning} |")
    return rows


def test_every_challenge_is_documented_with_its_options() -> None:
    text = (ROOT / "docs" / "challenges.md").read_text()
    for kind, solver in solver_kinds().items():
        heading = f"## {solver.label} (`{kind}`)\n"
        assert heading in text, heading
        section = text.partition(heading)[2].partition("\n## ")[0]
        documented = [line for line in section.splitlines() if line.startswith("| `")]
        assert documented == option_rows(kind), kind


def test_what_a_hook_is_told_is_documented() -> None:
    text = (ROOT / "docs" / "challenges.md").read_text()
    assert variables_of_hooks()
    assert all(name in text for name in variables_of_hooks())
