from typing import Any

from django.apps import AppConfig
from django.conf import settings

from certs.transports.roots import roots_add, roots_follow


class CertsConfig(AppConfig):
    name = "certs"
    verbose_name = "Certificates"

    def ready(self) -> None:
        roots_add(settings.CA_BUNDLE)
        # The models of these imports exist only now.
        from django_q import signals  # noqa: PLC0415

        from certs.services import queue, trusted  # noqa: PLC0415

        roots_follow(trusted.outbound.pem)

        def begun(task: dict[str, Any], **_: Any) -> None:
            queue.queue_begun(str(task.get("func", "")), *task.get("args", ()))
            queue.beat_begun(str(task.get("func", "")))

        def ended(**_: Any) -> None:
            queue.beat_ended()

        def started(**_: Any) -> None:
            queue.beat_started()

        signals.post_spawn.connect(started, weak=False, dispatch_uid="beat-started")
        signals.pre_execute.connect(begun, weak=False, dispatch_uid="beat-begun")
        signals.post_execute_in_worker.connect(ended, weak=False, dispatch_uid="beat-ended")
