"""What the cases work with: a home with certificates, a broker, the sealmq program, connections of all kinds."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import socket
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import sealmq as mq
from sealmq import Client, Frame, Identity

# The command lines, in one place. `{home}`, `{host}`, `{port}`, `{name}`, `{topic}` and `{text}` are filled in.
CA_INIT = ["ca", "init", "--home", "{home}"]
CA_ISSUE_CLIENT = ["ca", "issue", "--home", "{home}", "{name}"]
CA_ISSUE_BROKER = ["ca", "issue", "--home", "{home}", "--broker", "{name}"]
CA_REVOKE = ["ca", "revoke", "--home", "{home}", "{name}"]
BROKER = ["--listen", "127.0.0.1:0", "--home", "{home}"]
DAVE = ["--home", "{home}", "-h", "{host}", "-p", "{port}", "--as", "dave"]
CREATE = ["create", *DAVE, "{topic}"]
PUB_TO = ["pub", *DAVE, "-t", "{topic}"]
PUB = [*PUB_TO, "-m", "{text}"]
SUB = ["sub", *DAVE, "-t", "{topic}"]

CLIENTS = ("alice", "bob", "carol", "dave", "erin", "mallory")


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
        values = {"home": str(self.home), "host": self.host, "port": str(self.port)} | values
        return [self.sealmq, *(argument.format(**values) for argument in arguments)]

    def run(self, arguments: list[str], **values: str) -> str:
        """Runs a sealmq command to its end; gives its standard output."""
        return self.run_bytes(arguments, **values).decode()

    def try_run(self, arguments: list[str], **values: str) -> tuple[int, str, str]:
        """Runs a sealmq command that need not end well: exit code, standard output and error."""
        done = subprocess.run(
            self.command(arguments, **values), cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=15,
        )
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def run_bytes(self, arguments: list[str], given: bytes = b"", **values: str) -> bytes:
        """The same, with `given` as standard input."""
        command = self.command(arguments, **values)
        done = subprocess.run(
            command, cwd=self.home, env=self.environment, input=given, capture_output=True, timeout=15
        )
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
    def client(self, name: str, clean: bool = True) -> Iterator[Client]:
        """A client's session; if it is to be `clean`, the client has nothing to report at its end."""
        client = Client.connect(self.host, self.port, self.identities[name], self.ca)
        client.timeout = 10.0
        try:
            yield client
            must(not (clean and client.dropped), f"{name} dropped messages: {client.dropped[:1]}")
            must(not (clean and client.missing), f"{name} missed messages: {client.missing[:1]}")
        finally:
            client.close()

    def polite(self) -> None:
        """The broker still serves one who keeps to the rules."""
        must(self.broker.poll() is None, f"the broker ended with {self.broker.poll()}")
        with self.client("bob") as client:
            client.timeout = 3.0
            client.ping()
            must(client.exit().code == 0, "a polite client was not let go with code 0")


def flip(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


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
# Connections that can be rude


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

    def refused(self, code: int, sealed: bool) -> str:
        """The broker refuses with this code, sealed or in clear, and closes."""
        try:
            kind, payload = mq.read_handshake_message(self.read)
        except ConnectionError:
            raise Failed("the connection was cut without a refusal") from None
        except TimeoutError:
            raise Failed("no refusal within 5 s") from None
        must(kind in (mq.REFUSAL, mq.SEALED_REFUSAL), f"message {kind} instead of a refusal")
        refusal = self.handshake.refusal(kind, payload)
        must(refusal.code == code, f"refused with {refusal.code}, not {code}: {refusal.text}")
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
        self.welcome = self.wait("Welcome")

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

    def ended(self, code: int) -> str:
        """The session ends within 5 s, by Close with this code."""
        try:
            while True:
                for frame in self.incoming.read(self.read):
                    if frame.kind == "Close":
                        must(frame.code == code, f"closed with {frame.code}, not {code}: {frame.text}")
                        return f"close {frame.code}"
                    must(frame.kind in ("Ping", "Pong", "Record", "Topic"), f"answered with {frame}")
        except ConnectionError:
            raise Failed("the session was cut without a Close") from None
        except TimeoutError:
            raise Failed("the session goes on") from None

    def publish(self, handle: int, counter: int, body: bytes, slot: int = 0) -> None:
        fields = {"slot": slot, "topic": handle, "epoch": 0, "counter": counter, "body": body}
        self.frames(Frame("Publish", fields))

    def name_publisher(self, publisher: mq.Publisher) -> None:
        fields = {"slot": 0, "publisher": publisher.id, "delegation": publisher.delegation}
        self.frames(Frame("Publisher", fields))

    def topic(self) -> int:
        """Opens a fresh topic and names a publisher in slot 0; gives the topic's handle."""
        name = self.world.topic_name()
        new = mq.make_topic(self.world.alice, name)
        create = {
            "request": 1, "name": name, "durability": 0, "retention": (0, 0, 0),
            "genesis": new.genesis, "delta": new.delta,
        }
        self.frames(Frame("Wraps", {"wraps": new.wraps}), Frame("Create", create))
        self.name_publisher(mq.Publisher.new(self.world.alice))
        return self.wait("Topic", "Refused").topic


# ---------------------------------------------------------------------------------------------
# The cases


Case = Callable[[World], "str | None"]
POLITE: list[tuple[str, Case]] = []
RUDE: list[tuple[str, Case]] = []


def case(cases: list[tuple[str, Case]], name: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        cases.append((name, function))
        return function

    return register


polite, rude = functools.partial(case, POLITE), functools.partial(case, RUDE)
