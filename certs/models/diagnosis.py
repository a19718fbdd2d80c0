from django.db import models

from portal import clock


class NodeDiagnosis(models.Model):
    """What one node found when it last looked around: a page wishes for it, the supervisor of that node looks."""

    node = models.CharField(max_length=100, unique=True)
    role = models.CharField(max_length=10, blank=True)  # of its supervisor: all, web or worker
    seen_at = models.DateTimeField(default=clock.now)  # its supervisor lived, real time
    wished = models.PositiveBigIntegerField(default=0)  # the number of looks wished for
    done = models.PositiveBigIntegerField(default=0)  # the last of them that was made
    lines = models.JSONField(default=list, blank=True)  # domain.diagnosis.line_document, sorted
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "node diagnoses"
        ordering = ["node"]

    def __str__(self) -> str:
        return f"{self.node} at {self.finished_at}"
