"""The reference is correct: its results equal those of the algorithms, computed here in plain NumPy."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from conformance_apps import faulty, privacy, secure_aggregation, task
from federations.case import PROJECT, Case, Outcome, assert_identical, datasites, fused_run_config, node_id
from federations.cases import CASES
from federations.reference import EngineFederation, ReferenceFederation
from flwr.common.constant import ErrorCode
from flwr.supercore.object_ref import load_app
from flwr.supercore.task_identity import TaskIdentity

CONFIG = fused_run_config({})
SEED, FEATURES, ROUNDS = int(CONFIG["seed"]), int(CONFIG["data.features"]), int(CONFIG["num-server-rounds"])

Reference = Callable[[str], Outcome]
#: (round, received model, partition) -> the model that the partition sends
Client = Callable[[int, task.Model, int], task.Model]
#: (round, received model, sent models, weights) -> the next model
Server = Callable[[int, task.Model, list[task.Model], list[float]], task.Model]


def train(server_round: int, model: task.Model, partition: int, **options: Any) -> task.Model:
    data = task.load(partition, FEATURES, SEED)
    return task.train(model, data, learning_rate=CONFIG["learning-rate"], steps=CONFIG["local-steps"], **options)


def average(server_round: int, model: task.Model, sent: Sequence[task.Model], weights: Sequence[float]) -> task.Model:
    return [sum(w * values for w, values in zip(weights, layer, strict=True)) for layer in zip(*sent, strict=True)]


def work_out(
    clients: int, client: Client = train, server: Server = average, absent: tuple[int, int] | None = None
) -> task.Model:
    """Run the rounds one after another; ``absent`` is a round and the partition that is missing in it."""
    model = task.initial_model(FEATURES)
    for server_round in range(1, ROUNDS + 1):
        present = [partition for partition in range(clients) if (server_round, partition) != absent]
        sizes = [task.partition_size(partition) for partition in present]
        sent = [client(server_round, model, partition) for partition in present]
        model = server(server_round, model, sent, [size / sum(sizes) for size in sizes])
    return model


def assert_model(outcome: Outcome, expected: task.Model, tolerance: float = 0.0) -> None:
    for found, values in zip(outcome.arrays.values(), expected, strict=True):
        np.testing.assert_allclose(found, values, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["fedavg", "legacy"])
def test_both_apis_average_by_size(reference: Reference, name: str) -> None:
    assert_model(reference(name), work_out(3))


@pytest.mark.parametrize("name", ["fedavg-one-fails", "legacy-one-fails"])
def test_failed_client_is_left_out_of_one_round(reference: Reference, name: str) -> None:
    assert_model(reference(name), work_out(4, absent=(2, 3)))


def test_every_strategy_reduces_the_loss(reference: Reference) -> None:
    for name in ("fedavg", "fedadam", "fedprox", "krum"):
        losses = [metrics["loss"] for metrics in reference(name).history["evaluate_metrics_serverapp"].values()]
        assert len(losses) == ROUNDS + 1
        assert losses[-1] < losses[0], name


def test_client_state_lasts_between_messages(reference: Reference) -> None:
    metrics = reference("fedavg").history["train_metrics_clientapp"]
    assert [metrics[str(r)]["visits"] for r in range(1, ROUNDS + 1)] == [1, 2, 3]


def test_context_has_the_run_and_node_of_its_message(reference: Reference) -> None:
    metrics = reference("fedavg").history["train_metrics_clientapp"]
    assert [metrics[str(r)]["addressed"] for r in range(1, ROUNDS + 1)] == [1, 1, 1]


def test_fedprox_pulls_clients_to_the_global_model(reference: Reference) -> None:
    def prox(server_round: int, model: task.Model, partition: int) -> task.Model:
        return train(server_round, model, partition, proximal_mu=0.25)

    assert_model(reference("fedprox"), work_out(3, prox))


def test_fedadam_uses_both_moments(reference: Reference) -> None:
    eta, beta_1, beta_2, tau = 0.25, 0.9, 0.99, 1e-3
    moments: list[list[Any]] = [[0.0, 0.0], [0.0, 0.0]]

    def adam(server_round: int, model: task.Model, sent: list[task.Model], weights: list[float]) -> task.Model:
        stepped = []
        rate = eta * np.sqrt(1 - beta_2 ** (server_round + 1)) / (1 - beta_1 ** (server_round + 1))
        for i, (old, new) in enumerate(zip(model, average(server_round, model, sent, weights), strict=True)):
            moments[0][i] = beta_1 * moments[0][i] + (1 - beta_1) * (new - old)
            moments[1][i] = beta_2 * moments[1][i] + (1 - beta_2) * (new - old) ** 2
            stepped.append(old + rate * moments[0][i] / (np.sqrt(moments[1][i]) + tau))
        return stepped

    assert_model(reference("fedadam"), work_out(3, server=adam), tolerance=1e-12)


def test_krum_excludes_a_malicious_client(reference: Reference) -> None:
    def lie(server_round: int, model: task.Model, partition: int) -> task.Model:
        trained = train(server_round, model, partition)
        return [task.on_grid(-8 * values) for values in trained] if partition == 4 else trained

    def krum(server_round: int, model: task.Model, sent: list[task.Model], weights: list[float]) -> task.Model:
        flat = np.stack([np.concatenate(one) for one in sent])
        distances = ((flat[:, None] - flat[None]) ** 2).sum(axis=2)
        scores = np.sort(distances, axis=1)[:, 1:3].sum(axis=1)
        assert np.argmax(scores) == 4
        return sent[int(np.argmin(scores))]

    assert_model(reference("krum"), work_out(5, lie, krum))


def clip(model: task.Model, trained: task.Model) -> task.Model:
    update = [new - old for new, old in zip(trained, model, strict=True)]
    norm = np.sqrt(sum(float(np.sum(values**2)) for values in update))
    assert norm > privacy.CLIPPING_NORM
    return [
        (old + values * (privacy.CLIPPING_NORM / norm)).astype(old.dtype)
        for old, values in zip(model, update, strict=True)
    ]


def test_fixed_clipping_bounds_updates_and_adds_noise(reference: Reference) -> None:
    def clipped(server_round: int, model: task.Model, partition: int) -> task.Model:
        return [task.on_grid(values) for values in clip(model, train(server_round, model, partition))]

    def noisy(server_round: int, model: task.Model, sent: list[task.Model], weights: list[float]) -> task.Model:
        noise = np.random.RandomState([SEED, server_round])
        return [
            values + noise.normal(0, 0.5 * privacy.CLIPPING_NORM / 3, values.shape).astype(values.dtype)
            for values in average(server_round, model, sent, weights)
        ]

    assert_model(reference("fixed-clipping"), work_out(3, clipped, noisy), tolerance=2**-18)


def test_local_dp_clips_and_adds_client_noise(reference: Reference) -> None:
    deviation = 0.1 * np.sqrt(2 * np.log(1.25 / 1e-5)) / 10

    def private(server_round: int, model: task.Model, partition: int) -> task.Model:
        noise = np.random.RandomState([SEED, partition, server_round])
        return [
            task.on_grid(values + noise.normal(0, deviation, values.shape).astype(values.dtype))
            for values in clip(model, train(server_round, model, partition))
        ]

    assert_model(reference("local-dp"), work_out(3, private), tolerance=2**-18)


def test_message_size_mods_only_log(reference: Reference, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="flwr"):
        outcome = ReferenceFederation().run(CASES["message-sizes"])
    assert caplog.text.count("Outgoing message size: ") == ROUNDS * 3
    assert caplog.text.count("Total array elements sent: ") == ROUNDS * 3
    assert_identical(outcome, reference("fedavg"))


# Each value of five clients is rounded to one step of the quantised range.
_QUANTISATION = 5 * 2 * secure_aggregation.CLIPPING_RANGE / secure_aggregation.QUANTIZATION_RANGE


def test_secure_aggregation_averages_by_size(reference: Reference) -> None:
    assert_model(reference("secure-aggregation"), work_out(5), tolerance=ROUNDS * _QUANTISATION)


def test_secure_aggregation_recovers_from_a_drop_out(reference: Reference) -> None:
    outcome = reference("secure-aggregation-with-a-drop-out")
    expected = work_out(5, absent=(2, 4))
    # The float32 grid of the intercept is coarser than the quantisation, so a value can be one grid step away.
    assert_model(outcome, expected, tolerance=ROUNDS * _QUANTISATION + 2**-10)
    with pytest.raises(AssertionError):
        assert_model(outcome, work_out(5), tolerance=ROUNDS * _QUANTISATION + 2**-10)


def test_queries_return_the_requested_values(reference: Reference) -> None:
    history = reference("queries").history
    nodes = sorted(node_id(email) for email in datasites(3))
    assert history["nodes"] == nodes
    assert history["metadata"] == [[node, True, True, True, "query.stats", "statistics", True] for node in nodes]
    assert history["echoed"] == {str(node): [] for node in nodes}
    assert history["unknown"] == {str(node): ErrorCode.CLIENT_APP_RAISED_EXCEPTION for node in nodes}
    for partition, email in enumerate(datasites(3)):
        column = task.load(partition, FEATURES, SEED)[0][:, 1]
        assert history["stats"][str(node_id(email))]["sum"] == column.sum()


@pytest.mark.parametrize("name", ["fedavg-one-fails", "queries", "secure-aggregation-with-a-drop-out"])
def test_simulation_engine_gives_the_same_result(reference: Reference, name: str) -> None:
    assert_identical(EngineFederation().run(CASES[name]), reference(name))


def test_client_that_raises_answers_the_next_message() -> None:
    case = Case("conformance_apps.faulty:server_app", "conformance_apps.faulty:client_app")
    history = ReferenceFederation().run(_behaving(case, "raise-error")).history
    first, *others = sorted(str(node) for node in map(node_id, datasites(3)))
    assert history["misbehaved"][first]["error"] == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert all("answer" in history["misbehaved"][node] for node in others)
    assert all("answer" in found for found in history["afterwards"].values())
    assert len(history["afterwards"]) == 3


def test_server_app_error_leaves_nothing_running() -> None:
    threads = threading.active_count()
    case = Case("conformance_apps.faulty:raising_server_app", "conformance_apps.faulty:client_app")
    with pytest.raises(RuntimeError, match="the ServerApp was told to fail"):
        ReferenceFederation().run(case)
    assert threading.active_count() == threads
    with pytest.raises(RuntimeError, match="run_id is not set"):
        _ = TaskIdentity.run_id


def test_load_app_checks_the_import_but_not_the_type() -> None:
    assert load_app("conformance_apps.faulty:not_an_app", ValueError, PROJECT) == "a string"
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_installed"):
        load_app("conformance_apps.unimportable:client_app", ValueError, PROJECT)


def test_fatal_behaviours_have_the_expected_exit_code() -> None:
    script = """
import json, os, sys
from conformance_apps import faulty
found = {}
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        faulty.BEHAVIOURS[name](None)
        os._exit(0)
    found[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(found))
"""
    names = ["exit-at-once", "be-killed", "crash"]
    assert set(names) < set(faulty.BEHAVIOURS)
    done = subprocess.run(
        [sys.executable, "-c", script, *names], cwd=PROJECT, check=True, capture_output=True, text=True, timeout=60
    )
    assert json.loads(done.stdout) == {"exit-at-once": 3, "be-killed": -9, "crash": -11}


def _behaving(case: Case, behaviour: str) -> Case:
    return Case(case.server_app, case.client_app, case.clients, {"behaviour": behaviour})
