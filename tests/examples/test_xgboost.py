"""examples/xgboost: the model has the trees of all clinics, and recognises malignant tumours."""

from typing import Any

import numpy as np
import pytest

xgboost = pytest.importorskip("xgboost", reason="make examples installs XGBoost")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_model_has_the_trees_of_all_clinics(trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.metrics import roc_auc_score

    federation = trial("xgboost")
    from xgboost_tumours import task

    federation.run()

    content = (federation.output / "model.json").read_bytes()
    model = xgboost.Booster(task.TREES, model_file=bytearray(content))
    # One tree of each of three clinics in each of ten rounds.
    assert len(model.get_dump()) == 3 * 10
    labels, scores = [], []
    for folder in federation.data("private"):
        monkeypatch.setenv("DATA_DIR", str(folder))
        _, held_out = task.load_tumours(federation.context())
        labels.append(held_out.get_label())
        scores.append(model.predict(held_out))
    assert roc_auc_score(np.concatenate(labels), np.concatenate(scores)) > 0.97


def test_simulated_node_gets_its_part_of_the_tumours(trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = trial("xgboost")
    from xgboost_tumours import task

    for number, folder in enumerate(federation.data("private")):
        monkeypatch.delenv("DATA_DIR", raising=False)
        parts = task.load_tumours(federation.context(**{"partition-id": number, "num-partitions": 3}))
        monkeypatch.setenv("DATA_DIR", str(folder))
        for part, file in zip(parts, task.load_tumours(federation.context()), strict=True):
            assert part.num_row() == file.num_row() > 40
            np.testing.assert_array_equal(part.get_label(), file.get_label())
