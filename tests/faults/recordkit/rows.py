"""Lets the fault of a row happen, and checks the records, the status and the doctor of both sides."""

from pathlib import Path

from recordkit.examining import difference
from recordkit.expected import Expected, missing
from recordkit.reading import NO_RUN, assert_agree, assert_sound
from recordkit.reports import assert_reported
from recordkit.scene import Fault, Scene, open_scene
from recordkit.status import has_all, missing_screen

from syft_flwr.runs.entry import RecordEntry


def assert_told(fault: Fault, folder: Path, logged: list[str]) -> None:
    """Let the fault happen in a new federation, and check all columns of its row."""
    with open_scene(fault, folder, logged) as scene:
        fault.inject(scene)
        for email in scene.sides:
            if email not in scene.findings:
                scene.examine(email)
    aggregator, owner = map(scene.records_of, scene.sides)
    run = scene.run
    sides = ((aggregator, fault.aggregator, fault.never[0]), (owner, fault.data_owner, fault.never[1]))
    names: dict[str, object] = {}
    for (records, expected, never), state in zip(sides, fault.ends, strict=True):
        entries = records.of(run)
        names = assert_holds(tuple(expected), entries, names)
        assert not [entry for entry in entries if entry.event in never], told(entries)
        row = records.recorded().get(run)
        assert (row.state if row else "") == state, told(entries)
        for each in records.recorded():
            assert_sound(records, each)
    outside = owner.of(NO_RUN)
    assert_holds(tuple(fault.no_run), outside, names)
    assert fault.no_run or not [entry for entry in outside if entry.event == "request-refused"], told(outside)
    assert_agree(aggregator.of(run), owner.of(run))
    assert_seen(fault, scene)
    for email, records in zip(scene.sides, (aggregator, owner), strict=True):
        if entries := records.of(run):
            assert_reported(scene.settings_of(email), run, records.role, entries)


def assert_seen(fault: Fault, scene: Scene) -> None:
    """Check the screens of ``status`` and the findings of ``doctor`` at both sides."""
    for email, expected, findings in zip(scene.sides, fault.status, fault.doctor, strict=True):
        screens = scene.screens_of(email)
        nowhere = missing_screen(expected.during, screens)
        assert not nowhere, f"no screen with {nowhere} in\n" + "\n".join(dict.fromkeys(each.text for each in screens))
        last = scene.last_look(email)
        assert has_all(last, expected.after), f"{expected.after} is not in\n{last}"
        wrong = difference(findings, scene.findings[email])
        assert not wrong, f"{email}: {wrong}"


def told(entries: list[RecordEntry]) -> str:
    """Return a record for people, for the message of a failed test."""
    return "\n".join(f"{entry.n:3} {entry.event} {dict(entry.fields)}" for entry in entries)


def assert_holds(
    expected: tuple[Expected, ...], entries: list[RecordEntry], names: dict[str, object]
) -> dict[str, object]:
    nowhere, names = missing(expected, entries, names)
    assert not nowhere, f"no {nowhere}\nin\n{told(entries)}\nwith {names}"
    return names
