"""Runs the Python client against a real broker and the sealmq program.

    python3 test_interop.py --sealmqd PATH --sealmq PATH [--only TEXT]

Makes a home with fresh certificates in a temporary directory, starts a broker on a free port of the
loopback interface, and runs every case below: first the polite ones, then the rude ones, then a
polite one again. Prints `ok` or `FAIL` for each and ends with a count; the exit code is 0 only if
all passed.

Where the protocol page leaves open how a session ends that broke a rule, a case takes both a Close
with one of the codes named and a cut connection; the line printed says which it was.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import minica
import sealmq as mq
from sealmq import Client, Frame, Identity

TOTAL_SECONDS = 60

# The command lines, in one place. `{home}`, `{host}`, `{port}`, `{name}`, `{topic}` and `{text}` are filled in.
CA_INIT = ["ca", "init", "--home", "{home}"]
CA_ISSUE_CLIENT = ["ca", "issue", "--home", "{home}", "{name}"]
CA_ISSUE_BROKER = ["ca", "issue", "--home", "{home}", "--broker", "{name}"]
BROKER = ["--listen", "127.0.0.1:0", "--home", "{home}"]
DAVE = ["--home", "{home}", "-h", "{host}", "-p", "{port}", "--as", "dave"]
CREATE = ["create", *DAVE, "{topic}"]
PUB_TO = ["pub", *DAVE, "-t", "{topic}"]
PUB = [*PUB_TO, "-m", "{text}"]
SUB = ["sub", *DAVE, "-t", "{topic}"]

CLIENTS = ("alice", "bob", "carol", "dave")


class Failed(Exception):
    """A case did not go as it must."""


def must(condition: bool, why: str) -> None:
    if not condition:
        raise Failed(why)


# ---------------------------------------------------------------------------------------------
# The world: home, broker, identities


@dataclass
class World:
    sealmqd: str
    sealmq: str
    home: Path
    ca: x509.Certificate = field(init=False)
    ca_key: rsa.RSAPrivateKey | None = field(init=False, default=None)
    identities: dict[str, Identity] = field(init=False, default_factory=dict)
    broker: subprocess.Popen[str] = field(init=False)
    host: str = field(init=False, default="127.0.0.1")
    port: int = field(init=False, default=0)
    serial: int = field(init=False, default=0)

    def __getattr__(self, name: str) -> Identity:
        try:
            return self.__dict__["identities"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"SEALMQ_HOME": str(self.home), "HOME": str(self.home)}

    def command(self, arguments: list[str], **values: str) -> list[str]:
        values |= {"home": str(self.home), "host": self.host, "port": str(self.port)}
        return [self.sealmq, *(argument.format(**values) for argument in arguments)]

    def run(self, arguments: list[str], **values: str) -> str:
        """Runs a sealmq command to its end; gives its standard output."""
        return self.run_bytes(arguments, **values).decode()

    def run_bytes(self, arguments: list[str], given: bytes = b"", **values: str) -> bytes:
        """The same, with `given` as standard input."""
        command = self.command(arguments, **values)
        done = subprocess.run(command, cwd=self.home, env=self.environment, input=given, capture_output=True, timeout=15)
        if done.returncode:
            raise Failed(f"{command[1:]} ended with {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def make_certificates(self) -> None:
        self.run(CA_INIT)
        self.run(CA_ISSUE_BROKER, name="broker")
        for name in CLIENTS:
            self.run(CA_ISSUE_CLIENT, name=name)
        self.scan()

    def scan(self) -> None:
        """Finds certificates and keys in the home, whatever the files are called."""
        certificates, keys = [], {}
        for path in self.home.rglob("*"):
            if not path.is_file() or path.stat().st_size > 100_000:
                continue
            data = path.read_bytes()
            if b"-----BEGIN CERTIFICATE-----" in data:
                certificates += x509.load_pem_x509_certificates(data)
            if b"PRIVATE KEY-----" in data:
                with contextlib.suppress(ValueError, TypeError):  # a key with a password is not ours to open
                    key = serialization.load_pem_private_key(data, None)
                    if isinstance(key, rsa.RSAPrivateKey):
                        keys[key.public_key().public_numbers()] = key
        authorities = [c for c in certificates if c.subject == c.issuer]
        must(bool(authorities), "found no CA certificate in the home")
        self.ca = authorities[0]
        self.ca_key = keys.get(self.ca.public_key().public_numbers())
        for certificate in certificates:
            key = keys.get(certificate.public_key().public_numbers())
            if certificate != self.ca and key is not None:
                self.identities[mq.common_name(certificate)] = Identity(certificate, key)
        missing = {*CLIENTS, "broker"} - self.identities.keys()
        must(not missing, f"found no certificate with its key for {sorted(missing)}")

    def start_broker(self) -> None:
        self.log = open(self.home / "broker.stderr", "w+")
        command = [self.sealmqd, *(argument.format(home=self.home) for argument in BROKER)]
        self.broker = subprocess.Popen(
            command, cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=self.log, text=True,
        )
        lines: list[str] = []
        listening = threading.Event()

        def read() -> None:
            for line in self.broker.stdout:
                lines.append(line)
                found = re.search(r"listening on (\S+):(\d+)", line)
                if found:
                    self.host, self.port = found[1], int(found[2])
                    listening.set()

        threading.Thread(target=read, daemon=True).start()
        if not listening.wait(10):
            raise Failed(f"the broker did not say where it listens: {''.join(lines)!r} {self.broker_log()}")

    def broker_log(self) -> str:
        self.log.flush()
        return (self.home / "broker.stderr").read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """Ends the broker that was started, and only that."""
        broker = self.__dict__.get("broker")
        if broker is not None and broker.poll() is None:
            broker.terminate()
            try:
                broker.wait(5)
            except subprocess.TimeoutExpired:
                broker.kill()
                broker.wait(5)

    def topic_name(self) -> str:
        self.serial += 1
        return f"interop/t{self.serial}"

    @contextlib.contextmanager
    def client(self, name: str) -> Iterator[Client]:
        client = Client.connect(self.host, self.port, self.identities[name], self.ca)
        client.timeout = 10.0
        try:
            yield client
        finally:
            client.close()

    def polite(self) -> None:
        """The broker still serves one who keeps to the rules."""
        must(self.broker.poll() is None, f"the broker ended with {self.broker.poll()}")
        with self.client("bob") as client:
            client.timeout = 3.0
            client.ping()
            must(client.exit().code == 0, "a polite client was not let go with code 0")


Case = Callable[[World], "str | None"]
POLITE: list[tuple[str, Case]] = []
RUDE: list[tuple[str, Case]] = []


def case(cases: list[tuple[str, Case]], name: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        cases.append((name, function))
        return function

    return register


polite, rude = functools.partial(case, POLITE), functools.partial(case, RUDE)


# ---------------------------------------------------------------------------------------------
# Polite cases


@polite("handshake and welcome")
def _(world: World) -> str:
    with world.client("alice") as client:
        must(client.welcome.window > 0, "the window is 0")
        must(abs(client.welcome.time - mq.now_ms()) < 60_000, "the broker's time is not in milliseconds")
        client.ping()
        must(client.exit().code == 0, "the session did not end with code 0")
        return f"broker {client.welcome.version}, largest {client.welcome.largest}, window {client.welcome.window}"


@polite("many sessions at once")
def _(world: World) -> None:
    problems: list[str] = []

    def one() -> None:
        try:
            with world.client("carol") as client:
                client.ping()
                client.exit()
        except Exception as error:
            problems.append(repr(error))

    threads = [threading.Thread(target=one) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    must(not problems, f"{len(problems)} of 40: {problems[:1]}")


@polite("the broker lists the clients it has seen")
def _(world: World) -> None:
    for name in CLIENTS:
        with world.client(name) as client:
            client.exit()
    with world.client("alice") as client:
        names = {mq.common_name(certificate) for certificate, _ in client.clients()}
        must(names >= set(CLIENTS), f"only {sorted(names)}")
        some = [mq.common_name(certificate) for certificate, _ in client.clients(["bob", "nobody"])]
        must(some == ["bob"], f"asked for bob and nobody, got {some}")


@polite("create, publish, subscribe with past messages")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob:
        topic = alice.create(name, ["bob"])
        must(topic.chain.newest.key is not None, "no key for the topic's creator")
        must(alice.publish(topic, b"one") == 2, "the first message is not at offset 2")
        offsets = alice.publish_all(topic, [b"two", b"three"])
        must(offsets == [3, 4], f"offsets {offsets}")
        answer = bob.subscribe(name, mq.EARLIEST)
        must((answer.matched, answer.others) == (1, 0), f"matched {answer.matched}, others {answer.others}")
        past = bob.receive_past(name)
        must([m.content for m in past] == [b"one", b"two", b"three"], f"past messages {past}")
        must([m.offset for m in past] == [2, 3, 4], "past messages have other offsets than were answered")
        must(all(m.sender == "alice" for m in past), "the sender is not alice")
        alice.publish(topic, b"four")
        must(bob.receive().content == b"four", "a message did not arrive live")
        opened = bob.open(name)
        bob.publish(opened, b"from bob")
        must(bob.receive().sender == "bob", "a subscriber does not get its own message")


@polite("a topic on disk")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob:
        topic = alice.create(name, ["bob"], durability=mq.DURABILITY_DISK)
        must(topic.durability == mq.DURABILITY_DISK, "the topic is not on disk")
        alice.publish_all(topic, [b"%d" % i for i in range(20)])
        bob.subscribe(name, mq.EARLIEST)
        must([int(m.content) for m in bob.receive_past(name)] == list(range(20)), "not the same messages")


@polite("a topic created later is announced")
def _(world: World) -> None:
    prefix = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob:
        must(bob.subscribe(prefix + "/+", mq.LATEST).matched == 0, "matched before it exists")
        topic = alice.create(prefix + "/new", ["bob"])
        alice.publish(topic, b"first")
        message = bob.receive()
        must((message.topic, message.content) == (prefix + "/new", b"first"), f"got {message}")


@polite("one who is not a member gets nothing")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("carol") as carol:
        alice.create(name, ["bob"])
        answer = carol.subscribe(name, mq.EARLIEST)
        must((answer.matched, answer.others) == (0, 1), f"matched {answer.matched}, others {answer.others}")
        must(refuse_code(lambda: carol.open(name)) == 3, "not refused with 3")
        must(refuse_code(lambda: carol.open(name + "/none")) == 1, "not refused with 1")


@polite("where a subscription starts")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice:
        topic = alice.create(name, ["bob"])
        alice.publish_all(topic, [b"%d" % i for i in range(10)])
    incarnation = topic.incarnation
    wanted = {
        mq.EARLIEST: (0, 0),
        mq.LATEST: (10, 0),
        mq.last(3): (7, 0),
        mq.last(100): (0, 0),
        mq.since(0): (0, 0),
        mq.since(mq.now_ms() + 3_600_000): (10, 0),
        mq.from_offset(6): (4, 0),
        mq.from_offset(12): (10, 0),
        mq.from_offset(1000): (0, 2),
        mq.resume(7, incarnation): (5, 0),
        mq.resume(7, incarnation ^ 1): (0, 1),
        mq.resume(1000, incarnation): (0, 2),
    }
    for start, (first, notice) in wanted.items():
        with world.client("bob") as bob:
            bob.subscribe(name, start)
            got = [int(m.content) for m in bob.receive_past(name)]
            must(got == list(range(first, 10)), f"start {start}: got {got}")
            said = next(iter(bob.topics.values())).notice
            must(said == notice, f"start {start}: notice {said}")


@polite("messages of 0 bytes, of 1 MiB and of no UTF-8")
def _(world: World) -> None:
    name = world.topic_name()
    no_text = b"\xff\xfe\x00 \xc3\x28 \xed\xa0\x80\r\n"
    contents = [b"", os.urandom(mq.MAX_CONTENT), no_text, b"", os.urandom(mq.INLINE_LIMIT), os.urandom(70_000)]
    with world.client("alice") as alice, world.client("bob") as bob:
        topic = alice.create(name, ["bob", "dave"])
        bob.subscribe(name, mq.LATEST)
        alice.publish_all(topic, contents)
        must([bob.receive().content for _ in contents] == contents, "not the same messages, live")
    with world.client("bob") as bob:
        bob.subscribe(name, mq.EARLIEST)
        must([m.content for m in bob.receive_past(name)] == contents, "not the same messages, from the log")
    printed = world.run_bytes([*SUB, "-N", "-e"], topic=name)
    must(printed == b"".join(contents), f"sealmq sub printed {len(printed)} other bytes")


@polite("the same, published by sealmq")
def _(world: World) -> None:
    name = world.topic_name()
    contents = [b"", os.urandom(mq.MAX_CONTENT), b"\xff\xfe\x00\xc3\x28"]
    with world.client("alice") as alice:
        alice.create(name, ["bob", "dave"])
    world.run([*PUB_TO, "-n"], topic=name)
    for content in contents[1:]:
        world.run_bytes([*PUB_TO, "-s"], content, topic=name)
    with world.client("bob") as bob:
        bob.subscribe(name, mq.EARLIEST)
        must([m.content for m in bob.receive_past(name)] == contents, "not the same messages")


@polite("a client whose clock is a day ahead")
def _(world: World) -> None:
    name = world.topic_name()
    mq.clock.read = lambda: time.time() + 86_400
    try:
        with world.client("alice") as alice:
            topic = alice.create(name, ["bob", "dave"])
            alice.publish_all(topic, [b"from", b"tomorrow"])
            alice.subscribe(name, mq.EARLIEST)
            past = alice.receive_past(name)
            must([m.content for m in past] == [b"from", b"tomorrow"], "it does not read its own messages")
            must(all(abs(m.time - time.time() * 1000) < 60_000 for m in past), "the log's times are the client's")
            must(alice.exit().code == 0, "not closed with code 0")
    finally:
        mq.clock.read = time.time
    with world.client("bob") as bob:
        bob.subscribe(name, mq.EARLIEST)
        must([m.content for m in bob.receive_past(name)] == [b"from", b"tomorrow"], "another does not read them")
    must(world.run([*SUB, "-e"], topic=name) == "from\ntomorrow\n", "sealmq sub does not read them")


@polite("two sessions of one client")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as one, world.client("alice") as two, world.client("bob") as bob:
        topic = one.create(name, ["bob"])
        other = two.open(name)
        one.subscribe(name, mq.LATEST)
        two.subscribe(name, mq.LATEST)
        bob.subscribe(name, mq.LATEST)
        offsets = [one.publish(topic, b"1"), two.publish(other, b"2"), one.publish(topic, b"3")]
        must(offsets == [2, 3, 4], f"offsets {offsets}")
        for client in (one, two, bob):
            got = [client.receive() for _ in range(3)]
            must([m.content for m in got] == [b"1", b"2", b"3"], f"{got}")
            must({m.sender for m in got} == {"alice"}, "another sender")
        must(one.exit().code == 0, "not closed with code 0")
        two.publish(other, b"4")  # the end of one session is not that of the other
        must(two.receive().content == b"4" and bob.receive().content == b"4", "the other session is dead")


@polite("a message sent once more gets the same offset")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice:
        topic = alice.create(name, ["bob"])
        offsets = alice.publish_all(topic, [b"a", b"b", b"c"])
        alice.send_publish(topic, 1, b"b")
        must(alice.published(topic, 1) == offsets[1], "another offset in the same session")
        publisher = alice.publisher
    with world.client("alice") as alice:
        alice.publisher = publisher
        topic = alice.open(name)
        for counter, content in enumerate((b"a", b"b", b"c")):
            alice.send_publish(topic, counter, content)
            must(alice.published(topic, counter) == offsets[counter], "another offset in the next session")
        alice.counters[name] = 3
        alice.publish(topic, b"d")
    with world.client("bob") as bob:
        bob.subscribe(name, mq.EARLIEST)
        got = [m.content for m in bob.receive_past(name)]
        must(got == [b"a", b"b", b"c", b"d"], f"the log holds {got}")
        # The same id of another client is another id.
        bob.publisher = publisher
        must(bob.publish(bob.open(name), b"e") > offsets[-1], "bob's counter 0 was taken for alice's")


@polite("exit answers what was accepted, then closes with code 0")
def _(world: World) -> None:
    with world.client("alice") as alice:
        topic = alice.create(world.topic_name(), [])
        count = min(50, alice.welcome.window)
        for counter in range(count):
            alice.send_publish(topic, counter, b"x" * 1000)
        alice.send(Frame("Exit", {"forget": False}))
        offsets = [alice.published(topic, counter) for counter in range(count)]
        must(offsets == sorted(set(offsets)), "offsets do not grow")
        end = alice.wait_closed(5)
        must(end.code == 0, f"ended with {end}")


@polite("unsubscribe stops messages")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob:
        topic = alice.create(name, ["bob"])
        bob.subscribe(name, mq.LATEST)
        alice.publish(topic, b"heard")
        must(bob.receive().content == b"heard", "not subscribed at all")
        bob.unsubscribe(name)
        alice.publish(topic, b"unheard")
        bob.ping()
        time.sleep(0.1)
        bob.ping()
        must(not bob.messages, "a message came after unsubscribe")
        bob.subscribe(name, mq.last(1))
        must(bob.receive().content == b"unheard", "no messages after subscribing again")


@polite("overlapping filters deliver once")
def _(world: World) -> None:
    prefix = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob:
        topic = alice.create(prefix + "/x", ["bob"])
        for pattern in (prefix + "/x", prefix + "/+", prefix + "/#"):
            bob.subscribe(pattern, mq.LATEST)
        alice.publish_all(topic, [b"1", b"2"])
        must([bob.receive().content for _ in range(2)] == [b"1", b"2"], "not in order")
        bob.ping()
        must(not bob.messages, "delivered more than once")


@polite("retention leaves a gap")
def _(world: World) -> str:
    name = world.topic_name()
    with world.client("alice") as alice:
        topic = alice.create(name, ["bob"], retention=(10, 0, 0))
        alice.publish_all(topic, [b"%d" % i for i in range(300)])
    kept = [b"%d" % i for i in range(290, 300)]
    with world.client("bob") as bob:  # from a place that is gone: what is missing is named
        bob.subscribe(name, mq.from_offset(5))
        past = bob.receive_past(name)
        gaps = next(iter(bob.topics.values())).gaps
        must(gaps == [(5, 292)], f"gaps {gaps}")
        must([m.content for m in past] == kept, f"{len(past)} messages came")
    with world.client("bob") as bob:  # from the earliest there is: nothing that was asked for is missing
        bob.subscribe(name, mq.EARLIEST)
        must([m.content for m in bob.receive_past(name)] == kept, "not the last ten from the earliest")
    return f"gap {gaps[0]}, then {len(past)} messages"


@polite("a topic cannot be created twice")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob:
        alice.create(name, [])
        must(refuse_code(lambda: bob.create(name, [])) == 2, "not refused with 2")
        bob.ping()


@polite("topics, statistics and the CRL can be asked for")
def _(world: World) -> None:
    with world.client("alice") as alice:
        name = world.topic_name()
        alice.create(name, ["bob"])
        entry = next((entry for entry in alice.list_topics("#") if entry[0] == name), None)
        must(entry is not None and entry[1:4] == (True, "alice", 2), f"topic entry {entry}")
        stats = alice.answer(alice.request("GetStats"), "Stats").stats
        must(bool(stats), "no statistics")
        if alice.welcome.crl:
            part = alice.answer(alice.request("GetCrl", start=0), "CrlPart")
            must(part.start == 0 and len(part.part) <= part.total, "a wrong part of the CRL")


@polite("sealmq create makes a topic, Python reads and publishes")
def _(world: World) -> None:
    name = world.topic_name()
    world.run([*CREATE, "--to", "bob", "--trust-new"], topic=name)
    with world.client("bob") as bob:
        topic = bob.open(name)
        roles = {member.name: member.role for member in topic.chain.members.values()}
        must(roles == {"dave": mq.ROLE_OWNER, "bob": mq.ROLE_MEMBER}, f"members {roles}")
        bob.publish(topic, b"to the one who made it")
    must(world.run([*SUB, "-e"], topic=name) == "to the one who made it\n", "sealmq sub does not read it")


@polite("Python publishes, sealmq sub reads")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice:
        topic = alice.create(name, ["dave"])
        alice.publish(topic, b"past-words")
        with running(world, SUB, topic=name) as output:
            must(output.wait_for("past-words", 10), f"the past message did not come: {output.text!r}")
            alice.publish(topic, b"live-words")
            must(output.wait_for("live-words", 10), f"the live message did not come: {output.text!r}")


@polite("sealmq pub publishes, Python reads")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice:
        alice.create(name, ["dave", "bob"])
    with world.client("bob") as bob:
        bob.subscribe(name, mq.LATEST)
        world.run(PUB, topic=name, text="words from the other side")
        message = bob.receive()
        must(message.content == b"words from the other side", f"got {message}")
        must(message.sender == "dave", f"the sender is {message.sender}")


def refuse_code(action: Callable[[], object]) -> int | None:
    """The code that a request is refused with, None if it is not."""
    try:
        action()
    except mq.RequestRefused as error:
        return error.code
    return None


class Output:
    """What a running program writes."""

    def __init__(self, process: subprocess.Popen[bytes]):
        self.text = ""
        self._changed = threading.Condition()
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while part := os.read(self._process.stdout.fileno(), 4096):
            with self._changed:
                self.text += part.decode(errors="replace")
                self._changed.notify_all()

    def wait_for(self, words: str, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: words in self.text, seconds)


@contextlib.contextmanager
def running(world: World, arguments: list[str], **values: str) -> Iterator[Output]:
    """A sealmq command that runs on; it is ended behind the block."""
    process = subprocess.Popen(
        world.command(arguments, **values), cwd=world.home, env=world.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    try:
        yield Output(process)
    finally:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(3)


# ---------------------------------------------------------------------------------------------
# Rude cases: raw connections


class Raw:
    """A connection whose handshake is done step by step."""

    def __init__(self, world: World, identity: Identity | None = None):
        self.world = world
        self.sock = socket.create_connection((world.host, world.port), 5)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.handshake = mq.ClientHandshake(identity or world.alice, world.ca, world.host)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise ConnectionResetError("closed")
            data += part
        return bytes(data)

    def write(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # the broker may have ended it already
            self.sock.sendall(data)

    def send(self, kind: int, payload: bytes) -> None:
        self.write(mq.handshake_message(kind, payload))

    def receive(self, wanted: int) -> bytes:
        kind, payload = mq.read_handshake_message(self.read)
        if kind != wanted:
            raise Failed(f"handshake message {kind} instead of {wanted}: {self.refusal(kind, payload)}")
        return payload

    def refusal(self, kind: int, payload: bytes) -> str:
        if kind in (mq.REFUSAL, mq.SEALED_REFUSAL):
            return str(self.handshake.refusal(kind, payload))
        return "no refusal"

    def to_auth(self) -> bytes:
        """Goes on to where ClientAuth is due; gives its payload."""
        self.send(mq.CLIENT_HELLO, self.handshake.hello())
        return self.handshake.on_broker_hello(self.receive(mq.BROKER_HELLO))

    def to_ready(self) -> bytes:
        """Goes on to where ClientReady is due; gives its payload."""
        self.send(mq.CLIENT_AUTH, self.to_auth())
        return self.handshake.on_session_key(self.receive(mq.SESSION_KEY))

    def refused(self, codes: set[int], sealed: bool | None) -> str:
        """The broker refuses with one of the codes, in the form named (None: either), and closes."""
        try:
            kind, payload = mq.read_handshake_message(self.read)
        except ConnectionError:
            raise Failed("the connection was cut without a refusal") from None
        except TimeoutError:
            raise Failed("no refusal within 5 s") from None
        must(kind in (mq.REFUSAL, mq.SEALED_REFUSAL), f"message {kind} instead of a refusal")
        refusal = self.handshake.refusal(kind, payload)
        must(refusal.code in codes, f"refused with {refusal.code}, not {sorted(codes)}")
        if sealed is not None:
            must(refusal.authenticated == sealed, "the refusal is of the other form")
        try:
            must(not self.sock.recv(1), "the connection goes on behind a refusal")
        except ConnectionError:
            pass
        except TimeoutError:
            raise Failed("the connection stays open behind a refusal") from None
        return f"{'sealed ' if refusal.authenticated else ''}refusal {refusal.code}"


class RawSession(Raw):
    """A connection behind its handshake, for records that the client would not send."""

    def __init__(self, world: World, identity: Identity | None = None):
        super().__init__(world, identity)
        self.send(mq.CLIENT_READY, self.to_ready())
        self.outgoing = mq.Direction(self.handshake.send_key)
        self.incoming = mq.Direction(self.handshake.receive_key)
        self.pending: list[Frame] = []
        self.wait("Welcome")

    def frames(self, *frames: Frame) -> None:
        self.write(self.outgoing.seal(frames))

    def raw(self, frames: bytes, bodies: bytes = b"") -> None:
        self.write(self.outgoing.seal_raw(frames, bodies))

    def wait(self, *kinds: str) -> Frame:
        while True:
            while self.pending:
                frame = self.pending.pop(0)
                if frame.kind in kinds:
                    return frame
                if frame.kind == "Close":
                    raise Failed(f"closed with {frame.code}: {frame.text}")
            try:
                self.pending = self.incoming.read(self.read)
            except ConnectionError:
                raise Failed("cut") from None
            except TimeoutError:
                raise Failed(f"waited in vain for {kinds}") from None

    def alive(self) -> None:
        self.frames(Frame("Ping", {"number": 77}))
        must(self.wait("Pong").number == 77, "another Pong")

    def ended(self, *codes: int) -> str:
        """The session ends within 5 s, by Close with one of the codes or by a cut."""
        try:
            while True:
                for frame in self.incoming.read(self.read):
                    if frame.kind == "Close":
                        must(frame.code in codes, f"closed with {frame.code}, not {codes}: {frame.text}")
                        return f"close {frame.code}"
                    must(frame.kind in ("Ping", "Pong", "Record", "Topic"), f"answered with {frame}")
        except ConnectionError:
            return "cut"
        except TimeoutError:
            raise Failed("the session goes on") from None

    def publish(self, handle: int, counter: int, body: bytes, slot: int = 0) -> None:
        fields = {"slot": slot, "topic": handle, "epoch": 0, "counter": counter, "body": body}
        self.frames(Frame("Publish", fields))

    def topic(self) -> int:
        """Opens a fresh topic and names a publisher in slot 0; gives the topic's handle."""
        name = self.world.topic_name()
        new = mq.make_topic(self.world.alice, name)
        create = {
            "request": 1, "name": name, "durability": 0, "retention": (0, 0, 0),
            "genesis": new.genesis, "delta": new.delta,
        }
        publisher = {"slot": 0, "publisher": os.urandom(16), "delegation": b""}
        self.frames(Frame("Wraps", {"wraps": new.wraps}), Frame("Create", create), Frame("Publisher", publisher))
        return self.wait("Topic", "Refused").topic


# Before ClientAuth: refused in clear


def rude_bytes(name: str, data: bytes, codes: set[int]) -> None:
    @rude(name)
    def _(world: World) -> str:
        with Raw(world) as raw:
            raw.write(data)
            return raw.refused(codes, sealed=False)


rude_bytes("garbage: HTTP", b"GET / HTTP/1.1\r\n\r\n", {2, 3, 4})
rude_bytes("garbage: a TLS hello", bytes.fromhex("1603010200010001fc0303") + bytes(16), {2, 3, 4})
rude_bytes("length 4 GiB", b"\xff\xff\xff\xff\x01", {4})
rude_bytes("length 8193", mq.u32(8193) + b"\1", {4})
rude_bytes("length 0", bytes(4), {2})
rude_bytes("unknown handshake type", mq.handshake_message(99, bytes(72)), {2, 3})
rude_bytes("ClientAuth first", mq.handshake_message(mq.CLIENT_AUTH, bytes(100)), {3})
rude_bytes("ClientReady first", mq.handshake_message(mq.CLIENT_READY, bytes(32)), {3})
rude_bytes("BrokerHello from a client", mq.handshake_message(mq.BROKER_HELLO, bytes(100)), {3})
rude_bytes("a hello too short", mq.handshake_message(mq.CLIENT_HELLO, mq.MAGIC + mq.u16(1) + bytes(63)), {2})
rude_bytes("a hello too long", mq.handshake_message(mq.CLIENT_HELLO, mq.MAGIC + mq.u16(1) + b"\1" * 65), {2})
rude_bytes("wrong magic", mq.handshake_message(mq.CLIENT_HELLO, b"SEALMX" + mq.u16(1) + b"\1" * 64), {2})
rude_bytes("wrong version", mq.handshake_message(mq.CLIENT_HELLO, mq.MAGIC + mq.u16(2) + b"\1" * 64), {1})


@rude("an all-zero X25519 key")
def _(world: World) -> str:
    with Raw(world) as raw:
        hello = raw.handshake.hello()[:-32] + bytes(32)
        raw.handshake.hello_payload = hello
        raw.send(mq.CLIENT_HELLO, hello)
        kind, payload = mq.read_handshake_message(raw.read)
        if kind == mq.REFUSAL:
            refusal = raw.handshake.refusal(kind, payload)
            must(refusal.code in (2, 17), f"refused with {refusal.code}")
            return f"refusal {refusal.code}"
        # The broker has answered; then it has to refuse ClientAuth.
        reader = mq.Reader(payload)
        reader.take(66)
        der = reader.bytes16()
        raw.handshake.th1 = mq.H(hello, payload[:66][:2], payload[2:34], payload[34:66], der)
        raw.handshake.dh = bytes(32)
        raw.send(mq.CLIENT_AUTH, raw.handshake.seal_auth(world.alice.der, bytes(256)))
        return raw.refused({2, 17}, sealed=None)


# In ClientAuth's place


@rude("a second ClientHello instead of ClientAuth")
def _(world: World) -> str:
    with Raw(world) as raw:
        raw.to_auth()
        raw.send(mq.CLIENT_HELLO, raw.handshake.hello())
        return raw.refused({3}, sealed=None)


@rude("ClientReady instead of ClientAuth")
def _(world: World) -> str:
    with Raw(world) as raw:
        raw.to_auth()
        raw.send(mq.CLIENT_READY, bytes(32))
        return raw.refused({3}, sealed=None)


def rude_auth(name: str, codes: set[int], make: Callable[[World, Raw, bytes], bytes]) -> None:
    @rude(name)
    def _(world: World) -> str:
        with Raw(world) as raw:
            raw.send(mq.CLIENT_AUTH, make(world, raw, raw.to_auth()))
            return raw.refused(codes, sealed=True)


def flip(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


rude_auth("flipped bit in ClientAuth's MAC", {17}, lambda world, raw, auth: flip(auth))
rude_auth("flipped bit in ClientAuth's ciphertext", {17}, lambda world, raw, auth: flip(auth, 30))
rude_auth("an empty ClientAuth", {2, 17}, lambda world, raw, auth: b"")
rude_auth(
    "flipped signature", {17},
    lambda world, raw, auth: raw.handshake.seal_auth(world.alice.der, flip(raw.handshake.signature)),
)
rude_auth(
    "an empty signature", {2, 17}, lambda world, raw, auth: raw.handshake.seal_auth(world.alice.der, b"")
)
rude_auth(
    "garbage for a certificate", {2, 10},
    lambda world, raw, auth: raw.handshake.seal_auth(b"\x30\x03garbage", raw.handshake.signature),
)
rude_auth(
    "bytes behind the certificate", {2, 10, 14, 17},
    lambda world, raw, auth: raw.handshake.seal_auth(world.alice.der + b"\0", raw.handshake.signature),
)
rude_auth(
    "trailing bytes in ClientAuth", {2, 17},
    lambda world, raw, auth: mq.fernet_seal(
        mq.kdf(raw.handshake.dh, raw.handshake.th1, "hs"),
        mq.bytes16(world.alice.der) + mq.bytes16(raw.handshake.signature) + b"\0",
    ),
)


def rude_identity(name: str, codes: set[int], make: Callable[[World], Identity]) -> None:
    @rude(name)
    def _(world: World) -> str:
        with Raw(world, make(world)) as raw:
            raw.send(mq.CLIENT_AUTH, raw.to_auth())
            return raw.refused(codes, sealed=True)


rude_identity("certificate of another CA", {14}, lambda world: minica.issue(minica.make_ca(), "alice"))
rude_identity(
    "certificate of another CA with the same name", {14},
    lambda world: minica.issue(minica.make_ca(), "alice", issuer_name=world.ca.subject),
)
rude_identity("self-signed certificate", {14, 10}, lambda world: minica.issue(None, "alice"))
rude_identity(
    "certificate used with the wrong key", {17}, lambda world: Identity(world.alice.certificate, world.bob.key)
)
rude_identity("broker's certificate for a client", {16}, lambda world: world.identities["broker"])


def with_ca(make: Callable[[Identity], Identity]) -> Callable[[World], Identity]:
    """An identity made with the CA's own key."""

    def made(world: World) -> Identity:
        must(world.ca_key is not None, "found no CA key in the home")
        return make(Identity(world.ca, world.ca_key))

    return made


rude_identity("expired certificate", {11}, with_ca(lambda ca: minica.issue(ca, "alice", days=(-2, -1))))
rude_identity("certificate not yet valid", {12}, with_ca(lambda ca: minica.issue(ca, "alice", days=(1, 2))))
rude_identity(
    "certificate with a key of 1024 bits", {10}, with_ca(lambda ca: minica.issue(ca, "alice", key=minica.new_key(1024)))
)


@rude("ClientAuth of another connection")
def _(world: World) -> str:
    with Raw(world) as first, Raw(world) as second:
        auth = first.to_auth()
        second.to_auth()
        second.send(mq.CLIENT_AUTH, auth)
        second_end = second.refused({17}, sealed=True)
        # The content of the one, sealed for the other.
        with Raw(world) as third:
            third.to_auth()
            third.send(mq.CLIENT_AUTH, third.handshake.seal_auth(world.alice.der, first.handshake.signature))
            third.refused({17}, sealed=True)
        return second_end


# In ClientReady's place


@rude("ClientAuth instead of ClientReady")
def _(world: World) -> str:
    with Raw(world) as raw:
        auth = raw.to_auth()
        raw.send(mq.CLIENT_AUTH, auth)
        raw.receive(mq.SESSION_KEY)
        raw.send(mq.CLIENT_AUTH, auth)
        return raw.refused({3}, sealed=True)


@rude("wrong ClientReady")
def _(world: World) -> str:
    with Raw(world) as raw:
        raw.send(mq.CLIENT_READY, flip(raw.to_ready()))
        return raw.refused({17}, sealed=True)


@rude("a record instead of ClientReady")
def _(world: World) -> str:
    with Raw(world) as raw:
        raw.to_ready()
        raw.write(mq.Direction(raw.handshake.send_key).seal([Frame("Ping", {"number": 1})]))
        return raw.refused({2, 3}, sealed=True)


# Records


def rude_record(name: str, *codes: int) -> Callable[[Callable[[RawSession], None]], None]:
    """A case that breaks a rule in a session, which has to end."""

    def register(function: Callable[[RawSession], None]) -> None:
        @rude(name)
        def _(world: World) -> str:
            with RawSession(world) as session:
                function(session)
                return session.ended(*(codes or (2,)))

    return register


@rude_record("wrong sequence number")
def _(session: RawSession) -> None:
    session.outgoing.sequence += 1
    session.raw(b"")


@rude_record("a repeated record")
def _(session: RawSession) -> None:
    record = session.outgoing.seal([Frame("Ping", {"number": 1})])
    session.write(record + record)


@rude_record("a record of another session")
def _(session: RawSession) -> None:
    with RawSession(session.world) as other:
        session.write(other.outgoing.seal([Frame("Ping", {"number": 1})]))


@rude_record("a record sent back to the broker")
def _(session: RawSession) -> None:
    session.outgoing.key = session.incoming.key
    session.frames(Frame("Ping", {"number": 1}))


@rude_record("flipped bit in a token's MAC")
def _(session: RawSession) -> None:
    session.write(flip(session.outgoing.seal([Frame("Ping", {"number": 1})])))


@rude_record("flipped bit in a token's ciphertext")
def _(session: RawSession) -> None:
    session.write(flip(session.outgoing.seal([Frame("Ping", {"number": 1})]), 40))


@rude_record("token of 65537 bytes", 2, 6)
def _(session: RawSession) -> None:
    session.write(mq.u32(65537) + bytes(1000))


@rude_record("token of 4 GiB", 2, 6)
def _(session: RawSession) -> None:
    session.write(b"\xff\xff\xff\xff" + bytes(1000))


@rude_record("token of 0 bytes")
def _(session: RawSession) -> None:
    session.write(bytes(4))


@rude_record("body with a wrong hash")
def _(session: RawSession) -> None:
    handle, body = session.topic(), os.urandom(5000)
    frame, _ = mq.encode_frame(
        Frame("Publish", {"slot": 0, "topic": handle, "epoch": 0, "counter": 0, "body": body})
    )
    session.raw(frame, flip(body))


@rude_record("body of 3 MiB", 2, 6)
def _(session: RawSession) -> None:
    payload = mq.u16(0) + mq.u32(session.topic()) + mq.u32(0) + mq.u64(0) + mq.u8(0) + mq.u32(3 << 20) + bytes(32)
    session.raw(mq.frame_bytes(0x15, payload))


@rude_record("bodies of 4 GiB each", 2, 6)
def _(session: RawSession) -> None:
    payload = mq.u16(0) + mq.u32(session.topic()) + mq.u32(0) + mq.u64(0) + mq.u8(0) + mq.u32(2**32 - 1) + bytes(32)
    session.raw(mq.frame_bytes(0x15, payload) * 5)


@rude("body longer than allowed")
def _(world: World) -> str:
    with RawSession(world) as session:
        session.publish(session.topic(), 0, os.urandom(mq.MAX_BODY + 1))
        try:
            answer = session.wait("PublishRefused", "Published")
        except Failed as error:  # the page leaves open whether it ends the session
            must("closed with 2" in str(error) or str(error) == "cut", str(error))
            return str(error)
        must(answer.kind == "PublishRefused" and answer.code == 8, f"{answer}")
        session.alive()
        return "publish refused 8"


@rude_record("a body neither inside nor behind")
def _(session: RawSession) -> None:
    payload = mq.u16(0) + mq.u32(session.topic()) + mq.u32(0) + mq.u64(0) + mq.u8(2) + mq.bytes16(b"abc")
    session.raw(mq.frame_bytes(0x15, payload))


@rude("cut in the middle of a body")
def _(world: World) -> None:
    with RawSession(world) as session:
        handle = session.topic()
        body = os.urandom(100_000)
        fields = {"slot": 0, "topic": handle, "epoch": 0, "counter": 0, "body": body}
        session.write(session.outgoing.seal([Frame("Publish", fields)])[:-50_000])


# Frames

rude_frames = {
    "unknown frame type": mq.frame_bytes(0x7F, b""),
    "frame type 0": mq.frame_bytes(0, b""),
    "a broker's frame from a client": mq.frame_bytes(0x41, mq.u32(1)),
    "trailing bytes in a frame": mq.frame_bytes(0x01, bytes(9)),
    "a frame too short": mq.frame_bytes(0x01, bytes(7)),
    "a frame longer than its record": mq.u8(1) + mq.u16(9) + bytes(8),
    "half a frame header": mq.u8(1) + b"\0",
    "a flag of 2": mq.frame_bytes(0x1C, mq.u8(2)),
    "a text that is not UTF-8": mq.frame_bytes(0x11, mq.u32(1) + mq.bytes16(b"\xff\xfe") + bytes(17)),
    "an unknown start": mq.frame_bytes(0x11, mq.u32(1) + mq.str16("a") + mq.u8(9) + bytes(16)),
    "slot 16": mq.frame_bytes(0x14, mq.u16(16) + bytes(16) + mq.bytes16(b"")),
    "a list longer than its frame": mq.frame_bytes(0x16, mq.u16(65535)),
    "Close with a wrong sequence": mq.frame_bytes(0x03, mq.u64(5) + mq.u16(0) + mq.str16("")),
}
for _name, _frame in rude_frames.items():
    rude_record(_name)(lambda session, frame=_frame: session.raw(frame))


# Rude, but the session goes on


@rude("publish to an unknown handle or slot")
def _(world: World) -> None:
    with RawSession(world) as session:
        handle = session.topic()
        for bad_handle, slot in ((handle + 1000, 0), (0xFFFFFFFF, 0), (handle, 9)):
            session.publish(bad_handle, 0, b"x" * 200, slot)
            answer = session.wait("PublishRefused", "Published")
            must(answer.kind == "PublishRefused" and answer.code == 9, f"{answer}")
        session.alive()


@rude("counter ahead")
def _(world: World) -> None:
    with RawSession(world) as session:
        handle = session.topic()
        session.publish(handle, 5, b"x" * 200)
        answer = session.wait("PublishRefused", "Published")
        must(answer.kind == "PublishRefused" and (answer.code, answer.detail) == (10, 0), f"{answer}")
        session.alive()


@rude("an epoch that does not exist")
def _(world: World) -> None:
    with world.client("alice") as alice:
        topic = alice.create(world.topic_name(), [])
        alice.send_body(topic.handle, 7, 0, b"x" * 300)
        try:
            alice.published(topic, 0)
        except mq.RequestRefused as error:
            must((error.code, error.detail) == (11, 0), str(error))
        else:
            raise Failed("it was stored")
        must(alice.publish(topic, b"good") == 2, "the refused counter was used up")


def rude_create(name: str, codes: set[int], change: Callable[[mq.NewTopic], None]) -> None:
    @rude(name)
    def _(world: World) -> str:
        with world.client("alice") as alice:
            topic_name = world.topic_name()
            new = mq.make_topic(world.alice, topic_name, [(world.bob.certificate, 0)])
            change(new)
            code = refuse_code(lambda: alice.create_from(topic_name, new))
            must(code in codes, f"refused with {code}, not {sorted(codes)}")
            good = mq.make_topic(world.alice, topic_name, [(world.bob.certificate, 0)])
            alice.create_from(topic_name, good)
            return f"refused {code}"


def change_delta(new: mq.NewTopic) -> None:
    new.delta = flip(new.delta)


def change_genesis(new: mq.NewTopic) -> None:
    new.genesis = flip(new.genesis)


rude_create("create with a wrong signature on the delta", {12}, change_delta)
rude_create("create with a wrong signature on the genesis", {12}, change_genesis)
rude_create("create without wraps", {14}, lambda new: new.wraps.clear())
rude_create("create with wraps in another order", {14}, lambda new: new.wraps.reverse())
rude_create("create with a wrong wrap", {14}, lambda new: new.wraps.__setitem__(0, flip(new.wraps[0])))


@rude("create in another's name")
def _(world: World) -> str:
    with world.client("bob") as bob:
        name = world.topic_name()
        code = refuse_code(lambda: bob.create_from(name, mq.make_topic(world.alice, name)))
        must(code == 12, f"refused with {code}")


@rude("create under another name than the genesis")
def _(world: World) -> None:
    with world.client("alice") as alice:
        name = world.topic_name()
        code = refuse_code(lambda: alice.create_from(name + "/x", mq.make_topic(world.alice, name)))
        must(code == 12, f"refused with {code}")


# Rude by being slow or loud


@rude("half a hello, half a record, then silence")
def _(world: World) -> None:
    with contextlib.ExitStack() as stack:
        silent = []
        for _ in range(10):
            raw = stack.enter_context(Raw(world))
            raw.write(mq.handshake_message(mq.CLIENT_HELLO, raw.handshake.hello())[:20])
            session = stack.enter_context(RawSession(world))
            session.write(session.outgoing.seal([Frame("Ping", {"number": 1})])[:50])
            silent.append(session)
        handle = session_with_half_body(stack, world)
        must(handle > 0, "no topic")
        started = time.monotonic()
        name = world.topic_name()
        with world.client("alice") as alice, world.client("bob") as bob:
            topic = alice.create(name, ["bob"])
            bob.subscribe(name, mq.LATEST)
            for i in range(10):
                alice.publish(topic, b"%d" % i)
                must(bob.receive(2).content == b"%d" % i, "another message")
        must(time.monotonic() - started < 3, "the silent ones hold up others")


def session_with_half_body(stack: contextlib.ExitStack, world: World) -> int:
    session = stack.enter_context(RawSession(world))
    handle = session.topic()
    fields = {"slot": 0, "topic": handle, "epoch": 0, "counter": 0, "body": os.urandom(100_000)}
    session.write(session.outgoing.seal([Frame("Publish", fields)])[:-50_000])
    return handle


@rude("ping flood without reading")
def _(world: World) -> str:
    count = 8_000
    with RawSession(world) as session:
        flood = b"".join(session.outgoing.seal([Frame("Ping", {"number": i})]) for i in range(count))
        sender = threading.Thread(target=quietly, args=(session.write, flood), daemon=True)
        sender.start()
        started = time.monotonic()
        with world.client("bob") as bob:
            for _ in range(5):
                bob.ping()
        must(time.monotonic() - started < 3, "the flood holds up others")
        pongs = 0
        try:
            while pongs < count:
                for frame in session.incoming.read(session.read):
                    if frame.kind == "Close":
                        must(frame.code in (2, 6), f"closed with {frame.code}: {frame.text}")
                        return f"close {frame.code} behind {pongs} pongs"
                    must(frame.kind == "Pong" and frame.number == pongs, f"{frame} instead of Pong {pongs}")
                    pongs += 1
        except ConnectionError:
            return f"cut behind {pongs} pongs"
        except TimeoutError:
            raise Failed(f"silence behind {pongs} of {count} pongs") from None
        sender.join(5)
        return "all answered"


def quietly(write: Callable[[bytes], None], data: bytes) -> None:
    with contextlib.suppress(OSError):
        write(data)


@rude("a subscriber that does not read")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, RawSession(world) as deaf, world.client("bob") as bob:
        topic = alice.create(name, ["bob"])
        deaf.frames(Frame("Subscribe", {"request": 1, "filter": name, "start": mq.EARLIEST}))
        bob.subscribe(name, mq.EARLIEST)
        contents = [bytes([i]) * 500_000 for i in range(24)]
        alice.publish_all(topic, contents)
        got = [bob.receive(5).content for _ in contents]
        must(got == contents, "the one that reads does not get all")


@rude("connections that end at once")
def _(world: World) -> None:
    for _ in range(200):
        sock = socket.create_connection((world.host, world.port), 5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
        sock.close()


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
        for name, function in RUDE:
            report.run("rude: " + name, lambda: with_polite(function, world))
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
