from pathlib import Path

import pytest

from certs.domain.registry import plugins
from certs.solvers.base import Solver
from certs.solvers.http01 import Http01


def test_the_file_name_is_the_kind() -> None:
    assert plugins("certs.solvers", Solver)["http01"] is Http01


def test_a_module_without_a_plugin_is_passed_over() -> None:
    assert "base" not in plugins("certs.solvers", Solver)


def test_two_plugins_in_one_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "two_in_one"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "pair.py").write_text("class A(dict): ...\nclass B(dict): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TypeError, match="pair"):
        plugins("two_in_one", dict)
