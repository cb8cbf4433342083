"""Run one target under libFuzzer: ``python fuzz/one.py TARGET [libFuzzer's arguments]``.

With a file as argument, it runs only this input. ``run.py`` starts this script for each target in a separate process,
because a crash of the process is a finding too.
"""

import sys
import warnings

import atheris

#: The packages that atheris instruments to measure coverage. It cannot instrument the native parsers of pydantic,
#: protobuf and OpenSSL.
_INSTRUMENTED = ["syft_flwr", "flwr.common", "flwr.app", "numpy.lib.format", "numpy.lib._format_impl", "ast"]


def main() -> None:
    """Fuzz the target until a limit of the arguments is reached or an input breaks a rule."""
    # Warnings and logs are off, because a target causes thousands of refusals each second.
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=_INSTRUMENTED):
        from hostile import targets
        from hostile.invariants import bounded_memory, release

        target = targets.load(sys.argv[1])
    from loguru import logger

    logger.remove()
    # A first check fills all caches, so that their memory does not count against the first input.
    target.check(next(target.seeds()))
    release()

    def check(data: bytes) -> None:
        with bounded_memory():
            target.check_bounded(data)

    mutate = target.mutate
    custom = {}
    if mutate is not None:
        custom["custom_mutator"] = lambda data, size, seed: mutate(data, size, seed, atheris.Mutate)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], check, **custom)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
