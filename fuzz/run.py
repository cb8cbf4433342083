"""Run the fuzz targets one after the other, each for a limited time: ``python fuzz/run.py [--seconds N] [TARGET…]``.

The exit code is 1 if a target has a finding. For each finding, the output names the input file and the command that
repeats it. The inputs that reach new code are kept in ``.fuzz/`` for the next run. The seeds are written again in each
run, from the test vectors.
"""

import argparse
import hashlib
import re
import subprocess
import sys
from pathlib import Path

from hostile import targets

_ROOT = Path(__file__).parents[1]
_FOLDER = _ROOT / ".fuzz"
#: Bytes of the longest input. A fuzzer learns faster from small inputs; ``tests/fuzz`` tests the limits of the readers.
_MAX_INPUT = 16_384
_MAX_SECONDS_AN_INPUT = 10
_RSS_LIMIT_MB = 1_024
#: Seconds that a target may need in addition, to start and to end.
_PATIENCE = 120
#: Parts of the formats, which the fuzzer would not find by changing bits.
_WORDS = (
    *(f'"{name}":' for name in ("buffers", "objects", "error", "seconds", "size", "pieces", "id", "key", "sha256")),
    *(f'"{name}":' for name in ("code", "text", "reference", "wait", "open", "created", "expires", "group", "answers")),
    *("SYFTFLWR", '"mlkem768-x25519"', '"none"', "2030-01-01T12:00:00.000+00:00", "0001-01-01", "-0", "1e308", "NaN"),
    *("\\ud800", "\\u0000", "[[", "]]", "{}", "[]", "null", "true", "18446744073709551616"),
    *(
        "\x93NUMPY\x01\x00",
        "'descr': ",
        "'fortran_order': ",
        "'shape': ",
        "'<f4'",
        "'|O'",
        "'<M8[s]'",
        "'|V4'",
        "(2, 3)",
    ),
    *("[('a', '<f4')]", "('<f4', (2,))", "/0]", "True", "(-1,)", "0xffffffffffffffffffff", "L,", "'<U1'", "-" * 16),
)
_STATISTICS = re.compile(r"^#\d+\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)", re.M)
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_ARTIFACT = re.compile(r"Test unit written to (\S+)")


def main() -> int:
    """Return 0 if no target has a finding, otherwise 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="time for each target (default: 60)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(targets.NAMES)} (default: all)")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(targets.NAMES):
        parser.error(f"unknown targets: {', '.join(sorted(unknown))}")
    _FOLDER.mkdir(exist_ok=True)
    (_FOLDER / ".gitignore").write_text("*\n")
    words = _FOLDER / "words.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in _WORDS))
    found = [name for name in arguments.targets or targets.NAMES if not _fuzz(name, arguments.seconds, words)]
    if found:
        print(f"targets with findings: {', '.join(found)}")
    return 1 if found else 0


def _fuzz(name: str, seconds: int, words: Path) -> bool:
    """Run one target and print its result; return True if it has no finding."""
    folder = _FOLDER / name
    learned, seeds, findings = (folder / part for part in ("learned", "seeds", "findings"))
    for part in (learned, seeds, findings):
        part.mkdir(parents=True, exist_ok=True)
    for data in targets.load(name).seeds():
        (seeds / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    command = [sys.executable, str(Path(__file__).with_name("one.py")), name]
    options = [
        str(learned),
        str(seeds),
        f"-max_total_time={seconds}",
        f"-artifact_prefix={findings}/",
        f"-dict={words}",
        f"-max_len={_MAX_INPUT}",
        f"-timeout={_MAX_SECONDS_AN_INPUT}",
        f"-rss_limit_mb={_RSS_LIMIT_MB}",
        "-print_final_stats=1",
    ]
    log = folder / "log"
    code = _run([*command, *options], log, seconds + _PATIENCE)
    text = log.read_text(errors="replace")
    print(f"{name:12} {_summary(text)}", flush=True)
    if code == 0:
        return True
    print(f"  FOUND ({code}); log: {log.relative_to(_ROOT)}")
    for artifact in _ARTIFACT.findall(text):
        print(f"  input: {artifact}\n  repeat with: {' '.join(command)} {artifact}")
    return False


def _run(command: list[str], log: Path, seconds: int) -> int | str:
    """Run a target; return 0 if it has no finding, otherwise a text with the reason."""
    with log.open("w") as output:
        try:
            result = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            # libFuzzer stops an input that takes too long, but not a mutation or a call that blocks signals.
            return "stopped: the target did not end in time"
    return result.returncode and f"exit code {result.returncode}"


def _summary(text: str) -> str:
    executed = _EXECUTED.findall(text)
    statistics = _STATISTICS.findall(text)
    if not statistics:
        return "the target ended before its first input"
    (cov, _, _), (cov_end, features, corpus) = statistics[0], statistics[-1]
    runs = executed[-1] if executed else "?"
    return f"{runs:>9} runs, coverage {cov} -> {cov_end}, {features} features, {corpus} inputs"


def _escaped(word: str) -> str:
    """Return a word in the escaped form of a libFuzzer dictionary."""
    plain = (byte for byte in word.encode("latin-1"))
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in plain)


if __name__ == "__main__":
    sys.exit(main())
