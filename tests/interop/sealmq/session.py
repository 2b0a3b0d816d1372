"""A session with a broker: the one part that has a socket and a thread (section 4 and 5.1 of the page)."""

from __future__ import annotations

import os
import queue
import select
import socket
import threading
import time
from collections import deque
from typing import Any, Callable

from cryptography import x509

from .certificates import Identity
from .frames import FRAME_CODES, Direction, Frame
from .handshake import REFUSAL, SEALED_REFUSAL, ClientHandshake
from .wire import MAX_HANDSHAKE, HandshakeRefused, ProtocolError, RequestRefused, SessionClosed, now_ms

# What a caller may wait for some time after it has come.
KEPT = ("Published", "PublishRefused", "Topic", "Ended", "CrlChanged", "Pong", "Requested", "RotateDue")


class Session:
    """A session with a broker.

    A thread reads records, answers Pings and queues all other frames. Everything else happens in
    the caller's thread, in whichever method waits for something.
    """

    def __init__(self, sock: socket.socket, identity: Identity, ca: x509.Certificate, host: str):
        self.identity, self.ca = identity, ca
        self.sock = sock
        self.timeout = 20.0
        self.closed: SessionClosed | None = None
        self._request = 0
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

    @classmethod
    def connect(
        cls, host: str, port: int, identity: Identity, ca: x509.Certificate, name: str | None = None,
        timeout: float = 10.0,
    ) -> Session:
        """Dials, and does the handshake; `name` is the host to look for in the certificate."""
        sock = socket.create_connection((host, port), timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return cls(sock, identity, ca, name or host)
        except BaseException:
            sock.close()
            raise

    def __enter__(self) -> Session:
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
            self._keep(frame)

    def until(self, condition: Callable[[], bool], timeout: float | None = None) -> None:
        """Takes over what comes until something is so."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not condition():
            self._keep(self._next(end - time.monotonic()))

    def _keep(self, frame: Frame) -> None:
        """Keeps a frame for one who waits for it later."""
        if frame.kind in KEPT:
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

    def _take(self, frame: Frame) -> None:
        """Takes over what a frame says; for the session itself that is nothing."""

    # Requests

    def request(self, kind: str, /, **fields: Any) -> int:
        """Sends a request and gives its number."""
        self._request += 1
        self.send(Frame(kind, {"request": self._request, **fields}))
        return self._request

    def answer(self, number: int, *kinds: str) -> Frame:
        """Waits for a request's answer."""
        frame = self._wait(lambda f: f.kind in (*kinds, "Refused") and f.request == number)
        if frame.kind == "Refused":
            raise RequestRefused(frame.code, frame.detail, frame.text)
        return frame

    def ask(self, kind: str, answer: str = "Done", /, **fields: Any) -> Frame:
        """Sends a request and waits for its answer."""
        return self.answer(self.request(kind, **fields), answer)

    def wait_for(self, kind: str) -> Frame:
        """The next frame of this kind."""
        return self._wait(lambda frame: frame.kind == kind)

    def ping(self) -> None:
        number = int.from_bytes(os.urandom(8), "big")
        self.send(Frame("Ping", {"number": number}))
        self._wait(lambda frame: frame.kind == "Pong" and frame.number == number)

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
