"""The report of a run: right under faults, inert, complete, small, and in one file that needs no network."""

import base64
import hashlib
import html
import re
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_runs import DS, PageWords, SyntheticHome, begun, emails, failed_reply, serving, training, words_of

from syft_flwr import write_report
from syft_flwr._store.states import RunState
from syft_flwr.errors import ConfigError
from syft_flwr.runs.events import LoggedWarning, RequestRefused, RequestSent, RoundStarted, RunEnded


@pytest.fixture
def home(tmp_path: Path) -> SyntheticHome:
    return SyntheticHome(tmp_path / "base")


def written(home: SyntheticHome, role: str = "aggregator") -> str:
    return write_report(home.open(role), home.base / "report.html").read_text(encoding="utf-8")


def test_report_of_a_good_run_has_all_parts(home: SyntheticHome) -> None:
    home.serve()
    home.record(training(emails(2), 3))

    page = written(home)
    words = words_of(page)

    assert "The run was completed after 10.9 s." in words
    for title in ("Metrics", "Timeline", "Data owners", "Requests", "Configuration", "Versions and keys", "The record"):
        assert f">{title}</h2>" in page
    assert ">Failures</h2>" not in page
    # Values of the whole run and of a data owner, a phase, the bytes, a setting, a version and a fingerprint.
    for text in ("0.3333", "0.3667", "51234", "msg_timeout", "1.42.0", "6OHT YEWX 3YXH"):
        assert text in words, text
    assert page.count("<svg role=") == 6


def test_report_needs_no_network_and_no_script(home: SyntheticHome) -> None:
    home.serve()
    home.record(training(emails(2), 2))

    page = written(home)

    style = re.search("<style>(.*?)</style>", page, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"content=\"default-src 'none'; style-src 'sha256-{digest}'\"" in page
    read = PageWords(page)
    assert not {"script", "link", "img", "iframe", "object", "use", "image"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on") or name in ("src", "style", "srcset")]
    assert all(str(value).startswith("#") for name, value in read.attributes if name.endswith("href"))
    assert "url(" not in style[1]
    assert "://" not in page


def test_failed_run_tells_the_cause_first(home: SyntheticHome) -> None:
    home.serve(RunState.FAILED, "no good reply to 2 train requests")
    owners = emails(2)
    home.record(
        [
            begun(),
            RoundStarted("1", 3),
            *(RequestSent(owner, owner, "train", round="1", bytes=9) for owner in owners),
            *(failed_reply(owner, owner) for owner in owners),
            RunEnded("failed", "no good reply to 2 train requests"),
        ]
    )

    words = words_of(written(home))

    first = words.index("The run failed after")
    assert (
        first
        < words.index("Cause. no good reply to 2 train requests")
        < words.index("1 train request failed in round 1")
    )
    assert words.index("the ClientApp raised ValueError") < words.index("Good replies")
    assert "4711c0ffee12" in words


def test_report_of_a_data_owner_tells_asked_and_left(home: SyntheticHome) -> None:
    home.serve(role="datasite")
    home.record(serving(3), "datasite")

    words = words_of(written(home, "datasite"))

    for text in (
        "Requests and the replies that left",
        "arrays, metrics",
        "400",
        "loss 0.3333",
        "0000000000000000",
        "61234",
    ):
        assert text in words, text


def test_lost_record_is_told(home: SyntheticHome) -> None:
    home.serve(RunState.FAILED, "the disk was full")

    words = words_of(written(home))

    assert "The run failed" in words
    assert "Cause. the disk was full" in words
    assert "The record of this run is missing" in words
    assert "Good replies" not in words


def test_report_is_private_and_replaces_only_a_report(home: SyntheticHome, tmp_path: Path) -> None:
    home.serve()
    home.record(training(emails(1), 1))
    path = tmp_path / "mine.html"

    assert write_report(home.open(), path) == write_report(home.open(), path) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("<html>my page</html>")
    with pytest.raises(ConfigError, match="is not a report"):
        write_report(home.open(), path)
    assert path.read_text() == "<html>my page</html>"


def test_hostile_texts_are_inert(home: SyntheticHome) -> None:
    hostile = "</script><svg onload=alert(1)>]]>\u202egnp.exe" + "x" * 400
    home.serve(RunState.FAILED, hostile)
    owner = "</td>@x.org"
    home.record(
        [
            begun(**{hostile: hostile}),
            RoundStarted(hostile[:50], 3),
            RequestSent("a", owner, hostile[:60], round=hostile[:50], bytes=9),
            failed_reply("a", owner, hostile[:60], text=hostile),
            RunEnded("failed", hostile),
        ]
    )

    page = written(home)

    assert "<svg onload" not in page
    assert "\u202e" not in page
    assert html.escape("</script><svg onload=alert(1)>") in page
    assert not [name for name, _ in PageWords(page).attributes if name.startswith("on")]


def test_values_that_look_like_secrets_are_hidden(home: SyntheticHome) -> None:
    home.serve()
    start = replace(
        begun(worker_command="conda run --api-key hunter22222"),
        run_config={"lr": 0.25, "api-token": "hunter33333", "store": "https://ann:hunter44444@host/x"},
    )
    home.record([start, RunEnded("completed")])

    words = words_of(written(home))

    assert "hunter" not in words
    for text in ("lr 0.25", "api-token ***", "https://***@host/x", "--api-key ***"):
        assert text in words, text


def test_secrets_in_texts_of_apps_are_hidden(home: SyntheticHome) -> None:
    text = "cannot open postgres://ann:hunter55555@db/x?n=1 with --token hunter66666"
    home.serve(RunState.FAILED, text)
    owner = emails(1)[0]
    asked = RequestSent("a", owner, "train", round="1", bytes=9)
    home.record(
        [
            begun(),
            asked,
            failed_reply("a", owner, text=text),
            LoggedWarning("ERROR", text, ""),
            RunEnded("failed", text),
        ]
    )
    home.serve(RunState.FAILED, text, role="datasite")
    home.record([begun("datasite"), RequestRefused("a.json", DS, "app-raised", text)], "datasite")

    for role in ("aggregator", "datasite"):
        words = words_of(written(home, role))
        assert "hunter" not in words
        assert "cannot open postgres://***@db/x?n=1 with --token ***" in words


def test_configuration_has_all_digits(home: SyntheticHome) -> None:
    home.serve()
    values = {"lr": 0.00012345, "seed": 1 << 62, "layers": list(range(12)), "is-fast": True, "name": "a"}
    home.record([replace(begun(), run_config=values), RunEnded("completed")])

    words = words_of(written(home))

    layers = "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"
    for text in ("lr 0.00012345", f"seed {1 << 62}", f"layers [{layers}]", "is-fast true", "name a"):
        assert text in words, text


def test_missing_package_names_the_command(home: SyntheticHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.serve()
    home.record(training(emails(1), 1))
    monkeypatch.setitem(sys.modules, "vl_convert", None)

    with pytest.raises(ConfigError, match="a report needs the package vl-convert-python") as failed:
        written(home)
    assert failed.value.hint == "Run: pip install 'vl-convert-python>=1.9'"
    assert not (home.base / "report.html").exists()
