# SPDX-License-Identifier: Apache-2.0
"""Unary gRPC calls over a unix socket with the standard library: enough of HTTP/2 (RFC 9113),
of its header compression (RFC 7541) and of protobuf to be a client of containerd's services.

A message is a dict {field number: value}. To be sent: int and bool are varints, str, bytes and
dict are length-delimited, a list is a repeated field. Received: decode() gives lists of raw
values, int or bytes; text(), message() and number() take one out.
"""
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, PADDED, PRIORITY, ACK = 1, 4, 8, 32, 1

# RFC 7541, appendix A
STATIC = [line.partition("=")[::2] for line in """:authority
:method=GET
:method=POST
:path=/
:path=/index.html
:scheme=http
:scheme=https
:status=200
:status=204
:status=206
:status=304
:status=400
:status=404
:status=500
accept-charset
accept-encoding=gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate""".split("\n")]

# Lengths of RFC 7541's codes, appendix B; those of one length are consecutive numbers.
LENGTHS = """
13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28
6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10
13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6
15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28
20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24
22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23
26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27
20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26
"""


def huffman_table():
    """{(length, code): symbol}"""
    table, code, last = {}, 0, 0
    lengths = [int(word) for word in LENGTHS.split()]
    for length, symbol in sorted((n, symbol) for symbol, n in enumerate(lengths)):
        code <<= length - last
        table[length, code] = symbol
        code, last = code + 1, length
    return table


HUFFMAN = huffman_table()


def unhuffman(data):
    out, length, code = bytearray(), 0, 0
    for byte in data:
        for bit in range(7, -1, -1):
            code, length = code << 1 | byte >> bit & 1, length + 1
            if (length, code) in HUFFMAN:
                out.append(HUFFMAN[length, code])
                length = code = 0
    return bytes(out)


class HeaderDecoder:
    def __init__(self):
        self.dynamic = []

    def integer(self, prefix):
        limit = (1 << prefix) - 1
        n = self.block[self.at] & limit
        self.at += 1
        shift = 0
        while n >= limit:
            byte = self.block[self.at]
            self.at += 1
            n += (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        return n

    def string(self):
        coded = self.block[self.at] & 128
        length = self.integer(7)
        data = self.block[self.at:self.at + length]
        self.at += length
        return (unhuffman(data) if coded else data).decode("utf-8", "replace")

    def row(self, index):
        return STATIC[index - 1] if index <= len(STATIC) else self.dynamic[index - len(STATIC) - 1]

    def decode(self, block):
        self.block, self.at, headers = block, 0, {}
        while self.at < len(block):
            first = block[self.at]
            if first & 128:
                name, value = self.row(self.integer(7))
            elif first & 224 == 32:
                self.integer(5)  # a new size of the table
                continue
            else:
                index = self.integer(6 if first & 64 else 4)
                name = self.row(index)[0] if index else self.string()
                value = self.string()
                if first & 64:
                    self.dynamic.insert(0, (name, value))
            headers[name] = value
        return headers


class RpcError(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


def literal(name, value):
    out = b"\x00"
    for text in (name.encode(), value.encode()):
        assert len(text) < 127 or len(text) < 127 + 128
        out += bytes([len(text)]) if len(text) < 127 else bytes([127, len(text) - 127])
        out += text
    return out


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + \
        struct.pack(">I", stream) + payload


class Call:
    """One call on a connection of its own."""

    def __init__(self, path, timeout):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.headers, self.data, self.decoder = {}, b"", HeaderDecoder()

    def exactly(self, n):
        out = b""
        while len(out) < n:
            got = self.socket.recv(n - len(out))
            if not got:
                raise RpcError(14, "the server closed the connection")
            out += got
        return out

    def send(self, method, body):
        head = b"".join(literal(*pair) for pair in (
            (":method", "POST"), (":scheme", "http"), (":path", method),
            (":authority", "localhost"), ("content-type", "application/grpc"),
            ("te", "trailers")))
        message = b"\x00" + struct.pack(">I", len(body)) + body
        out = PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, END_HEADERS, 1, head)
        for at in range(0, len(message), 16384):
            last = END_STREAM if at + 16384 >= len(message) else 0
            out += frame(DATA, last, 1, message[at:at + 16384])
        self.socket.sendall(out)

    def receive(self):
        block, ended = b"", False
        while not ended or block:
            head = self.exactly(9)
            payload = self.exactly(int.from_bytes(head[:3], "big"))
            kind, flags = head[3], head[4]
            if kind in (HEADERS, CONTINUATION):
                if flags & PADDED and kind == HEADERS:
                    payload = payload[1:-payload[0]]
                block += payload[5:] if flags & PRIORITY and kind == HEADERS else payload
                if flags & END_HEADERS:
                    self.headers.update(self.decoder.decode(block))
                    block = b""
                ended = ended or (kind == HEADERS and bool(flags & END_STREAM))
            elif kind == DATA:
                self.data += payload
                ended = bool(flags & END_STREAM)
                if payload:
                    window = struct.pack(">I", len(payload))
                    self.socket.sendall(frame(WINDOW, 0, 0, window) + frame(WINDOW, 0, 1, window))
            elif kind == SETTINGS and not flags & ACK:
                self.socket.sendall(frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                self.socket.sendall(frame(PING, ACK, 0, payload))
            elif kind in (RST, GOAWAY):
                raise RpcError(14, f"frame {kind}: {payload[-200:]!r}")
        return self.headers, self.data


def call(path, method, request, timeout=120):
    """The decoded response to `request`, or RpcError with the status."""
    one = Call(path, timeout)
    try:
        one.send(method, encode(request))
        headers, data = one.receive()
    finally:
        one.socket.close()
    if headers.get("grpc-status", "0") != "0":
        raise RpcError(int(headers["grpc-status"]), headers.get("grpc-message", ""))
    return decode(data[5:])


# ---- protobuf ----

def varint(n):
    out = bytearray()
    n &= (1 << 64) - 1
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def encode(message):
    out = b""
    for number, values in message.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int):
                out += varint(number << 3) + varint(value)
                continue
            if isinstance(value, dict):
                value = encode(value)
            elif isinstance(value, str):
                value = value.encode()
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def decode(data):
    out, at = {}, 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                return n

    while at < len(data):
        key = number()
        if key & 7 == 0:
            value = number()
        else:
            length = {1: 8, 5: 4}.get(key & 7) or number()
            value = data[at:at + length]
            at += length
        out.setdefault(key >> 3, []).append(value)
    return out


def pairs(mapping):
    """A map field: one message of key and value each."""
    return [{1: key, 2: value} for key, value in mapping.items()]


def text(message, number):
    return message.get(number, [b""])[0].decode()


def inner(message, *numbers):
    """The message at a path of numbers; empty where one is absent."""
    for number in numbers:
        message = decode(message.get(number, [b""])[0])
    return message


def number(message, field):
    return message.get(field, [0])[0]
