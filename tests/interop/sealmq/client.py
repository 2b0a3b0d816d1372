"""A client of a broker: topics, their members, and messages (sections 5.1 to 5.5 and 7 of the page)."""

from __future__ import annotations

import socket
import time
from collections import deque
from typing import Any, Sequence

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from .amending import Certificates, NewRecord, NewTopic, make_delta, make_topic
from .certificates import Identity, check_certificate, check_crl, common_name, fingerprint
from .chain import ROLE_MEMBER
from .frames import DURABILITY_MEMORY, LATEST, RECORDS_ONLY, Frame, Start
from .joining import JoinRequest, believe, check_admission, make_join_request
from .messages import Publisher, seal_body
from .session import Session
from .topics import Dropped, Inbox, Message, Missing, Topic
from .wire import AuthenticationError, ProtocolError, RequestRefused, clock


def matches(pattern: str, name: str) -> bool:
    """Whether a filter matches a topic's name (MQTT 3.1.1, 4.7)."""
    wanted, levels = pattern.split("/"), name.split("/")
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(w in ("+", level) for w, level in zip(wanted, levels))


class Client(Session):
    """A session with a broker, and what came of its topics."""

    def __init__(self, sock: socket.socket, identity: Identity, ca: x509.Certificate, host: str):
        self.topics: dict[int, Topic] = {}
        self.inbox = Inbox()
        self.filters: set[str] = set()
        self.revoked: set[int] = set()
        self.publisher = Publisher.new(identity)
        self.counters: dict[str, int] = {}
        self._crl, self.crl_until = 0, 0.0
        self._starts: dict[int, Start] = {}
        self._told: Publisher | None = None
        self._known: dict[bytes, x509.Certificate] = {}
        super().__init__(sock, identity, ca, host)

    @property
    def messages(self) -> deque[Message]:
        return self.inbox.messages

    @property
    def dropped(self) -> list[Dropped]:
        return self.inbox.dropped

    @property
    def missing(self) -> list[Missing]:
        return self.inbox.missing

    # What the broker says

    def _take(self, frame: Frame) -> None:
        """Takes over what a frame says about a topic."""
        if frame.kind == "Topic":
            topic = self.topics.get(frame.topic)
            if topic is None:
                topic = Topic(frame, self.identity, self.ca, self.inbox, self.revoked)
                self.topics[frame.topic] = topic
            topic.take_topic(frame, self._starts.get(frame.request, RECORDS_ONLY) != RECORDS_ONLY)
        elif frame.kind == "Record":
            self._topic(frame).take_record(frame)
        elif frame.kind == "Sender":
            self._topic(frame).take_sender(frame)
        elif frame.kind == "Message":
            self._topic(frame).take_message(frame)
        elif frame.kind == "CaughtUp":
            self._topic(frame).take_caught_up(frame)
        elif frame.kind == "Gap":
            self._topic(frame).take_gap(frame)
        elif frame.kind == "Ended":
            self._topic(frame).ended = frame.code

    def _topic(self, frame: Frame) -> Topic:
        try:
            return self.topics[frame.topic]
        except KeyError:
            raise ProtocolError(f"{frame.kind} for an unknown topic") from None

    def topic(self, name: str) -> Topic:
        """The open topic of this name."""
        return next(topic for topic in self.topics.values() if topic.name == name and topic.ended is None)

    # Requests

    def request(self, kind: str, /, **fields: Any) -> int:
        self._starts[self._request + 1] = fields["start"] if kind in ("Open", "Subscribe") else RECORDS_ONLY
        return super().request(kind, **fields)

    def clients(self, names: Sequence[str] = ()) -> list[tuple[x509.Certificate, int]]:
        """The certificates that the broker knows, checked, with the time each was last seen."""
        found, after = [], bytes(32)
        while True:
            page = self.ask("ListClients", "Clients", after=after, names=list(names))
            for der, seen in page.clients:
                certificate = check_certificate(der, self.ca, ExtendedKeyUsageOID.CLIENT_AUTH, at=clock())
                found.append((certificate, seen))
                after = fingerprint(certificate)
            if not page.more or not page.clients:
                return found

    def named(self, names: Sequence[str]) -> list[x509.Certificate]:
        """The certificates of these names."""
        found = {common_name(certificate): certificate for certificate, _ in self.clients(names)} if names else {}
        missing = set(names) - found.keys()
        if missing:
            raise ValueError(f"the broker knows no certificate of {sorted(missing)}")
        return [found[name] for name in names]

    def certificates(self, fingerprints: Sequence[bytes]) -> dict[bytes, x509.Certificate]:
        """The certificates of these that the broker has, checked but for their times and revocation."""
        wanted = list(fingerprints)
        while wanted:
            page = self.ask("GetCertificates", "Clients", fingerprints=wanted)
            for der, _ in page.clients:
                certificate = check_certificate(der, self.ca, ExtendedKeyUsageOID.CLIENT_AUTH)
                who = fingerprint(certificate)
                if who not in wanted:
                    raise ProtocolError("a certificate that was not asked for, or out of order")
                wanted = wanted[wanted.index(who) + 1 :]
                self._known[who] = certificate
            if not page.more or not page.clients:
                break
        return {who: self._known[who] for who in fingerprints if who in self._known}

    def list_topics(self, pattern: str = "#") -> list[Any]:
        found: list[Any] = []
        while True:
            after = found[-1].name if found else ""
            page = self.ask("ListTopics", "Topics", after=after, filter=pattern)
            found += page.topics
            if not page.more or not page.topics:
                return found

    def entry(self, name: str) -> Any:
        """The topic of just this name, as it is listed."""
        found = self.list_topics(name)
        if [entry.name for entry in found] != [name]:
            raise ProtocolError(f"asked for {name!r}, listed {len(found)} topics")
        return found[0]

    def create(
        self,
        name: str,
        members: Sequence[str],
        durability: int = DURABILITY_MEMORY,
        retention: tuple[int, int, int] = (0, 0, 0),
        **policy: int,
    ) -> Topic:
        """Creates a topic for this client and the named ones, and waits for its records."""
        known = [(certificate, ROLE_MEMBER) for certificate in self.named(members)]
        return self.create_from(name, make_topic(self.identity, name, known, **policy), durability, retention)

    def create_from(
        self, name: str, new: NewTopic, durability: int = DURABILITY_MEMORY, retention: tuple[int, int, int] = (0, 0, 0)
    ) -> Topic:
        self.stage(new.wraps)
        answer = self.ask(
            "Create", "Topic",
            name=name, durability=durability, retention=retention, genesis=new.genesis, delta=new.delta,
        )
        return self._with_key(self.topics[answer.topic])

    def stage(self, wraps: Sequence[bytes]) -> None:
        for at in range(0, len(wraps), 50):
            self.send(Frame("Wraps", {"wraps": wraps[at : at + 50]}))

    def open(self, name: str, start: Start = RECORDS_ONLY) -> Topic:
        """Opens a topic and waits for its records."""
        return self._with_key(self.topics[self.ask("Open", "Topic", name=name, start=start).topic])

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
        self.ask("Unsubscribe", filter=pattern)
        self.filters.discard(pattern)
        for topic in self.topics.values():
            if matches(pattern, topic.name) and not any(matches(other, topic.name) for other in self.filters):
                topic.stop()

    def crl(self) -> tuple[int, set[int]]:
        """The number of the broker's revocation list, checked, and the serial numbers on it."""
        data, number = b"", None
        while True:
            part = self.ask("GetCrl", "CrlPart", start=len(data))
            if number is not None and part.number != number:  # a new list came on the way
                data, number = b"", None
                continue
            data, number = data + part.part, part.number
            if len(data) == part.total:
                found, serials, self.crl_until = check_crl(data, self.ca)
                if found != number:
                    raise ProtocolError("a CRL has another number than the broker said")
                if number < self._crl:
                    raise ProtocolError("a CRL that is older than one seen before")
                self._crl = number
                self.revoked.update(serials)
                return number, serials
            if not part.part:
                raise ProtocolError("a CRL ends too early")

    # Members

    def amend(self, topic: Topic, **changes: Any) -> NewRecord:
        """Changes a topic's members, in whatever way `make_delta` can; made anew when another record comes first."""
        while True:
            new = self.make_record(topic, **changes)
            number = topic.chain.number
            try:
                self.append(topic, new)
                return new
            except RequestRefused as error:
                if error.code != 13:
                    raise
            self.until(lambda: topic.chain.number > number or topic.broken is not None)

    def make_record(self, topic: Topic, **changes: Any) -> NewRecord:
        """The record for these changes, from the chain as it is known here."""
        return make_delta(topic.chain, self.identity, self.members_certificates(topic), **changes)

    def members_certificates(self, topic: Topic) -> Certificates:
        members = topic.chain.members
        unknown = [who for who in members if who not in self._known]
        if unknown:
            self.certificates(unknown)
        for who, member in members.items():
            if who not in self._known or common_name(self._known[who]) != member.name:
                raise AuthenticationError(f"no certificate of the member {member.name}")
        return {who: self._known[who] for who in members}

    def append(self, topic: Topic, new: NewRecord) -> None:
        """Appends a record and waits until it has come back."""
        self.stage(new.wraps)
        number = topic.chain.number
        self.ask("Append", topic=topic.handle, record=new.record)
        self.until(lambda: topic.chain.number > number or topic.broken is not None)
        if topic.broken:
            raise topic.broken

    def join(self, name: str) -> None:
        """Asks to become a member."""
        request = make_join_request(self.identity, name, self.entry(name).topic_id)
        self.ask("Join", name=name, join=request)

    def requests(self, pattern: str, follow: bool = False) -> list[Any]:
        """What is asked of the topics that one may change, as the broker tells it."""
        found: list[Any] = []
        after, client = "", bytes(32)
        while True:
            page = self.ask(
                "ListRequests", "Requests", follow=follow, filter=pattern, after=after, after_client=client
            )
            found += page.requests
            if not page.more or not page.requests:
                return found
            last = page.requests[-1]
            after = last.topic
            client = fingerprint(check_certificate(last.certificate, self.ca, ExtendedKeyUsageOID.CLIENT_AUTH))

    def believed(self, topic: Topic, entry: Any) -> JoinRequest:
        """A request to join, if all about it is true."""
        request = believe(entry.request, entry.certificate, self.ca, topic.name, topic.chain.topic_id)
        if request.certificate.serial_number in self.revoked:
            raise AuthenticationError("a join request of one whose certificate was revoked")
        return request

    def admit(self, topic: Topic, entry: Any) -> None:
        """Lets in who asks, as clients of owner and admins do by themselves under the open policy."""
        request = self.believed(topic, entry)
        check_admission(topic.chain, request)
        if self.crl_until < clock():
            raise AuthenticationError("no CRL in force")
        self.amend(topic, add=[(request.certificate, ROLE_MEMBER)])

    # Messages

    def receive(self, timeout: float | None = None) -> Message:
        """The next message of any subscribed topic."""
        until = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not self.messages:
            frame = self._next(until - time.monotonic())
            self._keep(frame)
        return self.messages.popleft()

    def receive_past(self, topic_name: str) -> list[Message]:
        """The messages of a subscribed topic up to its CaughtUp."""

        def caught_up() -> bool:
            return any(
                t.name == topic_name and t.ended is None and t.delivery is not None and t.caught_up is not None
                for t in self.topics.values()
            )

        self.until(caught_up)
        past = [message for message in self.messages if message.topic == topic_name]
        for message in past:
            self.messages.remove(message)
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
                else:
                    self.until(lambda newest=error.detail: newest in topic.chain.epochs)
        return offsets

    def send_publish(self, topic: Topic, counter: int, content: bytes) -> None:
        """Seals and sends one message under a counter, without waiting for the answer."""
        if topic.signer_revoked:
            raise AuthenticationError("the certificate of the newest record's signer was revoked")
        epoch = topic.chain.newest
        body = seal_body(topic.chain.topic_id, epoch, self.publisher, counter, content)
        self.send_body(topic.handle, epoch.number, counter, body)

    def send_body(self, handle: int, epoch: int, counter: int, body: bytes) -> None:
        frames, publisher = [], self.publisher
        if self._told != publisher:
            frames.append(
                Frame("Publisher", {"slot": 0, "publisher": publisher.id, "delegation": publisher.delegation})
            )
            self._told = publisher
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
