"""Scripts of the operator: what they are told, what they may not be, and how they end."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from certs.domain.errors import InputError, Unavailable
from certs.domain.options import OptionRefused, options_read, options_split
from certs.solvers import dns01_hook
from certs.solvers.base import Site
from certs.solvers.dns01_hook import Dns01Hook, HookFailed, HookRefused

RECORD = "_acme-challenge.www.one.test"
TELL = f"""#!{sys.executable}
import json, os, sys
with open(os.path.join(os.path.dirname(__file__), "told"), "a") as stream:
    stream.write(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]) + "\\n")
print("id=42")
"""


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    directory = tmp_path / "hooks"
    directory.mkdir(mode=0o755)
    return directory


def write(hooks: Path, text: str = TELL, *, name: str = "hook", mode: int = 0o755) -> Path:
    script = hooks / name
    script.write_text(text)
    script.chmod(mode)
    return script


def solver(hooks: Path, **given: Any) -> Dns01Hook:
    given.setdefault("script", str(hooks / "hook"))
    return Dns01Hook(options_read(Dns01Hook.Options, given), Site(hooks=hooks))


def told(hooks: Path) -> list[Any]:
    return [json.loads(line) for line in (hooks / "told").read_text().splitlines()]


def add(one: Dns01Hook, record: str = RECORD) -> dict[str, Any]:
    one._proven = "www.one.test"
    return one.record_add("one.test", record, "the-value", 60)


def test_it_is_told_what_to_do_and_nothing_of_ours(hooks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "BINDERY_KEY_RING", "BINDERY_SECRET_KEY", "LD_PRELOAD", "PYTHONPATH"):
        monkeypatch.setenv(name, "ours")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    write(hooks)
    one = solver(hooks, variables="HOOK_TOKEN=s3cret=value\n\nHOOK_USER=me")
    data = add(one)
    one.record_remove("one.test", RECORD, "the-value", data)
    (arguments, env, directory), (cleaning, clean_env, _) = told(hooks)
    assert arguments == ["present", RECORD, "the-value"]
    assert cleaning == ["clean", RECORD, "the-value"]
    assert directory == str(hooks)
    assert env["BINDERY_ACTION"] == "present"
    assert clean_env["BINDERY_ACTION"] == "clean"
    assert (env["BINDERY_DOMAIN"], env["BINDERY_RECORD"]) == ("www.one.test", RECORD)
    assert (env["BINDERY_VALUE"], env["BINDERY_ZONE"], env["BINDERY_TTL"]) == ("the-value", "one.test", "60")
    assert (env["CERTBOT_DOMAIN"], env["CERTBOT_VALIDATION"]) == ("www.one.test", "the-value")
    assert clean_env["CERTBOT_AUTH_OUTPUT"] == "id=42"
    assert (env["HOOK_TOKEN"], env["HOOK_USER"]) == ("s3cret=value", "me")
    assert env["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert "ours" not in env.values()


@pytest.mark.parametrize(
    ("style", "present", "clean"),
    [
        ("lego", ["present", f"{RECORD}.", "the-value"], ["cleanup", f"{RECORD}.", "the-value"]),
        (
            "dehydrated",
            ["deploy_challenge", "www.one.test", "-", "the-value"],
            ["clean_challenge", "www.one.test", "-", "the-value"],
        ),
        ("certbot", [], []),
    ],
)
def test_scripts_written_for_other_clients_find_their_arguments(
    hooks: Path, style: str, present: list[str], clean: list[str]
) -> None:
    write(hooks)
    one = solver(hooks, style=style)
    one.record_remove("one.test", RECORD, "the-value", add(one))
    assert [arguments for arguments, _, _ in told(hooks)] == [present, clean]


@pytest.mark.parametrize("style", ["certbot", "dehydrated"])
def test_a_script_that_cannot_know_of_an_alias_is_not_run(hooks: Path, style: str) -> None:
    write(hooks)
    with pytest.raises(InputError) as refusal:
        add(solver(hooks, style=style), "www.acme.two.test")
    assert refusal.value.code == "hook-style"
    assert not (hooks / "told").exists()
    add(solver(hooks), "www.acme.two.test")
    assert told(hooks)[0][1]["BINDERY_DOMAIN"] == "www.one.test"


def test_another_script_may_clean(hooks: Path) -> None:
    write(hooks)
    write(hooks, "#!/bin/sh\nexit 9\n", name="cleanup")
    one = solver(hooks, clean_script=str(hooks / "cleanup"))
    data = add(one)
    with pytest.raises(HookFailed, match="exit code 9 when it was to clean"):
        one.record_remove("one.test", RECORD, "the-value", data)


def test_no_shell_reads_the_value(hooks: Path) -> None:
    write(hooks)
    solver(hooks).record_add("one.test", RECORD, "$(touch /tmp/never); `id` & x", 60)
    assert told(hooks)[0][0][2] == "$(touch /tmp/never); `id` & x"


def test_a_failure_shows_its_own_words_but_no_secret(hooks: Path) -> None:
    write(hooks, '#!/bin/sh\necho out\necho "key $HOOK_KEY refused, password=hunter22" >&2\nexit 4\n')
    with pytest.raises(HookFailed) as failure:
        add(solver(hooks, variables="HOOK_KEY=abcdef123456"))
    assert "exit code 4" in failure.value.message
    assert "refused" in failure.value.message
    assert "abcdef123456" not in str(failure.value)
    assert "hunter22" not in str(failure.value)


def test_its_output_is_kept_without_secrets(hooks: Path) -> None:
    write(hooks, '#!/bin/sh\necho "made 7 with $HOOK_KEY"\n')
    assert add(solver(hooks, variables="HOOK_KEY=abcdef123456"))["output"] == "made 7 with •••"


def test_one_that_takes_too_long_is_ended_and_may_be_tried_again(hooks: Path) -> None:
    write(hooks, "#!/bin/sh\necho waiting\nsleep 30\n")
    with pytest.raises(Unavailable, match=r"longer than 1 s.*It said: waiting"):
        add(solver(hooks, timeout=1))


def test_one_without_an_interpreter_is_explained(hooks: Path) -> None:
    write(hooks, "echo hello\n")
    with pytest.raises(HookRefused, match="cannot be run") as refusal:
        add(solver(hooks))
    assert "#!/bin/sh" in refusal.value.advice


@pytest.mark.parametrize(
    ("mode", "advice"), [(0o775, "chmod go-w"), (0o757, "chmod go-w"), (0o644, "chmod 0755"), (0o777, "chmod go-w")]
)
def test_a_script_that_others_may_write_or_nobody_may_run_is_refused(hooks: Path, mode: int, advice: str) -> None:
    write(hooks, mode=mode)
    with pytest.raises(HookRefused) as refusal:
        add(solver(hooks))
    assert f"{advice} {hooks / 'hook'}" in refusal.value.advice
    assert not (hooks / "told").exists()


def test_a_directory_that_others_may_write_is_refused(hooks: Path) -> None:
    (hooks / "inner").mkdir()
    script = write(hooks / "inner")
    hooks.chmod(0o777)
    with pytest.raises(HookRefused, match=re.escape(f"{hooks} can be written by others")):
        add(solver(hooks, script=str(script)))
    hooks.chmod(0o755)
    (hooks / "inner").chmod(0o770)
    with pytest.raises(HookRefused, match="inner can be written"):
        add(solver(hooks, script=str(script)))


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_script_of_another_user_is_refused(hooks: Path) -> None:
    os.chown(write(hooks), 12345, -1)
    with pytest.raises(HookRefused, match="belongs to another user"):
        add(solver(hooks))


def test_a_script_elsewhere_is_never_run(hooks: Path, tmp_path: Path) -> None:
    outside = write(tmp_path, name="outside")
    (hooks / "link").symlink_to(outside)
    (tmp_path / "hooks-too").mkdir()
    for path in (outside, hooks / "link", Path("/bin/sh"), hooks, write(tmp_path / "hooks-too")):
        with pytest.raises(HookRefused, match="outside the hooks directory"):
            add(solver(hooks, script=str(path)))
    assert not list(tmp_path.rglob("told"))


def test_a_link_inside_the_directory_is_fine(hooks: Path) -> None:
    write(hooks, name="real")
    (hooks / "hook").symlink_to(hooks / "real")
    add(solver(hooks))
    assert (hooks / "told").exists()


def test_without_the_directory_nothing_is_run_and_the_fix_is_named(tmp_path: Path) -> None:
    with pytest.raises(HookRefused) as refusal:
        add(solver(tmp_path / "none", script="/bin/true"))
    assert f"mkdir -m 0755 {tmp_path / 'none'}" in refusal.value.advice


def test_a_missing_script_and_a_directory_are_told_apart(hooks: Path) -> None:
    with pytest.raises(HookRefused, match="is not there"):
        add(solver(hooks))
    (hooks / "hook").mkdir()
    with pytest.raises(HookRefused, match="is no file"):
        add(solver(hooks))


@pytest.mark.parametrize("path", ["hook", "../hook", "/a/../b"])
def test_a_path_that_is_not_whole_is_refused_in_its_field(hooks: Path, path: str) -> None:
    with pytest.raises(OptionRefused) as refusal:
        solver(hooks, clean_script=path)
    assert refusal.value.field == "clean_script"


@pytest.mark.parametrize("line", ["PATH=/tmp", "LD_PRELOAD=/tmp/x.so", "HOOK_X", "HOOK_x=1", "BASH_ENV=/tmp/x", "=1"])
def test_variables_that_would_change_what_runs_are_refused_without_their_value(hooks: Path, line: str) -> None:
    with pytest.raises(OptionRefused) as refusal:
        solver(hooks, variables=f"HOOK_FINE=1\n{line}")
    assert refusal.value.field == "variables"
    assert "Line 2" in refusal.value.message
    assert "/tmp" not in str(refusal.value)


def test_variables_are_a_secret() -> None:
    shown, hidden = options_split(options_read(Dns01Hook.Options, {"script": "/x", "variables": "HOOK_A=1"}))
    assert "variables" not in shown
    assert hidden == {"variables": "HOOK_A=1"}


def test_a_user_without_a_name_has_a_home_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(dns01_hook.pwd, "getpwuid", nobody)
    assert dns01_hook._environment()["HOME"] == "/"
