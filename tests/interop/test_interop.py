"""Runs the Python client against a real broker and the sealmq program.

    python3 test_interop.py --sealmqd PATH --sealmq PATH [--only TEXT]

Makes a home with fresh certificates in a temporary directory, starts a broker on a free port of the
loopback interface, and runs every case: first the polite ones, then the rude ones, after each of
which a polite client has to be served, then the last. Prints `ok` or `FAIL` for each and ends with
a count; the exit code is 0 only if all passed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Callable

# These fill POLITE and RUDE; the order is that of the cases.
import cases_polite  # noqa: F401, I001
import cases_members  # noqa: F401
import cases_roles  # noqa: F401
import cases_liars  # noqa: F401
import cases_handshake
import cases_rude  # noqa: F401
import sealmq as mq
from world import POLITE, RUDE, Case, Failed, World, must

TOTAL_SECONDS = 150


# ---------------------------------------------------------------------------------------------
# Behind the rude cases


def last_polite(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob:
        topic = alice.create(name, ["bob"])
        bob.subscribe(name, mq.EARLIEST)
        contents = [b"%d" % i for i in range(100)]
        alice.publish_all(topic, contents)
        must([bob.receive().content for _ in contents] == contents, "not the same messages")
        must(alice.exit().code == 0 and bob.exit().code == 0, "not closed with code 0")


def shutdown(world: World) -> str:
    """The broker, told to end, closes its sessions with code 1 and ends itself."""
    with world.client("alice") as alice:
        alice.ping()
        world.broker.send_signal(signal.SIGTERM)
        end = alice.wait_closed(5)
        must(end.code == 1, f"ended with {end}")
    code = world.broker.wait(5)
    must(code == 0, f"the broker's exit code is {code}")
    return "close 1"


class Report:
    def __init__(self, only: str):
        self.only, self.passed, self.failed, self.skipped = only, 0, 0, 0

    def run(self, name: str, action: Callable[[], str | None]) -> None:
        if self.only not in name:
            self.skipped += 1
            return
        started = time.monotonic()
        try:
            note = action()
        except OutOfTime:
            print(f"FAIL {name}: no time left", flush=True)
            raise
        except Exception as error:
            if not isinstance(error, (Failed, mq.ProtocolError, OSError)) and os.environ.get("VERBOSE"):
                traceback.print_exc()
            print(f"FAIL {name}: {error if isinstance(error, Failed) else repr(error)}", flush=True)
            self.failed += 1
        else:
            took = time.monotonic() - started
            slow = f" {took:.1f} s" if took >= 1 else ""
            print(f"ok   {name}" + (f" ({note})" if note else "") + slow, flush=True)
            self.passed += 1


class OutOfTime(BaseException):
    """All cases together took too long."""


def out_of_time(*_: object) -> None:
    raise OutOfTime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sealmqd", required=True)
    parser.add_argument("--sealmq", required=True)
    parser.add_argument("--only", default="", help="run only the cases with this text in their name")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="sealmq-interop-"))
    world = World(os.path.abspath(arguments.sealmqd), os.path.abspath(arguments.sealmq), home)
    report = Report(arguments.only)
    signal.signal(signal.SIGALRM, out_of_time)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.alarm(TOTAL_SECONDS)
    started = time.monotonic()
    try:
        world.make_certificates()
        world.start_broker()
        for name, function in POLITE:
            report.run(name, lambda: function(world))
        slow = cases_handshake.Slow(world)
        for name, function in RUDE:
            report.run("rude: " + name, lambda: with_polite(function, world))
        report.run("rude: a byte a second, and silence", slow.refused)
        report.run("a polite client behind all the rude ones", lambda: last_polite(world))
        report.run("shutdown", lambda: shutdown(world))
    except OutOfTime:
        print(f"FAIL all: not done within {TOTAL_SECONDS} s")
        report.failed += 1
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"FAIL setting up: {error}")
        report.failed += 1
    finally:
        signal.alarm(0)
        world.stop()
        if report.failed and "log" in world.__dict__:
            print("the broker's last words:\n" + world.broker_log())
        shutil.rmtree(home, ignore_errors=True)
    print(f"{time.monotonic() - started:.1f} s" + (f", {report.skipped} left out" if report.skipped else ""))
    print(f"{report.passed} passed, {report.failed} failed")
    return 0 if report.failed == 0 and report.passed > 0 and report.skipped == 0 else 1


def with_polite(function: Case, world: World) -> str | None:
    note = function(world)
    world.polite()
    return note


if __name__ == "__main__":
    sys.exit(main())
