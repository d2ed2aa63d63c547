"""A group's committed offsets with their metadata, asked for over a socket of our own: the Python
client reads metadata as text that ends with a zero, and librdkafka keeps it without one."""

import socket
import struct

OFFSET_FETCH, VERSION = 9, 1


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


class Reply:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, layout):
        out = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return out

    def text(self):
        (length,) = self.take(">h")
        begin = self.at
        self.at += max(length, 0)
        return self.data[begin:self.at].decode()

    def items(self):
        return range(self.take(">i")[0])


def committed(address, group, topic, partitions):
    """By partition: the offset and the metadata; partitions without a commit are left out. `address`
    is the group's coordinator: of one broker, that one."""
    host, port = address.rsplit(":", 1)
    body = text(group) + struct.pack(">i", 1) + text(topic) + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions)
    request = struct.pack(">hhi", OFFSET_FETCH, VERSION, 1) + text("proof") + body
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        stream = connection.makefile("rb")
        (size,) = struct.unpack(">i", stream.read(4))
        reply = Reply(stream.read(size))
    reply.take(">i")
    out = {}
    for _ in reply.items():
        reply.text()
        for _ in reply.items():
            partition, offset = reply.take(">iq")
            metadata = reply.text()
            (error,) = reply.take(">h")
            if error:
                raise SystemExit(f"committed offsets of {group}: error {error}")
            if offset >= 0:
                out[partition] = offset, metadata
    return out
