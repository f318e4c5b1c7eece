"""The fault server itself, asked by the standard library's own client."""

from __future__ import annotations

import http.client
import socket

import pytest

from s3dlio.testing import Fault, FaultServer, refused_endpoint


def ask(
    server: FaultServer, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return (
            answer.status,
            {name.lower(): value for name, value in answer.getheaders()},
            answer.read(),
        )
    finally:
        connection.close()


def test_it_keeps_objects(server: FaultServer) -> None:
    assert ask(server, "PUT", "/bucket/a%20b", b"12345")[0] == 200
    assert ask(server, "GET", "/bucket/a%20b")[2] == b"12345"
    status, headers, body = ask(server, "GET", "/bucket/a%20b", range="bytes=1-2")
    assert (status, headers["content-range"], body) == (206, "bytes 1-2/5", b"23")
    assert ask(server, "GET", "/bucket/a%20b", range="bytes=5-")[0] == 416
    status, headers, body = ask(server, "HEAD", "/bucket/a%20b")
    assert (status, headers["content-length"], body) == (200, "5", b"")
    assert ask(server, "DELETE", "/bucket/a%20b")[0] == 204
    assert ask(server, "GET", "/bucket/a%20b")[0] == 404
    assert ask(server, "GET", "/nowhere/a")[0] == 404


def test_it_logs_what_it_was_asked(server: FaultServer) -> None:
    server.store("bucket", "key", b"12345")
    ask(server, "GET", "/bucket/key", range="bytes=1-2")
    (request,) = server.requests("GetObject", key="key")
    assert (request.method, request.path, request.range, request.sent_bytes, request.status) == (
        "GET", "/bucket/key", "bytes=1-2", 2, 206,
    )  # fmt: skip
    server.forget()
    assert server.requests() == []


def test_a_fault_is_for_the_next_k_requests_that_match(server: FaultServer) -> None:
    server.store("bucket", "key", b"12345")
    server.fail(Fault.slow_down(retry_after=2), times=2, skip=1, operation="GetObject")
    statuses = [ask(server, "GET", "/bucket/key") for _ in range(4)]
    assert [status for status, _, _ in statuses] == [200, 503, 503, 200]
    assert statuses[1][1]["retry-after"] == "2"
    assert b"<Code>SlowDown</Code>" in statuses[1][2]
    server.fail(Fault.access_denied(), times=None)
    assert ask(server, "HEAD", "/bucket/key")[0] == 403
    server.heal()
    assert ask(server, "HEAD", "/bucket/key")[0] == 200


def test_bodies_break_where_they_are_told_to(server: FaultServer) -> None:
    server.store("bucket", "key", bytes(500_000))
    server.fail(Fault.truncate(100_000))
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(server, "GET", "/bucket/key")
    assert len(caught.value.partial) == 100_000
    server.fail(Fault.reset(100_000))
    with pytest.raises(ConnectionResetError):
        ask(server, "GET", "/bucket/key")
    server.fail(Fault.reset())
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        ask(server, "GET", "/bucket/key")
    server.fail(Fault.reset_upload(70_000))
    with pytest.raises(OSError):
        ask(server, "PUT", "/bucket/new", bytes(20_000_000))
    assert server.requests()[-1].received_bytes == 70_000


def test_a_stall_lasts_until_the_client_goes(server: FaultServer) -> None:
    server.store("bucket", "key", bytes(500_000))
    server.fail(Fault.stall(10))
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"GET /bucket/key HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.wait_until(lambda: len(server.requests()) == 1)
        assert not server.requests()[0].closed.is_set()
    assert server.requests()[0].closed.wait(10)
    assert server.wait_until(lambda: server.connections == 0)


def test_an_overwritten_object_has_another_etag(server: FaultServer) -> None:
    server.store("bucket", "key", b"same")
    server.fail(Fault.overwritten(b"same"))
    first, second = (ask(server, "GET", "/bucket/key")[1]["etag"] for _ in range(2))
    assert first != second
    assert ask(server, "GET", "/bucket/key", if_match=first)[0] == 412


def test_a_closed_server_refuses() -> None:
    with FaultServer() as server:
        pass
    with pytest.raises(ConnectionRefusedError):
        ask(server, "GET", "/")
    with refused_endpoint() as endpoint, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])))
