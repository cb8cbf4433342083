"""The hint of an error reaches a person wherever Python shows the error."""

import traceback

from syft_flwr.errors import ConfigError, StoreError


def test_hint_is_below_the_traceback() -> None:
    shown = "".join(traceback.format_exception(StoreError("the file is damaged", hint="Restore it.")))
    assert shown.endswith("StoreError: the file is damaged\nRestore it.\n")


def test_error_without_a_hint_has_no_note() -> None:
    assert not hasattr(ConfigError("wrong"), "__notes__")
    assert ConfigError("wrong").diagnose() == "wrong"
