"""A running portal and its alarms: what the supervisor notices when the worker cannot, and the pages in a browser."""

import signal
import time
from collections.abc import Iterator
from datetime import timedelta

import psutil
import pytest
from playwright.sync_api import expect

from tests.harness import person as people
from tests.harness.browser import chromium, visitor
from tests.harness.mail import PASSWORD, USER, MailServer
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.ports import wait_until

pytestmark = pytest.mark.e2e
PUBLIC = "https://portal.example.com"


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer(log_in=True) as running:
        yield running


@pytest.fixture
def portal() -> Iterator[Portal]:
    with Portal(settings="tests.harness.short_alarms", environment={"BINDERY_PUBLIC_URL": PUBLIC}) as running:
        yield running


def set_up(portal: Portal, mail: MailServer) -> None:
    """A channel; what a slow start raised before is forgotten, since a second outage within minutes waits."""
    root, password = portal.home / "root.pem", portal.home / "password"
    root.write_text(mail.root.pem)
    password.write_text(PASSWORD)
    given = {"server": "localhost", "port": str(mail.port), "sender": "bindery@example.com", "to": "ops@example.com"}
    options = [f"--set={name}={value}" for name, value in {**given, "user": USER}.items()]
    secrets = [f"--set-file=ca_bundle={root}", f"--set-file=password={password}"]
    portal.run("from certs.models import Alarm\nAlarm.objects.all().delete()")
    portal.manage("channels", "add", "Ops", "--allow-private", *options, *secrets)


def subjects(mail: MailServer) -> list[str]:
    return [str(got.mail["Subject"]).partition("] ")[2] for got in mail.received]


def queue_processes(portal: Portal) -> list[psutil.Process]:
    """The cluster with all its workers, which share a process group that the web server is not in."""
    found = []
    for each in portal.process.children():
        try:
            if each.name().startswith("bindery-queue"):
                found += [each, *each.children(recursive=True)]
        except psutil.Error:
            continue
    return found


def test_a_worker_that_stands_still_is_told_by_the_supervisor_and_when_it_is_well(
    portal: Portal, mail: MailServer
) -> None:
    # All its processes are there: one made while the others are stopped would go on alone.
    wait_until(lambda: portal.count("certs_workerbeat") >= 2, timeout=20, what="the workers")
    set_up(portal, mail)
    stopped = queue_processes(portal)
    for each in stopped:
        each.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: mail.received, timeout=30, what="a mail about the worker")
    finally:
        for each in stopped:
            go_on(each)
    assert subjects(mail) == ["Outage: Worker: it is not running"]
    text = mail.received[0].text
    for told in ("What happened: The worker is not running", "What was tried: The supervisor", "What to do: Look"):
        assert told in text
    assert f"{PUBLIC}/help/" in text
    wait_until(
        lambda: portal.rows("SELECT * FROM certs_alarm WHERE key = 'worker' AND level = 0"),
        timeout=60,
        what="the worker to be well again",
    )
    assert len(mail.received) == 1  # good news waits for its quarter of an hour


def go_on(process: psutil.Process) -> None:
    try:
        process.send_signal(signal.SIGCONT)
    except psutil.NoSuchProcess:
        return


def test_a_sweep_older_than_26_hours_is_told_though_the_worker_is_gone_and_the_web_serves_on(mail: MailServer) -> None:
    """Role web: no worker of this node could ever tell."""
    with Portal(
        settings="tests.harness.short_alarms", environment={"BINDERY_PUBLIC_URL": PUBLIC}, arguments=["--role", "web"]
    ) as portal:
        set_up(portal, mail)
        portal.run(
            "from certs.services.portal_state import state_update\n"
            "from portal import clock\n"
            "state_update(sweep_finished_at=clock.now())"
        )
        # The dead worker is told of first: a second outage within a quarter of an hour waits its turn.
        wait_until(
            lambda: any("Worker" in text for text in subjects(mail)), timeout=20, what="the mail about the worker"
        )
        standing = "SELECT * FROM certs_alarm WHERE key = 'sweep' AND cleared_at IS NULL"
        wait_until(lambda: not portal.rows(standing), timeout=10, what="the fresh sweep to count")
        portal.move_clock(timedelta(hours=25, minutes=55))
        time.sleep(3)
        assert not portal.rows(standing)
        portal.move_clock(timedelta(hours=26, minutes=5))
        happened = "What happened: The last check of the certificates ended"
        wait_until(lambda: any(happened in got.text for got in mail.received), timeout=30, what="a mail about it")
        (text,) = {got.text for got in mail.received if happened in got.text}
        assert "OUTAGE: Check of the certificates: overdue" in text
        assert f"{PUBLIC}/configuration/renewal/" in text
        assert portal.get("/healthz").status_code == 200


def test_a_kill_of_the_whole_portal_loses_no_alarm(portal: Portal, mail: MailServer) -> None:
    mail.moods.stall = "taken"  # the mail is taken, but its sender never hears of it
    set_up(portal, mail)
    portal.run(
        "from certs.domain.alarms import Level, Trouble\n"
        "from certs.services.alarms import alarm_raise\n"
        "alarm_raise(Trouble('exercise:1', Level.OUTAGE, 'a.example: expired', 'It expired.'))"
    )
    wait_until(lambda: mail.received, timeout=20, what="the first mail")
    for each in [*portal.process.children(), psutil.Process(portal.process.pid)]:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    portal.stop()
    mail.moods.stall = ""
    portal.move_clock(timedelta(minutes=4))
    portal.start()
    wait_until(lambda: len(mail.received) >= 2, timeout=20, what="the mail again")
    ids = {got.mail["Message-ID"] for got in mail.received if "expired" in str(got.mail["Subject"])}
    assert len(ids) == 1
    wait_until(
        lambda: not portal.rows("SELECT * FROM certs_alarmdelivery WHERE sent_at IS NULL"),
        timeout=10,
        what="the sending to be written",
    )


def test_a_person_sets_a_mail_channel_up_and_sees_what_the_server_says(mail: MailServer) -> None:
    need("chromium")
    with Portal() as portal, chromium() as browser, visitor(browser) as alice:
        people.first_administrator(alice, portal)
        page, base = alice.page, portal.http_url
        alice.go(f"{base}/configuration/")
        page.get_by_role("link", name="Notifications", exact=True).click()
        expect(page.locator("main")).to_contain_text("Nobody is told of alarms.")
        alice.shot("nobody")
        page.get_by_role("link", name="Mail", exact=True).click()
        for name, value in {**mail.options, "password": "wrong"}.items():
            if name == "security":
                page.select_option(f"[name={name}]", str(value))
            else:
                page.fill(f"[name={name}]", str(value))
        page.get_by_role("button", name="Save").click()
        expect(page.locator("main")).to_contain_text("is set up")
        page.get_by_role("button", name="Send test").click()
        expect(page.locator("main")).to_contain_text("not on the Internet")
        alice.shot("private-address")
        page.get_by_role("link", name="Mail", exact=True).first.click()
        page.check("[name=allow_private]")
        expect(page.locator("[name=password]")).to_have_value("")
        alice.shot("form")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("button", name="Send test").click()
        expect(page.locator("main")).to_contain_text("535 5.7.8")
        alice.shot("refused")
        page.get_by_role("link", name="Mail", exact=True).first.click()
        page.fill("[name=password]", PASSWORD)
        page.get_by_role("button", name="Save").click()
        page.get_by_role("button", name="Send test").click()
        expect(page.locator("main")).to_contain_text("The server answered: 250 2.0.0 Ok: queued as 4F2A")
        alice.shot("sent")
        assert len(mail.received) == 1
        portal.run(
            "from certs.domain.alarms import Level, Trouble\n"
            "from certs.services.alarms import alarm_raise, alarm_clear\n"
            "from datetime import timedelta\n"
            "from portal import clock\n"
            "for number, level in enumerate((Level.NOTICE, Level.WARNING, Level.OUTAGE, Level.NOTICE)):\n"
            "    alarm_raise(Trouble(f'expiry:{number}', level, f'n{number}.example.com: its renewal fails',\n"
            "        'The CA refused: no valid A records found. The certificate is good until 11 December 2026.',\n"
            "        'Example CA by HTTP, since 21 November 2026.', clock.now() + timedelta(hours=1),\n"
            "        'Add an A record.', '/activity/'))\n"
            "alarm_clear('expiry:3')"
        )
        alice.go(f"{base}/")
        expect(page.locator(".banners")).to_contain_text("3 alarms are open.")
        alice.shot("banner")
        page.get_by_role("link", name="Look", exact=True).click()
        alice.shot("alarms")
        page.get_by_role("button", name="Seen n2.example.com").click()
        page.get_by_role("button", name="Mark all as seen").click()
        expect(page.locator("main")).to_contain_text("2 alarms marked as seen")
        page.set_viewport_size({"width": 360, "height": 800})
        alice.shot("alarms-narrow")
        alice.go(f"{base}/configuration/notifications/")
        alice.shot("notifications-narrow")
