"""An honest log in memory, told as an honest broker would, and a reader of it: what `lies_check.py` works with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Sequence

import minica
import sealmq as mq
from sealmq import Frame, Identity

HANDLE = 7
NAME = "lies/t"


# ---------------------------------------------------------------------------------------------
# An honest log, and how a broker tells it


@dataclass
class Entry:
    """A record with its wraps, or a message."""

    time: int
    by: Identity
    record: bytes = b""
    wraps: dict[bytes, bytes] = field(default_factory=dict)
    publisher: mq.Publisher | None = None
    epoch: int = 0
    counter: int = 0
    body: bytes = b""


class Log:
    """A topic as its owner makes it; `chain` is what the owner knows of it."""

    def __init__(self, people: People, members: Sequence[tuple[Identity, int]] = (), **policy: int):
        self.people, self.owner, self.entries = people, people.alice, []
        new = mq.make_topic(self.owner, NAME, [(who.certificate, role) for who, role in members], **policy)
        self.chain = mq.Chain(NAME, self.owner.fingerprint, self.owner.key)
        self.counters: dict[bytes, int] = {}
        self.add_record(new.genesis, [], self.owner)
        self.add_record(new.delta, new.wraps, self.owner)

    def add_record(self, record: bytes, wraps: Sequence[bytes], by: Identity) -> None:
        parsed, *_ = mq.parse_record(record)
        if isinstance(parsed, mq.Delta):
            gone = set(parsed.removed)
            everyone = {*self.chain.members, *(who for who, *_ in parsed.added)} - gone
            order = sorted(everyone) if parsed.epoch else [who for who, *_ in parsed.added]
            wraps = dict(zip(order, wraps, strict=True))
        entry = Entry(mq.now_ms(), by, record, dict(wraps))
        signer = mq.Signer.of(by.certificate)
        self.chain.apply(len(self.entries), record, entry.wraps.get(self.owner.fingerprint, b""), signer)
        self.entries.append(entry)

    def amend(self, by: Identity | None = None, **changes: Any) -> None:
        certificates = {who.fingerprint: who.certificate for who in self.people.all}
        new = mq.make_delta(self.chain, by or self.owner, certificates, **changes)
        self.add_record(new.record, new.wraps, by or self.owner)

    def publish(self, by: Identity, content: bytes, **how: Any) -> Entry:
        publisher = how.pop("publisher", None) or self.people.publisher(by)
        counter = how.pop("counter", self.counters.get(publisher.id, 0))
        self.counters[publisher.id] = counter + 1
        newest = self.chain.newest
        body = how.pop("body", None) or mq.seal_body(self.chain.topic_id, newest, publisher, counter, content)
        entry = Entry(mq.now_ms(), by, publisher=publisher, epoch=newest.number, counter=counter, body=body)
        self.entries.append(replace(entry, **how))
        return self.entries[-1]

    def told(self, reader: Identity, start: int = 0) -> list[Frame]:
        """The frames of an Open that starts delivery at this offset."""
        end = len(self.entries)
        topic = dict(request=1, topic=HANDLE, name=NAME, incarnation=1, start=start, end=end, durability=0, notice=0)
        frames, senders = [Frame("Topic", topic)], {}
        for offset, entry in enumerate(self.entries):
            place = {"topic": HANDLE, "offset": offset, "time": entry.time}
            if entry.record:
                wrap = entry.wraps.get(reader.fingerprint, b"")
                frames.append(
                    Frame("Record", place | {"record": entry.record, "wrap": wrap, "certificate": entry.by.der})
                )
            elif offset >= start:
                who = (entry.by.fingerprint, entry.publisher.id)
                if who not in senders:
                    senders[who] = len(senders)
                    frames.append(self.sender(senders[who], entry))
                message = {"sender": senders[who], "epoch": entry.epoch, "counter": entry.counter, "body": entry.body}
                frames.append(Frame("Message", place | message))
        return [*frames, Frame("CaughtUp", {"topic": HANDLE, "next": end})]

    @staticmethod
    def sender(number: int, entry: Entry) -> Frame:
        fields = {
            "topic": HANDLE, "sender": number, "publisher": entry.publisher.id, "fingerprint": entry.by.fingerprint,
            "name": entry.by.name, "delegation": entry.publisher.delegation, "certificate": entry.by.der,
        }
        return Frame("Sender", fields)


class People:
    def __init__(self) -> None:
        self.ca = minica.make_ca()
        self.all = [minica.issue(self.ca, name) for name in ("alice", "bob", "carol")]
        self.alice, self.bob, self.carol = self.all
        self._publishers: dict[bytes, mq.Publisher] = {}

    def publisher(self, who: Identity) -> mq.Publisher:
        if who.fingerprint not in self._publishers:
            self._publishers[who.fingerprint] = mq.Publisher.new(who)
        return self._publishers[who.fingerprint]


@dataclass
class Read:
    """What a reader made of some frames."""

    contents: list[bytes]
    dropped: list[str]
    missing: list[tuple[str, int, int]]
    topic: mq.Topic


def read(people: People, frames: Sequence[Frame], reader: Identity | None = None) -> Read:
    inbox = mq.Inbox()
    topic = mq.Topic(frames[0], reader or people.bob, people.ca.certificate, inbox)
    topic.take_topic(frames[0], delivering=True)
    takes = {
        "Record": topic.take_record, "Sender": topic.take_sender, "Message": topic.take_message,
        "Gap": topic.take_gap, "CaughtUp": topic.take_caught_up,
    }
    for frame in frames[1:]:
        takes[frame.kind](frame)
    missing = [(item.what, item.start, item.to) for item in inbox.missing]
    return Read([m.content for m in inbox.messages], [d.why for d in inbox.dropped], missing, topic)
