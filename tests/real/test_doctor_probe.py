"""Over the real SyftBox: the probe file of the doctor shows whether a client really syncs, and reaches no other participant."""

from collections.abc import Callable

import pytest
from examined import check, only_problem
from real_syftbox import RealSyftBox
from realkit.federation import DS, OWNERS
from waiting import eventually

from syft_flwr.config import load_settings
from syft_flwr.doctor import syftbox_checks
from syft_flwr.doctor.subject import Subject

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def subject_of(network: RealSyftBox) -> Subject:
    settings = load_settings(environ=network.environment(DS), app_name="trial", aggregator=DS, datasites=OWNERS)
    return Subject(settings)


def probes(network: RealSyftBox) -> list[str]:
    return [str(path) for email in (DS, *OWNERS) for path in network.datasites(email).rglob("*_internal*")]


def test_real_client_takes_over_the_probe(connect: Callable[..., RealSyftBox]) -> None:
    network = connect()
    (found,) = check("syftbox-sync", subject_of(network))
    assert found.state == "ok", found
    # Twice: each probe must have a name and a content that the client does not know yet.
    (found,) = check("syftbox-sync", subject_of(network))
    assert found.state == "ok", found
    assert probes(network) == []


def test_real_client_that_syncs_nothing_is_a_problem(
    connect: Callable[..., RealSyftBox], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = connect()
    monkeypatch.setattr(syftbox_checks, "_PATIENCE", 8.0)
    network.server.pause()
    assert "runs, but took over no probe file" in only_problem(check("syftbox-sync", subject_of(network))).text
    network.server.resume()
    network.clients[DS].kill()
    eventually(lambda: check("syftbox-client", subject_of(network))[0].state == "problem", "the end of the client")
    (stopped,) = check("syftbox-sync", subject_of(network))
    assert (stopped.state, stopped.waits_for) == ("skipped", "syftbox-client")
    assert "no SyftBox client took over" in stopped.text
    assert probes(network) == []
