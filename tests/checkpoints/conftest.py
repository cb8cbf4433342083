"""Put ``checkpointkit`` on the import path of the checkpoint tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("checkpointkit.models", "checkpointkit.scripted")
