# SPDX-License-Identifier: Apache-2.0
"""ttrpc calls with the standard library; messages as in grpc_client.py."""
import socket
import struct

from grpc_client import RpcError, decode, encode, inner, number, text


def call(path, service, method, request, timeout=60):
    """The decoded response, or RpcError with the status."""
    with connect(path, timeout) as connection:
        ask(connection, 1, service, method, request)
        return answer(connection)[1]


def connect(path, timeout=60):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    connection.connect(path)
    return connection


def ask(connection, stream, service, method, request):
    """Sends one call; its answer is for answer()."""
    payload = encode({1: service, 2: method, 3: encode(request)})
    connection.sendall(struct.pack(">IIBB", len(payload), stream, 1, 0) + payload)


def answer(connection):
    """The next answer that comes: its stream and the decoded response, or RpcError."""
    length, stream, _, _ = struct.unpack(">IIBB", exactly(connection, 10))
    response = decode(exactly(connection, length))
    status = inner(response, 1)
    if number(status, 1):
        raise RpcError(number(status, 1), text(status, 2))
    return stream, decode(response.get(2, [b""])[0])


def exactly(connection, n):
    out = b""
    while len(out) < n:
        got = connection.recv(n - len(out))
        if not got:
            raise RpcError(14, "the server closed the connection")
        out += got
    return out
