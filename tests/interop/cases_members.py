"""The cases of those who come to a topic and go from it: requests, grants, removals, new epochs."""

from __future__ import annotations

import signal
import threading
from typing import Any

from cryptography import x509

import sealmq as mq
from sealmq import Client
from world import CA_REVOKE, SUB, Failed, World, must, polite, refuse_code


def refused(action: Any) -> mq.RequestRefused:
    """How a request is refused."""
    try:
        action()
    except mq.RequestRefused as error:
        return error
    raise Failed("it was not refused")


def asked(owner: Client, topic: mq.Topic, guest: Client) -> mq.JoinRequest:
    """The guest asks; the owner, who follows, is told and believes it."""
    guest.join(topic.name)
    entry = owner.wait_for("Requested").entry
    must(entry.topic == topic.name and entry.time > 0, f"another request was pushed: {entry}")
    listed = owner.requests(topic.name)
    must(listed == [entry], f"pushed {entry}, listed {listed}")
    request = owner.believed(topic, entry)
    must((request.who, request.name) == (guest.identity.fingerprint, guest.identity.name), "another asks")
    return request


def grant(owner: Client, topic: mq.Topic, *requests: mq.JoinRequest, **changes: Any) -> None:
    owner.amend(topic, add=[(request.certificate, mq.ROLE_MEMBER) for request in requests], **changes)


@polite("a late joiner asks, is granted, and reads the past")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("carol") as carol:
        topic = alice.create(name, [], join_policy=mq.JOIN_ASK)
        alice.publish_all(topic, [b"one", b"two"])
        must(carol.subscribe(name, mq.LATEST).others == 1, "it is not among the others")
        must(refused(lambda: carol.open(name)).code == 3, "not refused with 3")
        listed = carol.entry(name)
        must((listed.role, listed.join_policy, listed.topic_id) == (255, 0, topic.chain.topic_id), f"{listed}")
        must(alice.requests(name, follow=True) == [], "requests before any was made")

        request = asked(alice, topic, carol)
        must(alice.entry(name).requests == 1, "the owner's listing does not count the request")
        must(carol.entry(name).requests == 0, "one who is no member is told of requests")
        error = refused(lambda: carol.open(name))
        must(error.code == 4 and abs(error.detail - mq.now_ms()) < 60_000, f"while asking: {error}")
        carol.join(name)  # again: it takes the place of the other
        must(len(alice.requests(name)) == 1, "two requests of one client")

        grant(alice, topic, request)
        must(topic.chain.newest.number == 0, "a new epoch under history all")
        carol.until(lambda: any(t.name == name for t in carol.topics.values()))
        must([m.content for m in carol.receive_past(name)] == [b"one", b"two"], "not the past")
        must(alice.requests(name) == [] and alice.entry(name).requests == 0, "the request is still there")
        alice.publish(topic, b"three")
        must(carol.receive().content == b"three", "not what comes now")
        alice.subscribe(name, mq.LATEST)
        carol.publish(carol.topic(name), b"thanks")
        message = alice.receive()
        must((message.sender, message.fingerprint) == ("carol", world.carol.fingerprint), f"{message}")
        must(refused(lambda: carol.join(name)).code == 2, "a member may ask")


@polite("a late joiner under since-join reads from then on")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("carol") as carol, world.client("bob") as bob:
        topic = alice.create(name, ["bob"], join_policy=mq.JOIN_ASK, history=mq.HISTORY_SINCE_JOIN)
        alice.publish_all(topic, [b"one", b"two"])
        bob.subscribe(name, mq.EARLIEST)
        alice.requests(name, follow=True)
        grant(alice, topic, asked(alice, topic, carol))
        must(topic.chain.newest.number == 1, "no new epoch under since-join")
        alice.publish(topic, b"three")
        carol.subscribe(name, mq.EARLIEST)
        must([m.content for m in carol.receive_past(name)] == [b"three"], "more than since it joined")
        late = carol.topic(name)
        must(late.unreadable == [2, 3], f"unreadable {late.unreadable}")
        must(late.chain.epochs[0].key is None, "it has the key of before")
        bodies = [bob.receive() and bob.topic(name).bodies[offset].body for offset in (2, 3)]
        must(not any(opens(late, body) for body in bodies), "it can open what came before")
        must(bob.receive().content == b"three", "a member of before does not read on")


def opens(topic: mq.Topic, body: bytes) -> bool:
    """Whether any of the keys that are known of this topic opens a body."""
    for epoch in topic.chain.epochs.values():
        if epoch.key is not None:
            try:
                mq.fernet_open(mq.body_key(topic.chain.topic_id, epoch), body)
            except mq.AuthenticationError:
                continue
            return True
    return False


@polite("one who was removed gets nothing more, and its keys open nothing more")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob, world.client("carol") as carol:
        topic = alice.create(name, ["bob", "carol", "dave"], join_policy=mq.JOIN_OPEN)
        bob.subscribe(name, mq.EARLIEST)
        carol.subscribe(name, mq.EARLIEST)
        alice.publish(topic, b"before")
        must(bob.receive().content == b"before" and carol.receive().content == b"before", "not delivered")
        old = carol.topic(name)
        alice.amend(topic, remove=[world.carol.fingerprint])
        carol.until(lambda: old.ended is not None)
        must(old.ended == 3, f"ended with {old.ended}")
        must(topic.chain.newest.number == 1, "no new epoch")
        alice.publish(topic, b"after")
        must(bob.receive().content == b"after", "those who stay do not read on")
        before, after = bob.topic(name).bodies[2].body, bob.topic(name).bodies[4].body
        must(opens(old, before) and not opens(old, after), "its keys open what they should not, or nothing")
        must(refused(lambda: carol.open(name)).code == 3, "it can open the topic")
        carol.send_body(old.handle, 0, 0, b"x" * 300)
        must(refused(lambda: carol.published(old, 0)).code == 9, "its handle is still good")
        error = refused(lambda: carol.join(name))
        must(error.code == 20, f"asking again: {error}")
        carol.ping()
        must(not carol.messages, "it still gets messages")
    code, output, problems = world.try_run([*SUB, "-e"], topic=name)
    must(output == "before\nafter\n", f"sealmq sub, behind a rotation: {code} {output!r} {problems}")


@polite("one who was removed and is granted again by hand")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("carol") as carol:
        topic = alice.create(name, ["carol"], history=mq.HISTORY_ALL)
        carol.subscribe(name, mq.EARLIEST)
        alice.publish(topic, b"1")
        must(carol.receive().content == b"1", "not delivered")
        first = carol.topic(name).handle
        alice.amend(topic, remove=[world.carol.fingerprint])
        alice.publish(topic, b"2")
        alice.amend(topic, add=[(world.carol.certificate, mq.ROLE_MEMBER)])
        carol.until(lambda: any(t.handle != first for t in carol.topics.values()))
        again = carol.topic(name)
        must(carol.topics[first].ended == 3, "the first handle has not ended")
        must([m.content for m in carol.receive_past(name)] == [b"1", b"2"], "not all of it")


@polite("a message published while the epoch changes is sealed again")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob, world.client("dave") as dave:
        topic = alice.create(name, ["bob", "dave"])
        dave.subscribe(name, mq.EARLIEST)
        late = bob.open(name)
        bob.publish(late, b"0")
        alice.amend(topic, new_epoch=True)
        bob.send_publish(late, 1, b"lost?")  # bob has not read of the new epoch
        error = refused(lambda: bob.published(late, 1))
        must((error.code, error.detail) == (11, 1), str(error))
        must(bob.publish(late, b"1") == 4, "the counter was used up")
        for _ in range(3):
            alice.amend(topic, new_epoch=True)
        bob.publish_all(late, [b"%d" % i for i in range(2, 30)])
        got = [dave.receive() for _ in range(30)]
        must([int(m.content) for m in got] == list(range(30)), f"{[m.content for m in got]}")
        must([got[i].epoch for i in (0, 1, 2)] == [0, 1, 4], "sealed in other epochs")


@polite("epochs change while many publish: nothing is lost")
def _(world: World) -> str:
    name, count, problems = world.topic_name(), 60, []
    with world.client("alice") as alice, world.client("dave") as dave:
        topic = alice.create(name, ["bob", "carol", "dave"])
        dave.subscribe(name, mq.EARLIEST)

        def publish(who: str) -> None:
            try:
                with world.client(who) as client:
                    handle = client.open(name)
                    for i in range(count):
                        client.publish(handle, f"{who} {i}".encode())
            except Exception as error:
                problems.append(f"{who}: {error!r}")

        threads = [threading.Thread(target=publish, args=(who,)) for who in ("bob", "carol", "bob")]
        for thread in threads:
            thread.start()
        rounds = 0
        while any(thread.is_alive() for thread in threads) and rounds < 200:
            alice.amend(topic, new_epoch=True)
            rounds += 1
        for thread in threads:
            thread.join(20)
        must(not problems, f"{problems[:2]}")
        got = [dave.receive().content.decode() for _ in range(3 * count)]
        wanted = sorted(f"{who} {i}" for who in ("bob", "carol", "bob") for i in range(count))
        must(sorted(got) == wanted, "not the same messages")
        return f"{rounds} epochs"


@polite("asking is refused to some")
def _(world: World) -> None:
    name, other, shut = (world.topic_name() for _ in range(3))
    with world.client("alice") as alice, world.client("carol") as carol:
        topic = alice.create(name, ["bob"], join_policy=mq.JOIN_ASK)
        alice.create(other, [], join_policy=mq.JOIN_ASK)
        alice.create(shut, ["bob"], join_policy=mq.JOIN_CLOSED)
        must(refused(lambda: carol.join(shut)).code == 21, "closed: not refused with 21")
        must(refused(lambda: alice.join(name)).code == 2, "the owner: not refused with 2")

        def code(where: str, request: bytes) -> int | None:
            return refuse_code(lambda: carol.ask("Join", name=where, join=request))

        topic_id = topic.chain.topic_id
        good = mq.make_join_request(world.carol, name, topic_id)
        must(code(name + "/none", good) == 1, "no such topic: not refused with 1")
        for what, request in {
            "another's": mq.make_join_request(world.bob, name, topic_id),
            "for another topic's id": mq.make_join_request(world.carol, name, bytes(32)),
            "for another topic": mq.make_join_request(world.carol, other, topic_id),
            "signed by another": mq.make_join_request(
                mq.Identity(world.carol.certificate, world.bob.key), name, topic_id
            ),
        }.items():
            must(code(name, request) == 12, f"a request {what}: not refused with 12")
        must(code(other, good) == 12, "a request for another topic: not refused with 12")
        must(alice.requests(name) == [], "a bad request was kept")

        carol.join(name)
        must(refused(lambda: carol.open(name)).code == 4, "not refused with 4")
        alice.amend(topic, deny=[(world.carol.fingerprint, "not this year")])
        error = refused(lambda: carol.join(name))
        must(error.code == 20 and "not this year" in error.text, f"denied: {error}")
        must(alice.requests(name) == [], "what was denied is still asked")
        must(refused(lambda: carol.open(name)).code == 3, "not refused with 3")
        alice.amend(topic, add=[(world.carol.certificate, mq.ROLE_MEMBER)])
        must(carol.open(name).chain.newest.key is not None, "not granted by hand")
        must(carol.requests("#") == [], "a plain member is told of requests")


@polite("under the open policy the owner's client lets in by itself")
def _(world: World) -> None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("carol") as carol:
        topic = alice.create(name, [], join_policy=mq.JOIN_OPEN)
        alice.publish(topic, b"hello")
        carol.subscribe(name, mq.EARLIEST)
        alice.requests(name, follow=True)
        carol.join(name)
        entry = alice.wait_for("Requested").entry
        if alice.welcome.crl:
            alice.crl()
            alice.admit(topic, entry)
            must(carol.receive().content == b"hello", "not let in")
            alice.amend(topic, remove=[world.carol.fingerprint])
        else:
            alice.amend(topic, deny=[(world.carol.fingerprint, "")])
        must(refused(lambda: carol.join(name)).code == 20, "who was removed may ask again")
        try:
            alice.admit(topic, entry)
        except mq.AuthenticationError:
            return
        raise Failed("an old request lets in who was removed")


@polite("requests to several topics are listed in order")
def _(world: World) -> None:
    prefix = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob, world.client("carol") as carol:
        names = [f"{prefix}/{level}" for level in ("b", "a", "c")]
        for name in names:
            alice.create(name, [], join_policy=mq.JOIN_ASK)
        for client in (carol, bob):
            for name in names:
                client.join(name)
        listed = alice.requests(prefix + "/#")
        who = sorted([world.bob.fingerprint, world.carol.fingerprint])
        places = [
            (entry.topic, mq.fingerprint(x509.load_der_x509_certificate(entry.certificate))) for entry in listed
        ]
        must(places == [(name, one) for name in sorted(names) for one in who], f"listed {[p[0] for p in places]}")
        must([entry.topic for entry in alice.requests(prefix + "/a")] == [prefix + "/a"] * 2, "not by the filter")
        page = alice.ask(
            "ListRequests", "Requests", follow=False, filter=prefix + "/#", after=prefix + "/a", after_client=who[0]
        )
        must([entry.topic for entry in page.requests] == [p[0] for p in places[1:]], "not behind `after`")


@polite("a member's certificate is revoked: owner and admins are told to rotate")
def _(world: World) -> None:
    name = world.topic_name()
    erin = world.erin
    with world.client("alice") as alice, world.client("bob") as bob, world.client("erin") as doomed:
        topic = alice.create(name, ["bob", "erin"])
        bob.subscribe(name, mq.LATEST)
        alice.amend(topic, change=[(world.bob.fingerprint, mq.ROLE_ADMIN)])
        alice.requests("#", follow=True)
        must(not alice.entry(name).rotate_due, "due before it is")
        world.run(CA_REVOKE, name="erin")
        world.broker.send_signal(signal.SIGHUP)
        must(doomed.wait_closed(8).code == 3, "not let go")
        must(alice.wait_for("RotateDue").name == name, "another topic")
        must(alice.entry(name).rotate_due and bob.entry(name).rotate_due, "not due in the listing")
        with world.client("alice") as later:
            later.requests("nothing", follow=True)
            must(later.wait_for("RotateDue").name == name, "one who asks later is not told")
        _, serials = bob.crl()
        must(erin.certificate.serial_number in serials, "not on the CRL")
        must(erin.fingerprint in bob.certificates([erin.fingerprint]), "a revoked member's certificate is not known")
        bob.amend(bob.topic(name), remove=[erin.fingerprint])
        must(not alice.entry(name).rotate_due, "still due")
        alice.until(lambda: topic.chain.newest.number == 1)
        alice.publish(topic, b"without her")
        must(bob.receive().content == b"without her", "not delivered")
