"""The answer as a file below a web server's document root."""

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from certs.domain.errors import InputError
from certs.domain.options import OptionRefused, options_read
from certs.solvers.base import Site, Task
from certs.solvers.http01_webroot import Http01Webroot, WebrootFailed
from tests.harness.ports import LOOPBACK

TASK = Task("localhost", "tok-en_1", "tok-en_1.thumbprint")
BELOW = Path(".well-known") / "acme-challenge"


def solver(root: Path) -> Http01Webroot:
    options = options_read(Http01Webroot.Options, {"webroot": str(root)})
    return Http01Webroot(options, Site(allow_private=lambda: True))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A web server that knows nothing of us, and its document root."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield tmp_path, server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_ca_finds_the_answer_and_afterwards_nothing_is_left(web: tuple[Path, int]) -> None:
    root, port = web
    asked = f"http://localhost:{port}/{BELOW}/{TASK.token}"
    task = Task(TASK.name, TASK.token, TASK.key_authorization, asked)
    one = solver(root)
    data = one.present(task)
    seen = one.look(task)
    assert seen.right, seen
    assert "the web server with this webroot is reached" in seen.seen
    one.clean(task, data)
    assert "HTTP 404" in one.look(task).seen
    assert not list(root.iterdir())


def test_others_may_read_it_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        solver(tmp_path).present(TASK)
    finally:
        os.umask(before)
    assert (tmp_path / BELOW / TASK.token).stat().st_mode & 0o777 == 0o644
    for directory in (tmp_path / BELOW, (tmp_path / BELOW).parent):
        assert directory.stat().st_mode & 0o777 == 0o755
    assert [each.name for each in (tmp_path / BELOW).iterdir()] == [TASK.token]


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    place = tmp_path / BELOW
    place.mkdir(parents=True)
    (place / "another").write_text("of somebody else")
    one = solver(tmp_path)
    one.clean(TASK, one.present(TASK))
    assert [each.name for each in place.iterdir()] == ["another"]
    (place / "another").unlink()
    one.clean(TASK, one.present(TASK))
    assert place.is_dir()


def test_the_last_answer_of_an_order_takes_the_directories_along(tmp_path: Path) -> None:
    one, other = solver(tmp_path), Task("b.example", "tok-en_2", "tok-en_2.thumbprint")
    data, others = one.present(TASK), one.present(other)
    one.clean(TASK, data)
    assert (tmp_path / BELOW / other.token).is_file()
    solver(tmp_path).clean(other, others)
    assert not list(tmp_path.iterdir())


def test_directories_in_use_by_another_order_stay(tmp_path: Path) -> None:
    one, other = solver(tmp_path), Task("b.example", "tok-en_2", "tok-en_2.thumbprint")
    data = one.present(TASK)
    solver(tmp_path).present(other)
    one.clean(TASK, data)
    assert (tmp_path / BELOW / other.token).is_file()


def test_a_file_with_other_content_is_not_ours_to_remove(tmp_path: Path) -> None:
    one = solver(tmp_path)
    data = one.present(TASK)
    (tmp_path / BELOW / TASK.token).write_text("changed by hand")
    one.clean(TASK, data)
    assert (tmp_path / BELOW / TASK.token).read_text() == "changed by hand"


def test_cleaning_twice_and_without_what_was_remembered_is_no_error(tmp_path: Path) -> None:
    one = solver(tmp_path)
    one.clean(TASK, {})
    data = one.present(TASK)
    one.present(TASK)
    one.clean(TASK, {})
    one.clean(TASK, data)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("link", [".well-known", ".well-known/acme-challenge"])
def test_a_link_that_leads_out_of_the_webroot_is_not_followed(tmp_path: Path, link: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    (outside / "acme-challenge").mkdir(parents=True)
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(outside)
    with pytest.raises(WebrootFailed, match="symbolic link"):
        solver(root).present(TASK)
    assert not list(outside.rglob(TASK.token))


def test_a_link_at_the_tokens_own_place_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    place = tmp_path / BELOW
    place.mkdir(parents=True)
    (place / TASK.token).symlink_to(victim)
    solver(tmp_path).present(TASK)
    assert victim.read_text() == "precious"
    assert not (place / TASK.token).is_symlink()


@pytest.mark.parametrize("token", ["", "..", "../../x", "a/b", "a\0b", "a.b", "x" * 129, "ä"])
def test_a_token_that_is_no_file_name_writes_nothing(tmp_path: Path, token: str) -> None:
    with pytest.raises(InputError):
        solver(tmp_path).present(Task("a.example", token, "x"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["relative/path", "/var/../etc", "."])
def test_only_an_absolute_path_is_taken(path: str) -> None:
    with pytest.raises(OptionRefused) as refusal:
        solver(Path(path)) if path != "/var/../etc" else Http01Webroot(Http01Webroot.Options(path))
    assert refusal.value.field == "webroot"


def test_a_webroot_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(WebrootFailed, match="is no directory"):
        solver(tmp_path / "none").present(TASK)
    assert not (tmp_path / "none").exists()


def test_a_right_that_is_missing_is_named_with_its_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)  # root, who runs the tests, may write everywhere
    with pytest.raises(WebrootFailed) as failure:
        solver(tmp_path).present(TASK)
    assert str(tmp_path / ".well-known") in failure.value.message
    assert f"chown {os.environ.get('USER') or 'root'}" in failure.value.advice
    assert "chmod 0755" in failure.value.advice


def test_many_orders_at_once_get_along(tmp_path: Path) -> None:
    """Each makes and removes the same directories."""
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(30):
                task = Task("a.example", f"t{number}-{turn}", f"t{number}-{turn}.x")
                one = solver(tmp_path)
                data = one.present(task)
                assert (tmp_path / BELOW / task.token).read_text() == task.key_authorization
                one.clean(task, data)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
