from django.db import models

from portal import clock


class QueueTicket(models.Model):
    """A task that waits in the queue and has not begun: while its ticket is fresh, no second one is queued."""

    function = models.CharField(max_length=200, primary_key=True)  # dotted path, with its arguments
    queued_at = models.DateTimeField()  # real time

    def __str__(self) -> str:
        return f"{self.function} since {self.queued_at:%H:%M:%S}"


class WorkerBeat(models.Model):
    """When one queue process last began and ended a task: progress, by which a dead cluster is told from a busy one."""

    node = models.CharField(max_length=100)
    pid = models.PositiveIntegerField()
    moved_at = models.DateTimeField()  # of the last begin or end, real time
    busy_until = models.DateTimeField(null=True, blank=True)  # the time limit of the task it is in; None: idle
    task = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "pid"], name="beat_once_per_process")]

    def __str__(self) -> str:
        return f"{self.node}/{self.pid} {self.task or 'idle'}"
