"""The house rules that reading the source can prove: imports point down, no cycles, nothing unfinished."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CERTS = ROOT / "certs"

# ARCHITECTURE §1. A module may import modules of lower layers, of its own package, and within level 6 its neighbours.
LAYERS: dict[str, int] = {
    "domain": 0,
    "transports": 1,
    "acme": 2,
    "solvers": 3,
    "installers": 3,
    "channels": 3,
    "issuers": 3,
    "models": 4,
    "selectors": 5,
    "services": 5,
    "tasks": 6,
    "schedule": 6,
    "views": 6,
    "api": 6,
    "forms": 6,
    "admin": 6,
    "management": 6,
    "apps": 6,
    "checks": 6,
    "templatetags": 6,
}
FREE = {"migrations", "__init__"}  # Django's own way of loading them
PORTAL_FROM_CERTS = {"portal.clock", "portal.logs", "portal.home", "portal.env"}
PLUGINS = {"transports", "acme", "solvers", "installers", "channels", "issuers"}
PURE = {"domain"}
OUTSIDE_WORLD = {"socket", "ssl", "subprocess", "requests", "urllib3", "http", "asyncio", "threading", "tempfile"}


def modules(*directories: Path) -> list[Path]:
    return sorted(file for each in directories for file in each.rglob("*.py") if "migrations" not in file.parts)


def dotted(file: Path) -> str:
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports(file: Path, *, at_import_time: bool = False) -> Iterator[tuple[int, str]]:
    """(line, absolute module) of each import; `from a import b` gives a.b where that is a module, else a."""
    tree = ast.parse(file.read_text(), str(file))
    for node in _statements(tree) if at_import_time else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = dotted(file).split(".")[: -node.level if file.name != "__init__.py" else None]
                base = ".".join([*package, *([base] if base else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield node.lineno, whole if _is_module(whole) else base


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported: function bodies and `if TYPE_CHECKING` are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _statements(node)


def _is_module(name: str) -> bool:
    path = ROOT / Path(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def layer_of(module: str) -> int | None:
    """None for what is outside certs/."""
    parts = module.split(".")
    if parts[0] != "certs" or len(parts) < 2 or parts[1] in FREE:
        return None
    assert parts[1] in LAYERS, f"{module}: certs/{parts[1]} has no layer in ARCHITECTURE §1; add it to LAYERS"
    return LAYERS[parts[1]]


def wrong_imports(file: Path, module: str) -> list[str]:
    own = layer_of(module)
    found = []
    for line, target in imports(file):
        other = layer_of(target)
        if own is None or other is None:
            continue
        same_package = target.split(".")[1] == module.split(".")[1]
        if other > own or (other == own and not same_package and own not in {5, 6}):
            found.append(f"{module}:{line} imports {target} (layer {own} → {other})")
    return found


def test_every_part_of_certs_has_a_layer() -> None:
    for file in modules(CERTS):
        layer_of(dotted(file))


def test_imports_point_down_only() -> None:
    wrong = [each for file in modules(CERTS) for each in wrong_imports(file, dotted(file))]
    assert not wrong, "\n".join(wrong)


def test_the_rule_itself_notices_an_import_that_points_up(tmp_path: Path) -> None:
    file = tmp_path / "names.py"
    file.write_text("def f():\n    from certs.services import keys\n")
    assert wrong_imports(file, "certs.domain.names") == [
        "certs.domain.names:2 imports certs.services.keys (layer 0 → 5)"
    ]
    file.write_text("from certs.acme import network\n")
    assert wrong_imports(file, "certs.transports.ssh")
    assert not wrong_imports(file, "certs.services.orders")


def test_the_domain_knows_no_django_and_does_no_input_or_output() -> None:
    wrong = [
        f"{dotted(file)}:{line} imports {target}"
        for file in modules(CERTS / "domain")
        for line, target in imports(file)
        if target.split(".")[0] in {"django", "portal", "django_q", *OUTSIDE_WORLD}
    ]
    assert not wrong, "\n".join(wrong)


def test_the_domain_never_reads_the_clock() -> None:
    """The moment is a parameter."""
    pattern = re.compile(r"\b(datetime\.now|utcnow|time\.time|date\.today)\(")
    wrong = [dotted(file) for file in modules(CERTS / "domain") if pattern.search(file.read_text())]
    assert not wrong


def test_plugins_never_see_the_database() -> None:
    wrong = [
        f"{dotted(file)}:{line} imports {target}"
        for name in PLUGINS
        for file in modules(CERTS / name)
        for line, target in imports(file)
        if target.startswith(("certs.models", "django.db"))
    ]
    assert not wrong, "\n".join(wrong)


def test_certs_takes_only_the_small_tools_of_the_project() -> None:
    wrong = [
        f"{dotted(file)}:{line} imports {target}"
        for file in modules(CERTS)
        for line, target in imports(file)
        if target.split(".")[0] == "portal"
        and target not in PORTAL_FROM_CERTS
        and target != "portal"
        and (layer_of(dotted(file)) or 0) < 6
    ]
    assert not wrong, "\n".join(wrong)


def test_pages_and_commands_write_no_state() -> None:
    """Level 5 reads through selectors and models, and writes through services."""
    writes = re.compile(
        r"\.objects(\.\w+\([^)]*\))*\.(create|update|delete|bulk_create|bulk_update|get_or_create|update_or_create)\("
        r"|\.save\((?!self)|\.delete\(\)"
    )
    wrong = []
    for part in ("views", "management", "api", "templatetags", "admin", "tasks"):
        place = CERTS / part
        for file in modules(place) if place.is_dir() else [place.with_suffix(".py")]:
            if file.exists():
                wrong += [
                    f"{dotted(file)}:{number} {line.strip()}"
                    for number, line in enumerate(file.read_text().splitlines(), 1)
                    if writes.search(line)
                ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_by_a_circle() -> None:
    graph = {
        dotted(file): {
            target for _, target in imports(file, at_import_time=True) if target.startswith(("certs.", "portal."))
        }
        for file in modules(CERTS, ROOT / "portal")
    }
    circle = _circle(graph)
    assert not circle, " → ".join(circle)


def _circle(graph: dict[str, set[str]]) -> list[str]:
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph.get(module, ())):
            found = walk(target, [*path, module])
            if found:
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := walk(module, []))), [])


def test_circles_are_noticed() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert _circle({"a": {"b"}, "b": set()}) == []


def test_own_flow_uses_no_signals() -> None:
    wrong = [
        dotted(file)
        for file in modules(CERTS, ROOT / "portal")
        for _, target in imports(file)
        if target.startswith(("django.db.models.signals", "django.dispatch"))
    ]
    assert not wrong


def _sources() -> list[Path]:
    kinds = ("*.py", "*.html", "*.css", "*.js", "*.md", "*.yaml", "*.toml")
    folders = [ROOT / name for name in ("certs", "portal", "tests", "templates", "static", "docs", "bench")]
    files = [file for folder in folders for kind in kinds for file in folder.rglob(kind)]
    files += [file for kind in kinds for file in ROOT.glob(kind)]
    return [file for file in files if "vendor" not in file.parts and file != Path(__file__)]


def test_nothing_is_left_unfinished() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK|lorem ipsum)\b")
    wrong = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in _sources()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if words.search(line)
    ]
    assert not wrong, wrong


def test_no_file_is_a_vague_shelf() -> None:
    vague = {"utils", "helpers", "common", "misc"}
    wrong = [dotted(file) for file in modules(CERTS, ROOT / "portal") if file.stem in vague]
    assert not wrong


INLINE = {
    "script without src": re.compile(r"<script(?![^>]*\bsrc=)[^>]*>", re.IGNORECASE),
    "style element": re.compile(r"<style\b", re.IGNORECASE),
    "style attribute": re.compile(r"<[^>]*\sstyle\s*=", re.IGNORECASE),
    "event attribute": re.compile(r"<[^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "htmx inline code": re.compile(r"\bhx-on\b|\bhx-vals=.js:", re.IGNORECASE),
    "javascript address": re.compile(r"javascript:", re.IGNORECASE),
}


@pytest.mark.parametrize("kind", INLINE)
def test_templates_hold_no_inline_code(kind: str) -> None:
    """The content security policy would block it in the browser; here it is found without one."""
    wrong = [
        f"{file.relative_to(ROOT)}: {match.group()[:60]}"
        for file in sorted((ROOT / "templates").rglob("*.html"))
        if (match := INLINE[kind].search(file.read_text()))
    ]
    assert not wrong, wrong


def test_every_form_that_changes_something_carries_the_csrf_token() -> None:
    form = re.compile(r"<form\b[^>]*method=.post.[^>]*>(.*?)</form>", re.IGNORECASE | re.DOTALL)
    wrong = [
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / "templates").rglob("*.html"))
        for body in form.findall(file.read_text())
        if "csrf_token" not in body
    ]
    assert not wrong, wrong
