"""Checkpoints of a training: the kit is ``checkpointkit``, beside this file."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("checkpointkit.models", "checkpointkit.scripted")
