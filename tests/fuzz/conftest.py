"""Put ``fuzz/`` on the import path. The targets have a folder of their own, because ``make fuzz`` needs no pytest."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fuzz"))
pytest.register_assert_rewrite("hostile")
