"""Configuration ➜ Diagnosis: what this node sees, topic by topic; what other nodes see; what the browser sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from certs.domain.diagnosis import TOPICS, Line, State, line_read, worst_state
from certs.models import NodeDiagnosis
from certs.selectors import Shown
from certs.services.addresses import public_url
from certs.services.diagnoses import diagnosis_run
from certs.services.events import audit_record
from certs.services.node_diagnoses import nodes_ask, nodes_elsewhere
from certs.services.nodes import node_name
from certs.services.self_probe import question_make
from certs.services.support_bundle import bundle_name, support_bundle
from certs.views.access import actor_of, administrator_required
from portal import clock

# How a state is shown: its kind, the words beside a line, and the heading where it is the worst of a topic.
_SHOWN = {
    State.OK: ("ok", "in order", "in order"),
    State.UNKNOWN: ("unknown", "could not check", "not everything could be checked"),
    State.NOTE: ("warning", "look at this", "look at this"),
    State.BAD: ("danger", "wrong", "something is wrong"),
}
ABOUT = "What is wrong with the portal and its surroundings, and what mends it."


@dataclass(frozen=True)
class Shelf:
    """The lines of one topic, those first that tell something."""

    topic: str
    label: str
    lines: Sequence[Line]

    @property
    def shown(self) -> Shown:
        kind, _, heading = _SHOWN[worst_state(self.lines)]
        return Shown(kind, heading)

    @property
    def telling(self) -> list[tuple[str, str, Line]]:
        return [(*_SHOWN[line.state][:2], line) for line in self.lines if line.state != State.OK]

    @property
    def in_order(self) -> list[tuple[str, str, Line]]:
        return [(*_SHOWN[line.state][:2], line) for line in self.lines if line.state == State.OK]


@dataclass(frozen=True)
class Elsewhere:
    """Another node, with its topics; `waits` while it has not finished the look that was last wished for."""

    row: NodeDiagnosis
    shelves: Sequence[Shelf]

    @property
    def in_order(self) -> list[str]:
        """The topics of which there is nothing to tell."""
        return [shelf.label for shelf in self.shelves if not shelf.telling]

    @property
    def waits(self) -> bool:
        return self.row.wished > self.row.done


@administrator_required
@never_cache
@require_safe
def diagnosis(request: HttpRequest) -> HttpResponse:
    """Each topic is loaded by itself; `?whole` shows all of them at once, for browsers without scripts."""
    lines = diagnosis_run() if "whole" in request.GET else None
    shelves = _shelves(lines) if lines is not None else [Shelf(topic, label, ()) for topic, label in TOPICS.items()]
    url = public_url()
    context = {
        "node": node_name(),
        "shelves": shelves,
        "whole": lines is not None,
        **_elsewhere(),
        "arrived": _arrived(request, url),
        "public_url": url,
        "question": question_make(),
        "server_now": int(clock.real().timestamp() * 1000),
    }
    response = render(request, "configuration/diagnosis.html", context)
    # The browser is to ask the public URL, which may be another origin than this page's.
    response._csp_update = {"connect-src": [url]}  # type: ignore[attr-defined]
    return response


@administrator_required
@never_cache
@require_safe
def topic(request: HttpRequest, name: str) -> HttpResponse:
    if name not in TOPICS:
        raise Http404
    shelf = Shelf(name, TOPICS[name], diagnosis_run({name}))
    return render(request, "configuration/_diagnosis_topic.html", {"shelf": shelf})


@administrator_required
@never_cache
@require_safe
def nodes(request: HttpRequest) -> HttpResponse:
    return render(request, "configuration/_diagnosis_nodes.html", _elsewhere())


@administrator_required
@require_POST
def again(request: HttpRequest) -> HttpResponse:
    nodes_ask()
    return redirect("diagnosis")


@administrator_required
@never_cache
@require_POST
def bundle(request: HttpRequest) -> HttpResponse:
    content = support_bundle()
    audit_record(actor_of(request), "support-bundle.make")
    headers = {"Content-Disposition": f'attachment; filename="{bundle_name()}"'}
    return HttpResponse(content, content_type="application/zip", headers=headers)


def _shelves(lines: Sequence[Line]) -> list[Shelf]:
    found = [Shelf(topic, label, [line for line in lines if line.topic == topic]) for topic, label in TOPICS.items()]
    return [shelf for shelf in found if shelf.lines]


def _elsewhere() -> dict[str, object]:
    rows = [Elsewhere(row, _shelves([line_read(line) for line in row.lines])) for row in nodes_elsewhere()]
    return {"elsewhere": rows, "waiting": any(row.waits for row in rows)}


def _arrived(request: HttpRequest, url: str) -> tuple[str, str, Line]:
    """How this very request came here, against the public URL."""
    came = f"{request.scheme}://{request.get_host()}"
    evidence = f"from {request.META.get('REMOTE_ADDR', 'an unknown address')}"
    if urlsplit(came)[:2] == urlsplit(url)[:2]:
        line = Line("arrived", State.OK, f"Your browser came by the public URL, {came}.", evidence=evidence)
    else:
        sentence = f"Your browser came by {came}, not by the public URL."
        mend = f"Nothing is wrong if you meant to. Other people are led to {url}."
        line = Line("arrived", State.NOTE, sentence, mend, evidence)
    return (*_SHOWN[line.state][:2], line)
