"""The periodic jobs, as django-q2's schedules. Made at each start of the portal; doing so twice changes nothing."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from django_q.models import Schedule


@dataclass(frozen=True)
class Job:
    name: str
    function: str
    minutes: int


def jobs() -> tuple[Job, ...]:
    return (
        Job("tick", "certs.tasks.tick", settings.TICK_MINUTES),
        Job("prune", "certs.tasks.prune", 24 * 60),
    )


def schedules_ensure() -> None:
    """One row per job; a job whose run was missed while nothing ran comes first of all."""
    for job in jobs():
        Schedule.objects.update_or_create(
            name=job.name,
            defaults={
                "func": job.function,
                "schedule_type": Schedule.MINUTES,
                "minutes": job.minutes,
                "repeats": -1,
            },
            create_defaults={
                "func": job.function,
                "schedule_type": Schedule.MINUTES,
                "minutes": job.minutes,
                "repeats": -1,
                "next_run": timezone.now() + timedelta(seconds=5),
            },
        )
    Schedule.objects.exclude(name__in=[job.name for job in jobs()]).filter(func__startswith="certs.tasks.").delete()
