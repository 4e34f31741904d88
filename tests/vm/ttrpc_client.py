# SPDX-License-Identifier: Apache-2.0
"""ttrpc calls with the standard library; messages as in grpc_client.py."""
import socket
import struct

from grpc_client import RpcError, decode, encode, inner, number, text


def call(path, service, method, request, timeout=60):
    """The decoded response, or RpcError with the status."""
    payload = encode({1: service, 2: method, 3: encode(request)})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(struct.pack(">IIBB", len(payload), 1, 1, 0) + payload)
        head = exactly(connection, 10)
        response = decode(exactly(connection, struct.unpack(">I", head[:4])[0]))
    status = inner(response, 1)
    if number(status, 1):
        raise RpcError(number(status, 1), text(status, 2))
    return decode(response.get(2, [b""])[0])


def exactly(connection, n):
    out = b""
    while len(out) < n:
        got = connection.recv(n - len(out))
        if not got:
            raise RpcError(14, "the server closed the connection")
        out += got
    return out
