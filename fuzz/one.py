"""One target under libFuzzer: ``python fuzz/one.py TARGET [libFuzzer's arguments]``; with a file, that input alone.

``run.py`` calls this once a target, each in a process of its own, because a reader that brings the process down is a
finding too.
"""

import sys
import warnings

import atheris

#: What is instrumented, so that new ways through it are noticed. The parsers of pydantic, protobuf and OpenSSL are native.
_INSTRUMENTED = ["syft_flwr", "flwr.common", "flwr.app", "numpy.lib.format", "numpy.lib._format_impl", "ast"]


def main() -> None:
    """Fuzz until the arguments say that it is enough, or something is found."""
    # Not Flower's telemetry, nor its logs, nor ours: thousands of refusals a second would be written.
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=_INSTRUMENTED):
        from hostile import targets
        from hostile.invariants import bounded_memory, release

        target = targets.load(sys.argv[1])
    from loguru import logger

    logger.remove()
    # What is made once and kept is made here, and not counted against the first input.
    target.check(next(target.seeds()))
    release()

    def check(data: bytes) -> None:
        with bounded_memory():
            target.check(data)

    mutate = target.mutate
    custom = {}
    if mutate is not None:
        custom["custom_mutator"] = lambda data, size, seed: mutate(data, size, seed, atheris.Mutate)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], check, **custom)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
