"""A session with a broker: the one part that has a socket and a thread (sections 4 and 5 of the page)."""

from __future__ import annotations

import os
import queue
import select
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Callable, Sequence

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from .certificates import Identity, check_certificate, check_crl, common_name, fingerprint
from .chain import ROLE_MEMBER, Chain, NewTopic, Signer, make_topic, open_body, seal_body
from .frames import DURABILITY_MEMORY, FRAME_CODES, LATEST, RECORDS_ONLY, Direction, Frame, Start
from .handshake import REFUSAL, SEALED_REFUSAL, ClientHandshake
from .wire import (
    MAX_HANDSHAKE, AuthenticationError, HandshakeRefused, ProtocolError, RequestRefused, SessionClosed,
    check_topic_name, clock, now_ms,
)

@dataclass
class Message:
    """A message as the application sees it."""

    topic: str
    offset: int
    time: int
    sender: str
    content: bytes


@dataclass
class Topic:
    """A topic that the session has opened."""

    handle: int
    name: str
    incarnation: int
    start: int
    end: int
    durability: int
    notice: int
    chain: Chain
    senders: dict[int, Frame] = field(default_factory=dict)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    broken: ProtocolError | None = None  # what was wrong with a record; the topic is over for this client
    ended: int | None = None
    delivering: bool = False
    # Of the delivery that is going on, if only that of records:
    caught_up: int | None = None
    passed: int = -1
    counters: dict[tuple[bytes, bytes], int] = field(default_factory=dict)

    def begin(self, delivering: bool) -> None:
        """What comes next is of another delivery."""
        self.delivering = delivering
        self.caught_up, self.passed, self.counters = None, -1, {}


@dataclass
class Dropped:
    """A message that was not taken, and why."""

    topic: str
    offset: int
    why: str


def matches(pattern: str, name: str) -> bool:
    """Whether a filter matches a topic's name (MQTT 3.1.1, 4.7)."""
    wanted, levels = pattern.split("/"), name.split("/")
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(w in ("+", level) for w, level in zip(wanted, levels))


class Client:
    """A session with a broker.

    A thread reads records, answers Pings and queues all other frames. Everything else happens in
    the caller's thread, in whichever method waits for something.
    """

    def __init__(self, sock: socket.socket, identity: Identity, ca: x509.Certificate, host: str):
        self.identity, self.ca = identity, ca
        self.sock = sock
        self.timeout = 20.0
        self.closed: SessionClosed | None = None
        self.topics: dict[int, Topic] = {}
        self.messages: deque[Message] = deque()
        self.dropped: list[Dropped] = []
        self.filters: set[str] = set()
        self._starts: dict[int, Start] = {}
        self.publisher = os.urandom(16)
        self.counters: dict[str, int] = {}
        self._request = 0
        self._publisher_told = False
        self._answers: deque[Frame] = deque()
        self._frames: queue.Queue[Frame | SessionClosed] = queue.Queue()
        self._sending, self._pongs = threading.Lock(), deque[int]()
        self._keepalive = 60.0

        handshake = ClientHandshake(identity, ca, host)
        handshake.run(self._read_plain, self.sock.sendall)
        self.handshake = handshake
        self._out, self._in = Direction(handshake.send_key), Direction(handshake.receive_key)
        self.sock.settimeout(None)
        self._thread = threading.Thread(target=self._read_records, daemon=True)
        self._thread.start()
        self.welcome = self._wait(lambda frame: frame.kind == "Welcome")
        self._keepalive = float(self.welcome.keepalive)

    @staticmethod
    def connect(
        host: str, port: int, identity: Identity, ca: x509.Certificate, name: str | None = None, timeout: float = 10.0
    ) -> Client:
        """Dials, and does the handshake; `name` is the host to look for in the certificate."""
        sock = socket.create_connection((host, port), timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return Client(sock, identity, ca, name or host)
        except BaseException:
            sock.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading and writing

    def _read_plain(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise SessionClosed(None, "the broker closed the connection during the handshake")
            data += part
        return bytes(data)

    def _read_alive(self, count: int) -> bytes:
        """Reads exactly `count` bytes, and sends a Ping when nothing comes for long."""
        data, silent = bytearray(), 0
        while len(data) < count:
            if not select.select([self.sock], [], [], self._keepalive)[0]:
                silent += 1
                if silent >= 2:
                    self.send(Frame("Close", {"code": 5, "text": ""}))
                    raise SessionClosed(None, "nothing heard for twice the keepalive")
                self.send(Frame("Ping", {"number": now_ms()}))
                continue
            part = self.sock.recv(min(count - len(data), 1 << 18))
            if not part:
                raise SessionClosed(None, "the broker closed the connection")
            data, silent = data + part, 0
        return bytes(data)

    def _read_records(self) -> None:
        """The reading thread."""
        first = True
        try:
            while True:
                if first:
                    frames, first = self._read_first(), False
                else:
                    frames = self._in.read(self._read_alive)
                for frame in frames:
                    if frame.kind == "Ping":
                        self._pongs.append(frame.number)
                    elif frame.kind == "Close":
                        raise SessionClosed(frame.code, frame.text)
                    elif FRAME_CODES[frame.kind] < 0x40 and frame.kind != "Pong":
                        raise ProtocolError(f"the broker sent a {frame.kind}")
                    else:
                        self._frames.put(frame)
                self._flush_pongs()
        except SessionClosed as error:
            self._frames.put(error)
        except (ProtocolError, HandshakeRefused, OSError, ValueError) as error:
            self._frames.put(SessionClosed(None, str(error)))
        finally:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _read_first(self) -> list[Frame]:
        """The first record; a refusal of ClientReady may stand in its place.

        A token begins with 0x80 and a refusal with 6 or 7, so that they can be told apart.
        """
        length = self._read_alive(4)
        first = self._read_alive(1)
        if first[0] in (REFUSAL, SEALED_REFUSAL):
            size = int.from_bytes(length, "big")
            if size > MAX_HANDSHAKE:
                raise ProtocolError("a refusal is too large")
            raise self.handshake.refusal(first[0], self._read_alive(size - 1))
        ahead = length + first

        def read(count: int) -> bytes:
            nonlocal ahead
            taken, ahead = ahead[:count], ahead[count:]
            return taken + self._read_alive(count - len(taken))

        return self._in.read(read)

    def _flush_pongs(self) -> None:
        """Answers Pings, unless another thread is sending: then that one answers them behind."""
        while self._pongs and self._sending.acquire(blocking=False):
            try:
                self._write([])
            finally:
                self._sending.release()

    def _write(self, frames: list[Frame]) -> None:
        pongs = []
        while self._pongs and len(pongs) < 100:
            pongs.append(Frame("Pong", {"number": self._pongs.popleft()}))
        self.sock.sendall(self._out.seal(pongs + frames))

    def send(self, *frames: Frame) -> None:
        """Sends the frames in one record."""
        with self._sending:
            self._write(list(frames))
        self._flush_pongs()

    def _wait(self, wanted: Callable[[Frame], bool], timeout: float | None = None) -> Frame:
        """Waits for a frame that is `wanted`; on the way takes over what the other frames say."""
        until = time.monotonic() + (self.timeout if timeout is None else timeout)
        for frame in list(self._answers):
            if wanted(frame):
                self._answers.remove(frame)
                return frame
        while True:
            frame = self._next(until - time.monotonic())
            if wanted(frame):
                return frame
            if frame.kind in ("Published", "PublishRefused", "Topic", "Ended", "CrlChanged", "Pong"):
                self._answers.append(frame)

    def _next(self, timeout: float) -> Frame:
        if self.closed:
            raise self.closed
        try:
            item = self._frames.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            raise TimeoutError("the broker did not send what was waited for") from None
        if isinstance(item, SessionClosed):
            self.closed = item
            raise item
        self._take(item)
        return item

    # What the broker says

    def _take(self, frame: Frame) -> None:
        """Takes over what a frame says about a topic."""
        if frame.kind == "Topic":
            self._take_topic(frame)
        elif frame.kind == "Record":
            self._take_record(self._topic(frame), frame)
        elif frame.kind == "Sender":
            self._topic(frame).senders[frame.sender] = frame
        elif frame.kind == "Message":
            topic = self._topic(frame)
            try:
                self._take_message(topic, frame)
            except ProtocolError as error:
                self.dropped.append(Dropped(topic.name, frame.offset, str(error)))
        elif frame.kind == "CaughtUp":
            self._topic(frame).caught_up = frame.next
        elif frame.kind == "Gap":
            self._topic(frame).gaps.append((frame.start, frame.to))
        elif frame.kind == "Ended":
            self._topic(frame).ended = frame.code

    def _take_topic(self, frame: Frame) -> None:
        known = self.topics.get(frame.topic)
        if known is None:
            chain = Chain(check_topic_name(frame.name), self.identity.fingerprint, self.identity.key)
            known = Topic(
                frame.topic, frame.name, frame.incarnation, frame.start, frame.end,
                frame.durability, frame.notice, chain,
            )
            self.topics[frame.topic] = known
        known.start, known.end, known.notice = frame.start, frame.end, frame.notice
        if not known.delivering and self._starts.get(frame.request, RECORDS_ONLY) != RECORDS_ONLY:
            known.begin(delivering=True)

    def _topic(self, frame: Frame) -> Topic:
        try:
            return self.topics[frame.topic]
        except KeyError:
            raise ProtocolError(f"{frame.kind} for an unknown topic") from None

    def _take_record(self, topic: Topic, frame: Frame) -> None:
        if topic.broken:
            return
        try:
            certificate = check_certificate(frame.certificate, self.ca, ExtendedKeyUsageOID.CLIENT_AUTH)
            topic.chain.apply(frame.offset, frame.record, frame.wrap, Signer.of(certificate))
        except ProtocolError as error:
            topic.broken = error

    def _take_message(self, topic: Topic, frame: Frame) -> None:
        """Takes a message that is as section 7.3 wants it."""
        if topic.broken:
            raise topic.broken
        sender = topic.senders.get(frame.sender)
        if sender is None:
            raise ProtocolError("a message of an unknown sender")
        certificate = check_certificate(sender.certificate, self.ca, ExtendedKeyUsageOID.CLIENT_AUTH)
        if (fingerprint(certificate), common_name(certificate)) != (sender.fingerprint, sender.name):
            raise AuthenticationError("a Sender's certificate is another's")
        if sender.fingerprint not in topic.chain.were_members:
            raise AuthenticationError("a message of one who never was a member")
        if frame.epoch != topic.chain.epoch_at(frame.offset):
            raise AuthenticationError("a message of another epoch than the records say")
        if frame.offset <= topic.passed:
            raise AuthenticationError("a message at an offset that was passed")
        who = (sender.fingerprint, sender.publisher)
        if frame.counter <= topic.counters.get(who, -1):
            raise AuthenticationError("a message with a counter that was had already")
        epoch = topic.chain.epochs[frame.epoch]
        content = open_body(topic.chain.topic_id, epoch, sender.publisher, frame.counter, frame.body)
        topic.passed, topic.counters[who] = frame.offset, frame.counter
        self.messages.append(Message(topic.name, frame.offset, frame.time, sender.name, content))

    # Requests

    def request(self, kind: str, /, **fields: Any) -> int:
        """Sends a request and gives its number."""
        self._request += 1
        self._starts[self._request] = fields.get("start", RECORDS_ONLY)
        self.send(Frame(kind, {"request": self._request, **fields}))
        return self._request

    def answer(self, number: int, *kinds: str) -> Frame:
        """Waits for a request's answer."""
        frame = self._wait(lambda f: f.kind in (*kinds, "Refused") and f.request == number)
        if frame.kind == "Refused":
            raise RequestRefused(frame.code, frame.detail, frame.text)
        return frame

    def clients(self, names: Sequence[str] = ()) -> list[tuple[x509.Certificate, int]]:
        """The certificates that the broker knows, checked, with the time each was last seen."""
        found, after = [], bytes(32)
        while True:
            page = self.answer(self.request("ListClients", after=after, names=list(names)), "Clients")
            for der, seen in page.clients:
                certificate = check_certificate(der, self.ca, ExtendedKeyUsageOID.CLIENT_AUTH, at=clock())
                found.append((certificate, seen))
                after = fingerprint(certificate)
            if not page.more or not page.clients:
                return found

    def list_topics(self, pattern: str = "#") -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        while True:
            after = found[-1][0] if found else ""
            page = self.answer(self.request("ListTopics", after=after, filter=pattern), "Topics")
            found += page.topics
            if not page.more or not page.topics:
                return found

    def create(
        self,
        name: str,
        members: Sequence[str],
        durability: int = DURABILITY_MEMORY,
        retention: tuple[int, int, int] = (0, 0, 0),
        **policy: int,
    ) -> Topic:
        """Creates a topic for this client and the named ones, and waits for its records."""
        known = [(certificate, ROLE_MEMBER) for certificate, _ in self.clients(members)] if members else []
        missing = set(members) - {common_name(certificate) for certificate, _ in known}
        if missing:
            raise ValueError(f"the broker knows no certificate of {sorted(missing)}")
        return self.create_from(name, make_topic(self.identity, name, known, **policy), durability, retention)

    def create_from(
        self, name: str, new: NewTopic, durability: int = DURABILITY_MEMORY, retention: tuple[int, int, int] = (0, 0, 0)
    ) -> Topic:
        for at in range(0, len(new.wraps), 50):
            self.send(Frame("Wraps", {"wraps": new.wraps[at : at + 50]}))
        number = self.request(
            "Create", name=name, durability=durability, retention=retention, genesis=new.genesis, delta=new.delta
        )
        return self._with_key(self.topics[self.answer(number, "Topic").topic])

    def open(self, name: str, start: Start = RECORDS_ONLY) -> Topic:
        """Opens a topic and waits for its records."""
        frame = self.answer(self.request("Open", name=name, start=start), "Topic")
        return self._with_key(self.topics[frame.topic])

    def _with_key(self, topic: Topic) -> Topic:
        while topic.caught_up is None:
            self._wait(lambda frame: frame.kind == "CaughtUp" and frame.topic == topic.handle)
        if topic.broken:
            raise topic.broken
        if topic.chain.newest.key is None:
            raise ProtocolError(f"no key for {topic.name}")
        return topic

    def subscribe(self, pattern: str, start: Start = LATEST) -> Frame:
        """Subscribes; the topics come into `topics`, their messages into `messages`."""
        self.filters.add(pattern)
        return self.answer(self.request("Subscribe", filter=pattern, start=start), "Subscribed")

    def unsubscribe(self, pattern: str) -> None:
        self.answer(self.request("Unsubscribe", filter=pattern), "Done")
        self.filters.discard(pattern)
        for topic in self.topics.values():
            if matches(pattern, topic.name) and not any(matches(other, topic.name) for other in self.filters):
                topic.begin(delivering=False)

    def wait_for(self, kind: str) -> Frame:
        """The next frame of this kind."""
        return self._wait(lambda frame: frame.kind == kind)

    def crl(self) -> tuple[int, set[int]]:
        """The number of the broker's revocation list, checked, and the serial numbers on it."""
        data, number = b"", None
        while True:
            part = self.answer(self.request("GetCrl", start=len(data)), "CrlPart")
            if number is not None and part.number != number:  # a new list came on the way
                data, number = b"", None
                continue
            data, number = data + part.part, part.number
            if len(data) == part.total:
                found, serials = check_crl(data, self.ca)
                if found != number:
                    raise ProtocolError("a CRL has another number than the broker said")
                return number, serials
            if not part.part:
                raise ProtocolError("a CRL ends too early")

    def ping(self) -> None:
        number = int.from_bytes(os.urandom(8), "big")
        self.send(Frame("Ping", {"number": number}))
        self._wait(lambda frame: frame.kind == "Pong" and frame.number == number)

    # Messages

    def receive(self, timeout: float | None = None) -> Message:
        """The next message of any subscribed topic."""
        until = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not self.messages:
            frame = self._next(until - time.monotonic())
            if frame.kind in ("Topic", "Published", "PublishRefused"):
                self._answers.append(frame)
        return self.messages.popleft()

    def receive_past(self, topic_name: str) -> list[Message]:
        """The messages of a subscribed topic up to its CaughtUp."""

        def caught_up() -> bool:
            return any(t.name == topic_name and t.caught_up is not None for t in self.topics.values())

        if not caught_up():
            self._wait(lambda _: caught_up())
        past = [message for message in self.messages if message.topic == topic_name]
        self.messages = deque(message for message in self.messages if message.topic != topic_name)
        return past

    def publish(self, topic: Topic, content: bytes) -> int:
        """Publishes one message and gives its offset."""
        return self.publish_all(topic, [content])[0]

    def publish_all(self, topic: Topic, contents: Sequence[bytes]) -> list[int]:
        """Publishes messages, as many at a time as the broker's window allows."""
        offsets: list[int] = []
        first = self.counters.get(topic.name, 0)
        sent = 0
        while len(offsets) < len(contents):
            while sent < len(contents) and sent - len(offsets) < self.welcome.window:
                self.send_publish(topic, first + sent, contents[sent])
                sent += 1
            try:
                offsets.append(self.published(topic, first + len(offsets)))
                self.counters[topic.name] = first + len(offsets)
            except RequestRefused as error:
                if error.code not in (11, 15):
                    raise
                # Another epoch, or busy: the ones behind are refused too, then all are sent again.
                for counter in range(first + len(offsets) + 1, first + sent):
                    self._publish_answer(topic, counter)
                sent = len(offsets)
                if error.code == 15:
                    time.sleep(error.detail / 1000)
                elif error.detail not in topic.chain.epochs:
                    self._wait(lambda _, newest=error.detail: newest in topic.chain.epochs)
        return offsets

    def send_publish(self, topic: Topic, counter: int, content: bytes) -> None:
        """Seals and sends one message under a counter, without waiting for the answer."""
        epoch = topic.chain.newest
        body = seal_body(topic.chain.topic_id, epoch, self.publisher, counter, content)
        self.send_body(topic.handle, epoch.number, counter, body)

    def send_body(self, handle: int, epoch: int, counter: int, body: bytes) -> None:
        frames = []
        if not self._publisher_told:
            frames.append(Frame("Publisher", {"slot": 0, "publisher": self.publisher, "delegation": b""}))
            self._publisher_told = True
        fields = {"slot": 0, "topic": handle, "epoch": epoch, "counter": counter, "body": body}
        self.send(*frames, Frame("Publish", fields))

    def published(self, topic: Topic, counter: int) -> int:
        """Waits for a Publish's answer; gives the offset."""
        frame = self._publish_answer(topic, counter)
        if frame.kind == "PublishRefused":
            raise RequestRefused(frame.code, frame.detail, "publish")
        return frame.offset

    def _publish_answer(self, topic: Topic, counter: int) -> Frame:
        return self._wait(
            lambda f: f.kind in ("Published", "PublishRefused") and (f.topic, f.counter) == (topic.handle, counter)
        )

    # The end

    def exit(self, forget: bool = False) -> SessionClosed:
        """Asks the broker to end the session; gives what it ended with."""
        self.send(Frame("Exit", {"forget": forget}))
        return self.wait_closed()

    def wait_closed(self, timeout: float | None = None) -> SessionClosed:
        """Reads on until the session is over."""
        until = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            while True:
                self._next(until - time.monotonic())
        except SessionClosed as error:
            return error

    def close(self) -> None:
        """Closes the connection as it is."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join(5)
        self.sock.close()
