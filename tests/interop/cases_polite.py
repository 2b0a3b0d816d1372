"""The cases of a client that keeps to the rules."""

from __future__ import annotations

import os
import signal
import threading
import time


import sealmq as mq
from sealmq import Client, Frame
from world import CA_REVOKE, CLIENTS, CREATE, PUB, PUB_TO, SUB, Failed, World, must, polite, refuse_code, running


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
def _(world: World) -> str | None:
    name = world.topic_name()
    with world.client("alice") as alice, world.client("bob") as bob:
        try:
            topic = alice.create(name, ["bob"], durability=mq.DURABILITY_DISK)
        except mq.RequestRefused as error:
            must(error.code == 19, str(error))
            return "refused 19: this broker keeps topics in memory only"
        must(topic.durability == mq.DURABILITY_DISK, "the topic is not on disk")
        alice.publish_all(topic, [b"%d" % i for i in range(20)])
        bob.subscribe(name, mq.EARLIEST)
        must([int(m.content) for m in bob.receive_past(name)] == list(range(20)), "not the same messages")
    return None


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
        bob.publisher = mq.Publisher.new(world.bob, publisher.id)
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
        entry = next((entry for entry in alice.list_topics("#") if entry.name == name), None)
        must(entry is not None and entry.topic_id == alice.entry(name).topic_id, f"topic entry {entry}")
        must((entry.role, entry.owner, entry.members) == (mq.ROLE_OWNER, "alice", 2), f"topic entry {entry}")
        must(entry.owner_fingerprint == world.alice.fingerprint, "another owner")
        must(abs(entry.owner_seen - mq.now_ms()) < 60_000, "the owner was not seen just now")
        must((entry.join_policy, entry.history) == (mq.JOIN_CLOSED, mq.HISTORY_ALL), "another policy")
        must((entry.first, entry.next, entry.messages, entry.oldest) == (2, 2, 0, 0), f"topic entry {entry}")
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


@polite("a revoked client is let go, and the others are told")
def _(world: World) -> str:
    with world.client("alice") as alice, world.client("mallory") as mallory:
        number, serials = alice.crl() if alice.welcome.crl else (0, set())
        serial = mallory.identity.certificate.serial_number
        must(serial not in serials, "revoked before it was")
        world.run(CA_REVOKE, name="mallory")
        world.broker.send_signal(signal.SIGHUP)
        end = mallory.wait_closed(8)
        must(end.code == 3, f"ended with {end}")
        alice.wait_for("CrlChanged")
        newer, serials = alice.crl()
        must(newer > number and serial in serials, f"CRL {newer} after {number}, with {len(serials)} serial numbers")
        must(mq.common_name(mallory.identity.certificate) not in
             {mq.common_name(certificate) for certificate, _ in alice.clients()}, "still among the known clients")
    try:
        Client.connect(world.host, world.port, world.mallory, world.ca)
    except mq.HandshakeRefused as error:
        must((error.code, error.authenticated) == (13, True), str(error))
    else:
        raise Failed("let in again")
    return f"CRL {number}, then {newer}"


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
