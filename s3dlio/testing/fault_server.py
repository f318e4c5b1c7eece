"""An S3 server on a loopback port that answers well, and badly on demand."""

from __future__ import annotations

import http.server
import select
import socket
import socketserver
import ssl
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from types import TracebackType
from typing import Self, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from .dialect import Answer, Objects, Refusal, StoredObject, error_xml, operation
from .fault import Fault, Request, Rule

BLOCK_BYTES = 64 * 1024


class FaultServer:
    """Serves `Objects` on `endpoint`; a context manager. Keys and signatures are not checked.

    >>> with FaultServer("bucket") as server:
    ...     stored = server.store("bucket", "key", b"data")
    ...     server.fail(Fault.slow_down(), times=2, operation="GetObject")
    ...     server.endpoint.startswith("http://127.0.0.1:")
    True
    """

    def __init__(
        self,
        *buckets: str,
        page_keys: int = 1000,
        domain: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`buckets` exist from the start. A listing has at most `page_keys` keys. A host `x.domain` means bucket x."""
        self.objects = Objects(page_keys)
        for bucket in buckets:
            self.objects.buckets[bucket] = {}
        self.domain = domain
        self.busiest = 0
        """The most requests that waited for the first byte of their answers at once."""
        self._in_flight = self._waiting = 0
        self._requests: list[Request] = []
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._http = _HttpServer(self, tls)
        self.port: int = self._http.server_address[1]
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.02,), name="fault-server"
        )
        self._thread.start()

    def store(self, bucket: str, key: str, data: bytes, **fields: object) -> StoredObject:
        """Puts an object there without a request; `fields` are those of `StoredObject`."""
        stored = StoredObject(data, **fields)  # type: ignore[arg-type]
        with self.objects.lock:
            self.objects.buckets.setdefault(bucket, {})[key] = stored
        return stored

    def stored(self, bucket: str, key: str) -> bytes | None:
        """The bytes of an object, or None."""
        with self.objects.lock:
            found = self.objects.buckets.get(bucket, {}).get(key)
        return found.data if found else None

    def fail(
        self,
        fault: Fault,
        *,
        times: int | None = 1,
        skip: int = 0,
        operation: str | None = None,
        method: str | None = None,
        key: str | None = None,
    ) -> None:
        """Gives `fault` to the next `times` (None: all) requests that match, after the first `skip` of them.

        Of several rules that match, the oldest that is not used up is taken.
        """
        with self._lock:
            self._rules.append(Rule(fault, times, skip, operation, method, key))

    def heal(self) -> None:
        """Forgets every fault that is not used up."""
        with self._lock:
            self._rules.clear()

    def requests(self, operation: str | None = None, key: str | None = None) -> list[Request]:
        """What was asked so far, in the order of arrival; only `operation`, only `key`, if given."""
        with self._lock:
            return [
                request
                for request in self._requests
                if operation in (None, request.operation) and key in (None, request.key)
            ]

    def forget(self) -> None:
        """Empties the log of requests."""
        with self._lock:
            self._requests.clear()

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._http.open)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 10.0) -> bool:
        """Whether `condition()` came to hold within `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def close(self) -> None:
        """Closes every connection and the port; from then on the port refuses."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._http.shutdown()
        self._http.cut_all()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def take(self, request: Request) -> Fault:
        """Logs `request` and finds its fault; `answering` and `done` follow, once each."""
        with self._lock:
            self._requests.append(request)
            self._in_flight += 1
            self._waiting += 1
            self.busiest = max(self.busiest, self._waiting)
            return next((rule.fault for rule in self._rules if rule.takes(request)), Fault())

    def answering(self) -> None:
        # Counted down before the answer leaves: the client's next request may be here at once.
        with self._lock:
            self._waiting -= 1

    def done(self) -> None:
        with self._lock:
            self._in_flight -= 1

    @property
    def in_flight(self) -> int:
        """Requests that are being answered now."""
        return self._in_flight

    @property
    def closing(self) -> bool:
        return self._closing.is_set()


@contextmanager
def refused_endpoint() -> Iterator[str]:
    """An endpoint whose port nobody listens on, and nobody else can take meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


class _HttpServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 1024

    def __init__(self, faults: FaultServer, tls: ssl.SSLContext | None) -> None:
        self.faults, self.tls = faults, tls
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        # HTTPServer would look its own name up here, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: object, client_address: object) -> None:
        self.open.add(cast(socket.socket, request))
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def finish_request(self, request: object, client_address: object) -> None:
        connection = cast(socket.socket, request)
        if self.tls is None:
            super().finish_request(connection, client_address)
            return
        try:
            wrapped = self.tls.wrap_socket(connection, server_side=True)
        except (OSError, ssl.SSLError):
            return
        with wrapped:
            super().finish_request(wrapped, client_address)

    def shutdown_request(self, request: object) -> None:
        connection = cast(socket.socket, request)
        self.open.discard(connection)
        # A shutdown would send FIN where SO_LINGER 0 asks for RST.
        with suppress(OSError):
            if connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)[:4] == b"\0\0\0\0":
                connection.shutdown(socket.SHUT_WR)
        connection.close()

    def cut_all(self) -> None:
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


class _End(Exception):
    """The connection ends here."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer
    rbufsize = BLOCK_BYTES

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        super().setup()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def serve(self) -> None:
        faults = self.server.faults
        request = self._read_head()
        fault, waiting = faults.take(request), True
        try:
            body = self._read_body(request, fault.receive_bytes)
            if fault.delay_seconds:
                self._hold(request, fault.delay_seconds)
            if fault.silent:
                self._end(request, fault)
            if fault.before:
                fault.before(faults, request)
            answer = self._answer(request, body, fault)
            if fault.after:
                fault.after(faults, request)
            waiting = False
            faults.answering()
            self._send(request, answer, fault)
        except OSError:
            request.closed.set()
            self.close_connection = True
        except _End:
            self.close_connection = True
        finally:
            if waiting:
                faults.answering()
            faults.done()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve

    def _read_head(self) -> Request:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        host = (parts.hostname or headers.get("host", "")).partition(":")[0]
        path, domain = parts.path, self.server.faults.domain
        if domain and host.endswith("." + domain):
            path = f"/{host[: -len(domain) - 1]}{path}"
        bucket, _, key = path.removeprefix("/").partition("/")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        bucket, key = unquote(bucket), unquote(key)
        name = operation(self.command, bucket, key, query, headers)
        return Request(name, self.command, parts.path, bucket, key, query, headers)

    def _read_body(self, request: Request, stop_at: int | None) -> bytes:
        read: list[bytes] = []

        def take(size: int) -> None:
            while size:
                block = self.rfile.read(
                    min(
                        size,
                        BLOCK_BYTES,
                        size if stop_at is None else stop_at - request.received_bytes,
                    )
                )
                request.received_bytes += len(block)
                size -= len(block)
                read.append(block)
                if not block and stop_at != request.received_bytes:
                    raise _End
                if stop_at is not None and request.received_bytes >= stop_at:
                    self._reset()

        if "chunked" in request.headers.get("transfer-encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                take(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            take(int(request.headers.get("content-length", 0)))
        body = b"".join(read)
        return (
            _unframed(body)
            if "aws-chunked" in request.headers.get("content-encoding", "")
            else body
        )

    def _answer(self, request: Request, body: bytes, fault: Fault) -> Answer:
        request_id = uuid.uuid4().hex[:16].upper()
        common = {"x-amz-request-id": request_id, "Content-Type": "application/xml"}
        if fault.status is not None:
            answer = Answer(fault.status, error_xml(fault.code, fault.message, request_id), common)
        elif fault.inside_ok:
            answer = Answer(200, error_xml(fault.code, fault.message, request_id), common)
        else:
            try:
                answer = self.server.faults.objects.answer(
                    request, body, ignore_range=fault.ignores_range
                )
                answer.headers = common | answer.headers
            except Refusal as refusal:
                content = (
                    b""
                    if refusal.status == 304
                    else error_xml(refusal.code, refusal.message, request_id)
                )
                answer = Answer(refusal.status, content, common)
        replaced = {name.lower() for name in fault.headers}
        answer.headers = {
            n: v for n, v in answer.headers.items() if n.lower() not in replaced
        } | dict(fault.headers)
        return answer

    def _send(self, request: Request, answer: Answer, fault: Fault) -> None:
        self.send_response_only(answer.status, _phrase(answer.status))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        bare = request.method == "HEAD" or answer.status in (204, 304)
        if fault.chunked and not bare:
            self.send_header("Transfer-Encoding", "chunked")
        elif answer.status not in (204, 304):
            # The error of a HEAD has no body, and its length says nothing of the object.
            length = 0 if request.method == "HEAD" and answer.status >= 300 else len(answer.body)
            self.send_header("Content-Length", str(length + fault.length_error))
        # Counted before it is sent: the client may look at the log as soon as it has its answer.
        request.status = answer.status
        self.end_headers()
        body = b"" if bare else answer.body
        cut = len(body) if fault.send_bytes is None else min(fault.send_bytes, len(body))
        self._send_body(request, memoryview(body)[:cut], fault)
        if fault.send_bytes is not None and (cut < len(body) or fault.ending == "stall"):
            self.wfile.flush()
            self._end(request, fault)
        if fault.chunked and not bare:
            self.wfile.write(b"0\r\n\r\n")
        if fault.length_error:
            # Whatever follows on this connection could be taken for the missing bytes.
            raise _End

    def _send_body(self, request: Request, body: memoryview, fault: Fault) -> None:
        step = (
            BLOCK_BYTES
            if fault.bytes_per_second is None
            else max(1, int(fault.bytes_per_second / 20))
        )
        for start in range(0, len(body), step):
            block = body[start : start + step]
            request.sent_bytes += len(block)
            if fault.chunked:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(block), bytes(block)))
            else:
                self.wfile.write(block)
            if fault.bytes_per_second is not None:
                self._hold(request, len(block) / fault.bytes_per_second)

    def _end(self, request: Request, fault: Fault) -> None:
        if fault.ending == "stall":
            self._hold(request, float("inf"))
        if fault.ending == "reset":
            self._reset()
        raise _End

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _End

    def _hold(self, request: Request, seconds: float) -> None:
        """Waits, but no longer than the client keeps the connection or the server is open."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self.server.faults.closing:
            if select.select([self.connection], [], [], min(left, 0.01))[0]:
                try:
                    gone = not self.connection.recv(1, 0 if self.server.tls else socket.MSG_PEEK)
                except OSError:
                    gone = True
                if gone:
                    request.closed.set()
                    raise _End
                time.sleep(min(left, 0.01))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Fault"


def _unframed(body: bytes) -> bytes:
    """The data of an aws-chunked body: `size;chunk-signature=…` lines and trailers are left out."""
    data, at = bytearray(), 0
    while True:
        line_end = body.index(b"\r\n", at)
        size = int(body[at:line_end].split(b";")[0], 16)
        if size == 0:
            return bytes(data)
        data += body[line_end + 2 : line_end + 2 + size]
        at = line_end + 2 + size + 2
