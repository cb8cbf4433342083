"""The readers and their rules lie in ``fuzz/``, because ``make fuzz`` needs them without pytest."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fuzz"))
pytest.register_assert_rewrite("hostile")
