"""Other ACME clients on this machine that renew by themselves what the portal has taken over: then both would.

Each renewal of theirs spends the CA's limits, and their files go on being served where they are. An alarm stands as
long as one is at work; where it cannot be looked at, that is said, and no alarm is made of it.
"""

from collections.abc import Iterator

from django.conf import settings
from django.urls import reverse

from certs.domain import acmesh, certbot
from certs.domain.alarms import Level, Trouble, subject_make
from certs.domain.containers import Kind
from certs.services.container import container_here
from certs.services.portal_state import state_get
from certs.transports.schedules import Schedule, State, schedules_look

KIND = "other-client"
CLIENTS = (certbot.CLIENT, acmesh.CLIENT)
_ON_HOST = {
    certbot.CLIENT: "systemctl list-timers '*certbot*'; grep -r certbot /etc/cron*",
    acmesh.CLIENT: "crontab -l | grep acme.sh",
}


def other_client_look(client: str) -> list[Schedule]:
    """Where `client` renews by itself, the active places first; about 5 s at most."""
    if container_here() != Kind.NONE:
        why = f"the portal runs in a container and cannot see its host; look there with: {_ON_HOST[client]}"
        return [Schedule(client, "the host", State.UNKNOWN, why=why)]
    return schedules_look(client, root=settings.MACHINE_ROOT)


def other_client_words(found: list[Schedule]) -> list[tuple[State, str]]:
    """A sentence for each place that a person should know of; none where all is known to be off."""
    words = {
        State.ACTIVE: "{0.client} renews by itself too ({0.place}), so both would. Stop it: {0.stop}",
        State.UNKNOWN: "Whether {0.client} renews by itself too could not be checked: {0.why}",
    }
    return [(each.state, words[each.state].format(each)) for each in found if each.state in words]


def other_clients_troubles() -> Iterator[Trouble]:
    """For the sweep: of clients whose certificates were taken over."""
    for client in state_get().moved_from:
        active = [each for each in other_client_look(client) if each.state == State.ACTIVE] if client in CLIENTS else []
        if active:
            places = " and ".join(each.place for each in active)
            yield Trouble(
                f"{KIND}:{client}",
                Level.WARNING,
                subject_make(client, "it still renews by itself"),
                f"The portal has taken over its certificates, and {places} is still active: both renew them.",
                tried="Nothing: the portal changes nothing of other programs.",
                advice=f"Stop it: {'; '.join(each.stop for each in active)}",
                path=reverse("certificates"),
            )
