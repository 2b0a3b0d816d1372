"""A client of the sealmq/1 publish/subscribe protocol, written from the protocol page alone.

The modules follow the page: `wire`, `primitives` and `ed25519` are section 1, then come `certificates`,
`handshake`, `frames` (with the records that carry them), `chain` and `amending` (membership records, read and made),
`messages` (delegations and bodies), `joining`, and `topics`, which checks all that comes of a topic. None of them
does input or output, so a test can drive them step by step. `session` has the socket, `client` ties them together.

    ca = load_certificate("certs/ca.crt")
    me = Identity.load("certs/alice.crt", "keys/alice.key")
    with Client.connect("127.0.0.1", 7883, me, ca) as client:
        topic = client.create("plant/line1", [])
        client.publish(topic, b"hello")
        client.exit()

Needs Python 3.11 and the `cryptography` package.
"""

from .amending import *
from .certificates import *
from .chain import *
from .client import *
from .ed25519 import *
from .frames import *
from .handshake import *
from .joining import *
from .messages import *
from .primitives import *
from .session import *
from .topics import *
from .wire import *
