from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certs.domain.diagnosis import (
    TOPICS,
    Line,
    Situation,
    State,
    bad,
    document,
    fine,
    line_document,
    line_read,
    lines_sorted,
    look,
    note,
    unknown,
    worst_state,
)

SITUATION = Situation("node", Path("/nowhere"), 1.0)


@look("files", seconds=2, database=False)
def room_left(situation: Situation) -> Iterator[Line]:
    """Whether there is room."""
    yield fine("room", "Yes.")


def test_a_look_is_called_like_its_function_and_gives_lines_of_its_topic() -> None:
    assert (room_left.code, room_left.about, room_left.seconds, room_left.database) == (
        "room-left",
        "Whether there is room",
        2,
        False,
    )
    assert room_left(SITUATION) == [Line("room", State.OK, "Yes.", topic="files")]
    assert room_left.could_not("it is dark") == Line(
        "room-left", State.UNKNOWN, "Whether there is room: it is dark.", topic="files"
    )


def test_a_look_without_words_or_of_no_topic_is_refused() -> None:
    def silent(situation: Situation) -> list[Line]:
        return []

    with pytest.raises(ValueError, match="docstring"):
        look("files")(silent)
    with pytest.raises(ValueError, match="TOPICS"):
        look("weather")


def test_lines_are_told_by_topic_and_the_worst_first() -> None:
    def of(topic: str, *lines: Line) -> list[Line]:
        return [Line(line.code, line.state, line.sentence, topic=topic) for line in lines]

    mixed = [
        *of("cas", fine("a", "")),
        *of("files", fine("b", ""), unknown("c", ""), bad("d", "", ""), note("e", ""), bad("f", "", "")),
        *of("settings", unknown("g", "")),
    ]
    assert [line.code for line in lines_sorted(mixed)] == ["g", "d", "f", "e", "c", "b", "a"]
    assert worst_state(mixed) == State.BAD
    assert worst_state(mixed[:1]) == State.OK
    assert worst_state([]) == State.OK


def test_the_document_tells_all_of_it() -> None:
    line = Line("disk", State.BAD, "Full.", "Make room.", "0 bytes", "files")
    found = document([line], node="n1", version="9", made_at=datetime(2026, 1, 2, tzinfo=UTC))
    assert found == {
        "format": 1,
        "version": "9",
        "node": "n1",
        "made_at": "2026-01-02T00:00:00+00:00",
        "result": "bad",
        "counts": {"bad": 1, "note": 0, "unknown": 0, "ok": 0},
        "lines": [
            {
                "topic": "files",
                "code": "disk",
                "state": "bad",
                "sentence": "Full.",
                "mend": "Make room.",
                "evidence": "0 bytes",
            }
        ],
    }


def test_a_line_that_another_node_stored_is_read_again_whatever_it_holds() -> None:
    line = Line("disk", State.BAD, "Full.", "Make room.", "0 bytes", "files")
    assert line_read(line_document(line)) == line
    strange = line_read({"state": "purple", "topic": "weather", "sentence": "?"})
    assert strange.state == State.UNKNOWN
    assert strange.topic in TOPICS
