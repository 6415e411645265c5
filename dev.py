#!/usr/bin/env python3
"""One command for each thing that a developer does; `make help` lists them.

It makes a virtual environment, installs the pinned packages into it, then runs the tool that was asked for. It knows
nothing of the proxy itself. Standard library only, and old syntax, so that any Python 3 can say what is missing.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Tuple

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "installed.json"
RUNTIME = "requirements.lock"
DEV = "requirements-dev.lock"
"""Holds everything of `RUNTIME`, in the same versions, and the tools."""
VERSIONS = ((3, 11), (3, 12), (3, 13), (3, 14))
"""The Pythons for which every locked package has a wheel."""
COMPILED = "build/compiled"
FAST_TESTS = ["tests/core", "tests/sim", "tests/config", "tests/dataplane", "tests/ledger"]
WIRE_TESTS = "tests/e2e/wire"
"""Real processes, but nothing that depends on their speed."""


class Command(NamedTuple):
    """Something that can be asked for by name."""

    does: Callable[[], int]
    lock: Optional[str]
    help: str


# Set-up


def main(arguments: List[str]) -> int:
    """Run the command that is named first; the rest goes to the tool that it starts."""
    name = arguments[0] if arguments else "help"
    if name not in COMMANDS:
        print(f"There is no command {name!r}.", file=sys.stderr)
        show_help()
        return 2
    os.chdir(str(ROOT))
    os.environ["ARGS"] = " ".join([*map(shlex.quote, arguments[1:]), os.environ.get("ARGS", "")]).strip()
    command = COMMANDS[name]
    if command.lock:
        prepare(command.lock)
    return command.does()


def prepare(lock: str) -> None:
    """Make sure that the virtual environment holds what `lock` names."""
    with one_at_a_time():
        if installed().get("for") != whereabouts():
            make_environment()
        if not any(installed().get(name) == digest(name) for name in (lock, DEV)):
            install(lock)
            # Only what was put in last is known to be whole.
            write_stamp({"for": whereabouts(), lock: digest(lock)})


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let a second command wait while a first one sets up."""
    with Path(__file__).open() as itself:
        fcntl.flock(itself, fcntl.LOCK_EX)
        yield


def digest(lock: str) -> str:
    """What changes when a lock file changes."""
    return hashlib.sha256((ROOT / lock).read_bytes()).hexdigest()


def whereabouts() -> str:
    """What must not change under a virtual environment: where the project lies, and which Python it stands on."""
    return f"{ROOT} on {(VENV / 'bin/python').resolve()}"


def installed() -> Dict[str, str]:
    """What the environment holds, as noted when it was filled."""
    try:
        stamp: Dict[str, str] = json.loads(STAMP.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return stamp


def write_stamp(stamp: Dict[str, str]) -> None:
    """Note what the environment holds."""
    STAMP.write_text(json.dumps(stamp, indent=2) + "\n")


def make_environment() -> None:
    """Make an empty virtual environment that finds the project's packages and has its command."""
    python = find_python()
    say(f"making {VENV.name} with {python}")
    shutil.rmtree(str(VENV), ignore_errors=True)
    if subprocess.call([python, "-m", "venv", str(VENV)], stdout=subprocess.DEVNULL):
        shutil.rmtree(str(VENV), ignore_errors=True)
        stop(
            f"{python} cannot make a virtual environment. "
            "On Debian or Ubuntu: apt-get install python{}.{}-venv".format(*version_of(python) or (3, 11))
        )
    site_packages = next(VENV.glob("lib/python3*/site-packages"))
    (site_packages / "failover-proxy.pth").write_text(f"{ROOT}\n")
    command = VENV / "bin/failover-proxy"
    command.write_text(f"#!{VENV}/bin/python\nimport sys\n\nfrom proxy.__main__ import main\n\nsys.exit(main())\n")
    command.chmod(0o755)
    write_stamp({"for": whereabouts()})


def find_python() -> str:
    """Find a Python of the right version: the one that runs this, or another one on PATH."""
    names = [sys.executable, *(f"python{major}.{minor}" for major, minor in reversed(VERSIONS))]
    for name in names:
        path = shutil.which(name)
        if path and version_of(path) in VERSIONS:
            return path
    return stop(
        "Python 3.11, 3.12, 3.13 or 3.14 is needed and none is on PATH. On Debian 12 or Ubuntu 24.04 and newer: "
        "apt-get install python3 python3-venv. One in another place: make PYTHON=/path/to/python3 …"
    )


def version_of(python: str) -> Optional[Tuple[int, ...]]:
    """Ask a Python for its version; None from a name that does not run."""
    try:
        answer = subprocess.check_output(
            [python, "-c", "import sys; print(*sys.version_info[:2])"], stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(map(int, answer.split()))


def install(lock: str) -> None:
    """Put the packages of a lock into the environment: wheels whose hash is known, so nothing is compiled."""
    say(f"installing {lock}")
    pip = [in_venv("python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    if subprocess.call([*pip, "--require-hashes", "--only-binary", ":all:", "-r", lock]):
        stop(f"could not install {lock}")


def in_venv(program: str) -> str:
    """Where a program of the environment stands."""
    return str(VENV / "bin" / program)


def say(text: str) -> None:
    """Tell what takes time."""
    print(f"· {text}", flush=True)


def stop(reason: str) -> NoReturn:
    """End with a reason that a person can act on."""
    sys.exit(f"error: {reason}")


# Commands


def run() -> int:
    """Serve CONFIG, or the quickstart with sample backends of its own."""
    config = os.environ.get("CONFIG")
    return become(["-m", "proxy", "run", config] if config else ["-m", "proxy.samples.quickstart"])


def demo() -> int:
    """Show failures and recoveries under load."""
    return become(["-m", "proxy.samples.demo"])


def demo_payments() -> int:
    """Show that no charge is made twice."""
    return become(["-m", "proxy.samples.payments"])


def bench() -> int:
    """Measure."""
    return become(["-m", "benchmarks"])


def bench_quick() -> int:
    """Measure less exactly."""
    return become(["-m", "benchmarks", "--quick"])


def soak() -> int:
    """Load, kill and abort for minutes, and look for leaks."""
    seconds, seed = (os.environ.get(name) or known for name, known in (("SECONDS", "300"), ("SEED", "1")))
    return become(["-m", "tests.soak", "--seconds", seconds, "--seed", seed])


def screenshots() -> int:
    """Take pictures of the dashboard."""
    return become(["-m", "tests.e2e.screenshots"])


def cuts() -> int:
    """Cut the exchange with a backend at every byte, and kill the proxy with every seed."""
    os.environ["CUTS"] = "full"
    return become(["-m", "pytest", "-n", "0", "-s", "tests/e2e/test_cuts.py", "tests/e2e/test_keys_killed.py"])


def test() -> int:
    """Run every test: first what needs a processor, then what starts processes and waits for them."""
    parallel = sorted(str(path) for path in Path("tests").glob("*") if path.name.startswith("test_") or path.is_dir())
    parallel = [path for path in parallel if Path(path).name not in ("e2e", "__pycache__")]
    os.environ.setdefault("SCENARIOS", "1000")
    return in_turn(
        {
            "unit and wire tests": pytest("-n", "2", *parallel, WIRE_TESTS),
            # Most of these wait: two at a time take half as long. The tests of one file stay in one process, in order.
            "end-to-end tests": pytest("-n", "2", "--dist", "loadfile", "--ignore", WIRE_TESTS, "tests/e2e"),
        }
    )


def fuzz() -> int:
    """Look for bytes that two readers read in two ways."""
    return become(["-m", "tests.fuzz"])


def check() -> int:
    """Run what should pass before each commit."""
    fast = [*FAST_TESTS, *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/test_*.py"))]
    return in_turn(
        {
            "format": [in_venv("ruff"), "format", "--check", "--quiet", "."],
            "lint": [in_venv("ruff"), "check", "--quiet", "."],
            "types": [in_venv("mypy")],
            "layers, unit and simulation tests": pytest("-q", "-n", "2", *fast),
        }
    )


def simulate() -> int:
    """Play very many random failure scenarios."""
    os.environ.setdefault("SCENARIOS", "20000")
    return in_turn({"simulation": pytest("-n", "2", "-s", "tests/sim/test_campaign.py", "tests/sim/test_worth.py")})


def coverage() -> int:
    """Measure how much of `core/` its own tests reach."""
    return in_turn(
        {"coverage of core": pytest("-q", "--cov=proxy.core", "--cov-branch", "--cov-fail-under=98", "tests/core")}
    )


def compiled() -> int:
    """Build the package with its hot path compiled, beside the source that stays as it is."""
    shutil.rmtree(str(ROOT / COMPILED), ignore_errors=True)
    os.environ["FAILOVER_PROXY_COMPILE"] = "1"
    pip = [in_venv("python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    return in_turn({COMPILED: [*pip, "--no-build-isolation", "--target", COMPILED, "."]})


def format_code() -> int:
    """Lay the code out, and mend what can be mended safely."""
    return in_turn({"fix": [in_venv("ruff"), "check", "--fix", "."], "format": [in_venv("ruff"), "format", "."]})


def lock_packages() -> int:
    """Write both locks anew from pyproject.toml."""
    uv = shutil.which("uv") or stop("uv is needed to write the locks: pip install uv")
    compile_lock = [uv, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header", "--no-annotate"]
    compile_lock += ["--python-version", "3.11", *more_arguments(), "pyproject.toml"]
    return in_turn(
        {
            RUNTIME: [*compile_lock, "-o", RUNTIME],
            DEV: [*compile_lock, "--group", "dev", "-c", RUNTIME, "-o", DEV],
        }
    )


def clean() -> int:
    """Remove what commands of this file made."""
    for name in (".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", "build"):
        shutil.rmtree(str(ROOT / name), ignore_errors=True)
    return 0


def show_help() -> int:
    """List the commands."""
    for name, command in COMMANDS.items():
        print(f"make {name:12} {command.help}")
    return 0


def become(arguments: List[str]) -> NoReturn:
    """Turn into a program of ours, so that it gets Ctrl-C and every other signal itself."""
    sys.stdout.flush()
    os.execv(in_venv("python"), [in_venv("python"), *arguments, *more_arguments()])  # noqa: S606 - no shell is meant


def pytest(*arguments: str) -> List[str]:
    """Build the command line of a test run."""
    return [in_venv("python"), "-m", "pytest", *arguments, *more_arguments()]


def more_arguments() -> List[str]:
    """Whatever was given on the command line, or as ARGS="…"."""
    return shlex.split(os.environ.get("ARGS", ""))


def in_turn(steps: Dict[str, List[str]]) -> int:
    """Run every step, also after one that failed, and say at the end which ones did."""
    failed = []
    for name, command in steps.items():
        say(name)
        begun = time.monotonic()
        code = subprocess.call(command)
        say(f"{name}: {'ok' if code == 0 else f'FAILED ({code})'} in {time.monotonic() - begun:.1f}s")
        failed += [name] if code else []
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


COMMANDS: Dict[str, Command] = {
    "run": Command(run, RUNTIME, "serve conf/quickstart.yaml with three sample backends, or CONFIG=conf/… as it is"),
    "demo": Command(demo, RUNTIME, "kill, hang and revive backends under load, and count what clients see"),
    "demo-payments": Command(
        demo_payments, RUNTIME, "kill a payment gateway at every stage of a charge, and count orders and charges"
    ),
    "test": Command(test, DEV, 'every test; ARGS="…" goes to pytest'),
    "fuzz": Command(fuzz, DEV, "send mutations of the corpus through the data plane; SECONDS=600, SEED=…"),
    "check": Command(check, DEV, "format, lint, types, layers, unit and simulation tests: before each commit"),
    "simulate": Command(
        simulate, DEV, "20,000 random failure scenarios, or SCENARIOS=…, and what each policy is worth"
    ),
    "coverage": Command(coverage, DEV, "branch coverage of proxy/core from its own tests"),
    "bench": Command(bench, DEV, "cost per request, beside nginx and HAProxy where they are installed"),
    "bench-quick": Command(bench_quick, DEV, "the same, shorter and less exact"),
    "compiled": Command(
        compiled, DEV, "the package with its hot path compiled, in build/compiled (needs a C compiler)"
    ),
    "cuts": Command(cuts, DEV, "writes cut at every byte, and the proxy killed with every seed (tests take a share)"),
    "soak": Command(soak, DEV, "mixed traffic, aborts and kills for SECONDS=300; leaks and wrong answers are failures"),
    "screenshots": Command(screenshots, DEV, "pictures of the dashboard for docs/screenshots (needs chromium)"),
    "format": Command(format_code, DEV, "lay the code out"),
    "lock": Command(lock_packages, None, "write the lock files anew from pyproject.toml (needs uv)"),
    "clean": Command(clean, None, "remove the virtual environment and caches"),
    "help": Command(show_help, None, "this list"),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
