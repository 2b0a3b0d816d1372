#!/usr/bin/env python3
"""Stands in for the sealmq program in tests of the interop test, with the Python client.

    fake_sealmq.py ca init | ca issue NAME | ca issue --broker NAME | pub TOPIC TEXT | sub TOPIC
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization

import minica
import sealmq_client as mq


def save(identity: mq.Identity, home: Path, name: str) -> None:
    (home / f"{name}.pem").write_bytes(identity.certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key = identity.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (home / f"{name}.key").write_bytes(key)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="+")
    parser.add_argument("--broker", default="")
    parser.add_argument("--as", dest="name", default="dave")
    arguments = parser.parse_intermixed_args()
    home, words = Path(os.environ["SEALMQ_HOME"]), arguments.words
    if words[:2] == ["ca", "init"]:
        save(minica.make_ca("Fake CA"), home, "ca")
    elif words[:2] == ["ca", "issue"]:
        ca = mq.Identity.load(home / "ca.pem", home / "ca.key")
        if arguments.broker:
            save(minica.issue(ca, arguments.broker, ["127.0.0.1", "localhost"]), home, arguments.broker)
        else:
            save(minica.issue(ca, words[2]), home, words[2])
    else:
        host, port = arguments.broker.rsplit(":", 1)
        ca = mq.load_certificate(home / "ca.pem")
        me = mq.Identity.load(home / f"{arguments.name}.pem", home / f"{arguments.name}.key")
        with mq.Client.connect(host, int(port), me, ca) as client:
            if words[0] == "pub":
                client.publish(client.open(words[1]), words[2].encode())
                client.exit()
            else:
                client.subscribe(words[1], mq.EARLIEST)
                while True:
                    sys.stdout.write(client.receive(60).content.decode() + "\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
