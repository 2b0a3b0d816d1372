"""A topic as a session sees it, and the checks on all that comes under its handle (sections 5.2 and 7 of the page).

Frames go in, messages come out; no socket, so that a test can play a broker that lies.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Container

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from .certificates import Identity, check_certificate, common_name, fingerprint
from .chain import ROLE_RECOVERY, Chain, Signer
from .frames import Frame
from .messages import Delegation, open_body
from .wire import AuthenticationError, ProtocolError, check_topic_name


@dataclass
class Message:
    """A message as the application sees it."""

    topic: str
    offset: int
    time: int
    sender: str
    content: bytes
    fingerprint: bytes = b""
    epoch: int = 0
    counter: int = 0


@dataclass
class Dropped:
    """A message that was not taken, and why."""

    topic: str
    offset: int
    why: str


@dataclass
class Missing:
    """Offsets, or counters of one publisher, that should have come, from `start` to before `to`."""

    topic: str
    what: str
    start: int
    to: int


@dataclass
class Inbox:
    """What came of all topics of a session."""

    messages: deque[Message] = field(default_factory=deque)
    dropped: list[Dropped] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


@dataclass
class Sender:
    """Who a Sender frame says publishes, if that is true; else what is wrong with it."""

    fingerprint: bytes
    publisher: bytes
    name: str
    delegation: Delegation | None
    wrong: ProtocolError | None = None

    @staticmethod
    def of(frame: Frame, ca: x509.Certificate) -> Sender:
        found = Sender(frame.fingerprint, frame.publisher, frame.name, None)
        try:
            certificate = check_certificate(frame.certificate, ca, ExtendedKeyUsageOID.CLIENT_AUTH)
            if (fingerprint(certificate), common_name(certificate)) != (frame.fingerprint, frame.name):
                raise AuthenticationError("a Sender's certificate is another's")
            found.delegation = Delegation.verified(
                frame.delegation, frame.fingerprint, frame.publisher, certificate.public_key()
            )
        except ProtocolError as error:
            found.wrong = error
        return found


@dataclass
class Delivery:
    """How far a delivery of messages has come.

    `passed_over` counts the places where messages may be missing without fault: the beginning, if there were messages
    before it, each Gap, and each entry that was not taken. A counter is next to its last one, or 0, only if the count
    is as it was then.
    """

    start: int
    due: int
    passed_over: int = 0
    counters: dict[tuple[bytes, bytes], tuple[int, int]] = field(default_factory=dict)


class Topic:
    """A topic that the session has opened."""

    def __init__(
        self, frame: Frame, identity: Identity, ca: x509.Certificate, inbox: Inbox, revoked: Container[int] = ()
    ):
        """`revoked` has the serial numbers on the CRL."""
        self.ca, self.inbox, self.revoked = ca, inbox, revoked
        self.handle, self.name, self.incarnation = frame.topic, check_topic_name(frame.name), frame.incarnation
        self.durability = frame.durability
        self.start, self.end, self.notice = frame.start, frame.end, frame.notice
        self.chain = Chain(self.name, identity.fingerprint, identity.key)
        self.senders: dict[int, Sender] = {}
        self.gaps: list[tuple[int, int]] = []
        self.broken: ProtocolError | None = None  # what was wrong with a record; the topic is over for this client
        self.ended: int | None = None
        self.caught_up: int | None = None  # of the delivery that is going on, or of the records
        self.delivery: Delivery | None = None
        self.unreadable: list[int] = []  # offsets of messages whose epoch's key was not given to this client
        self.bodies: dict[int, Frame] = {}  # Message frames as they came, by offset
        self._signer_serial = 0
        self._held: deque[Frame] = deque()

    def take_topic(self, frame: Frame, delivering: bool) -> None:
        """`delivering` says whether the request that is answered asked for messages."""
        self.start, self.end, self.notice = frame.start, frame.end, frame.notice
        if self.delivery is None and delivering:
            self.delivery, self.caught_up = Delivery(frame.start, frame.start), None

    def stop(self) -> None:
        """No more messages come, by an Unsubscribe."""
        self.delivery, self.caught_up = None, None
        self._held.clear()

    def take_record(self, frame: Frame) -> None:
        if self.broken:
            return
        try:
            certificate = check_certificate(frame.certificate, self.ca, ExtendedKeyUsageOID.CLIENT_AUTH)
            self.chain.apply(frame.offset, frame.record, frame.wrap, Signer.of(certificate))
        except ProtocolError as error:
            self.broken = error
            return
        self._signer_serial = certificate.serial_number
        self._release()

    @property
    def signer_revoked(self) -> bool:
        """Whether the newest record's signer is on the CRL: then nothing is published or delivered."""
        return self._signer_serial in self.revoked

    def take_sender(self, frame: Frame) -> None:
        sender, known = Sender.of(frame, self.ca), self.senders.get(frame.sender)
        if known and (known.fingerprint, known.publisher) != (sender.fingerprint, sender.publisher):
            sender.wrong = ProtocolError("a Sender's number was another's")
        self.senders[frame.sender] = sender

    def take_gap(self, frame: Frame) -> None:
        self.gaps.append((frame.start, frame.to))
        self._hold_or_take(frame)

    def take_caught_up(self, frame: Frame) -> None:
        self.caught_up = frame.next
        self._release()
        if self.delivery and not self._held:
            self._pass(frame.next)

    def take_message(self, frame: Frame) -> None:
        """Takes a message that is as section 7.3 wants it; anything else is noted."""
        self._hold_or_take(frame)

    def _hold_or_take(self, frame: Frame) -> None:
        if self.delivery is None:  # what was on its way when it was unsubscribed
            return
        self._held.append(frame)
        self._release()

    def _release(self) -> None:
        """Takes what was held, in order, as far as nothing has to be waited for any more."""
        while self._held and not self._has_to_wait(self._held[0]):
            frame = self._held.popleft()
            if frame.kind == "Gap":
                self._take_gap(frame)
            else:
                self._take_message(frame)

    def _has_to_wait(self, frame: Frame) -> bool:
        """Who came late gets the key of messages with a record that stands behind them; all records have come when
        the delivery has caught up.
        """
        if self.signer_revoked and not self.broken:
            return True
        if frame.kind == "Gap" or self.caught_up is not None or self.broken:
            return False
        epoch = self.chain.epochs.get(frame.epoch)
        return epoch is not None and epoch.key is None

    def _take_gap(self, frame: Frame) -> None:
        self._pass(frame.start)
        self.delivery.due = max(self.delivery.due, frame.to)
        self.delivery.passed_over += 1

    def _take_message(self, frame: Frame) -> None:
        if frame.offset < self.delivery.due:
            self._drop(frame, "a message at an offset that was passed")
            return
        self._pass(frame.offset)
        self.delivery.due = frame.offset + 1
        self.bodies[frame.offset] = frame
        try:
            message = self._verified(frame)
            if message:
                self.inbox.messages.append(message)
                return
            self.unreadable.append(frame.offset)
        except ProtocolError as error:
            self._drop(frame, str(error))
        self.delivery.passed_over += 1

    def _drop(self, frame: Frame, why: str) -> None:
        self.inbox.dropped.append(Dropped(self.name, frame.offset, why))

    def _pass(self, offset: int) -> None:
        """All entries below `offset` should have come: as messages, as records, or in a Gap."""
        due = self.delivery.due
        absent = [place for place in range(due, offset) if not self.chain.is_record(place)]
        if absent:
            self.inbox.missing.append(Missing(self.name, "offset", absent[0], absent[-1] + 1))
            self.delivery.passed_over += 1
        self.delivery.due = max(due, offset)

    def _verified(self, frame: Frame) -> Message | None:
        """The message in a frame; None if its epoch's key was not given to this client."""
        if self.broken:
            raise self.broken
        sender = self.senders.get(frame.sender)
        if sender is None:
            raise ProtocolError("a message of an unknown sender")
        if sender.wrong or sender.delegation is None:
            raise sender.wrong or ProtocolError("a Sender without a delegation")
        sender.delegation.check_time(frame.time)
        state = self.chain.state_below(frame.offset)
        member = state and state.members.get(sender.fingerprint)
        if not member or member.role == ROLE_RECOVERY:
            raise AuthenticationError("a message of one who was no member then")
        if frame.epoch != state.epoch:
            raise AuthenticationError("a message of another epoch than the records say")
        epoch = self.chain.epochs[frame.epoch]
        if epoch.key is None:
            return None
        content = open_body(self.chain.topic_id, epoch, sender.delegation, frame.counter, frame.body)
        self._count(sender, frame.counter)
        return Message(
            self.name, frame.offset, frame.time, sender.name, content, sender.fingerprint, frame.epoch, frame.counter
        )

    def _count(self, sender: Sender, counter: int) -> None:
        """Refuses a counter that does not grow, and notes those that are missing."""
        delivery, who = self.delivery, (sender.fingerprint, sender.publisher)
        last, then = delivery.counters.get(who, (-1, 0))
        if counter <= last:
            raise AuthenticationError("a message with a counter that was had already")
        expected = last >= 0 or all(self.chain.is_record(offset) for offset in range(delivery.start))
        if counter > last + 1 and expected and then == delivery.passed_over:
            self.inbox.missing.append(Missing(self.name, "counter", last + 1, counter))
        delivery.counters[who] = (counter, delivery.passed_over)
