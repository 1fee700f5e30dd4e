"""What a broker acknowledged stands in its log, also when it refused a request and then took a later one."""

import contextlib
import select
import socket
import threading
import uuid
from collections.abc import Callable

import pytest

from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Message
from pawl_shared.topics import Topic

pytestmark = pytest.mark.kafka
PRODUCE = 0  # its number in Kafka's protocol
HELD_SECONDS = 1.0  # a second request comes within 20 ms, where one comes at all


class Way:
    """A way to the broker, which refuses the first request that writes to a topic, as while its leader changes.

    It waits before that for a second request, so that the broker takes this one before the first is tried again.
    """

    def __init__(self, broker: str, topic: str) -> None:
        host, port = broker.split(":")
        self._broker = host, int(port)
        self._topic, self._unknown = topic.encode(), topic[::-1].encode()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.refused, self.followed = threading.Event(), False
        self._sockets, self._threads = [self._listening], list[threading.Thread]()
        self._begin(self._accept)

    def close(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _begin(self, work: Callable[..., None], *args: object) -> None:
        self._threads.append(thread := threading.Thread(target=work, args=args, daemon=True))
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._broker)
                self._sockets += [client, server]
                self._begin(self._requests, client, server)
                self._begin(self._answers, server, client)

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while frame := _frame(client):
                if not self.refused.is_set() and _writes(frame) and self._topic in frame:
                    self.refused.set()
                    later = self._later(client)
                    self.followed = any(map(_writes, later))
                    server.sendall(b"".join([frame.replace(self._topic, self._unknown), *later]))
                else:
                    server.sendall(frame)

    def _later(self, client: socket.socket) -> list[bytes]:
        """What comes up to the next request that writes, or while one would have come."""
        later: list[bytes] = []
        while select.select([client], [], [], HELD_SECONDS)[0] and (frame := _frame(client)):
            later.append(frame)
            if _writes(frame):
                break
        return later

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        ours, theirs = (port.to_bytes(4, "big") for port in (self.port, self._broker[1]))
        with contextlib.suppress(OSError):
            while frame := _frame(server):
                # A broker says how it is reached, and which topic it does not know.
                client.sendall(frame.replace(theirs, ours).replace(self._unknown, self._topic))


def _writes(frame: bytes) -> bool:
    return int.from_bytes(frame[4:6], "big") == PRODUCE


def _frame(source: socket.socket) -> bytes:
    """A request or an answer with its length before it; empty at the end."""
    head = _bytes(source, 4)
    return head + _bytes(source, int.from_bytes(head, "big")) if head else b""


def _bytes(source: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (more := source.recv(count - len(found))):
        found += more
    return found if len(found) == count else b""


def test_no_message_counts_as_delivered_because_a_later_one_was(kafka: str) -> None:
    direct, topic = KafkaBus(kafka), uuid.uuid4().hex
    direct.create_topics([Topic(topic, "", (), partitions=1)])
    with (
        contextlib.closing(Way(kafka, topic)) as way,
        contextlib.closing(KafkaBus(f"127.0.0.1:{way.port}").producer("test")) as producer,
    ):
        first = producer.send(Message(topic, b"", b"first"))
        assert way.refused.wait(60)
        second = producer.send(Message(topic, b"", b"second"))
        for delivered in (first, second):
            delivered.result(60)
    assert [record.value for record in direct.read(topic) if record] == [b"first", b"second"]
    assert not way.followed
