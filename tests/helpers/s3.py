"""A real S3 endpoint on loopback (moto's server), with nothing in it that an earlier one of this process held."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import boto3
from moto.moto_api._internal.models import moto_api_backend
from moto.server import ThreadedMotoServer


@contextmanager
def s3_server(bucket: str, objects: Mapping[str, bytes], key: str = "k", secret: str = "s") -> Iterator[str]:
    """host:port of an endpoint with `bucket`, which holds `objects` by their keys."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto_api_backend.reset()  # all servers of a process share their buckets
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=bucket)
        for name, content in objects.items():
            client.put_object(Bucket=bucket, Key=name, Body=content)
        yield f"{host}:{port}"
    finally:
        server.stop()


class Proxy:
    """A TCP proxy on loopback, which counts what its server sends."""

    def __init__(self, server: str) -> None:
        host, _, port = server.partition(":")
        self.server, self.sent = (host, int(port)), 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(self.server)
            threading.Thread(target=self._pass_on, args=(client, server, 0), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, 1), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, counts: int) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.sent += counts * len(data)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def counted(server: str) -> Iterator[Proxy]:
    """A `Proxy` before `server`, a host:port."""
    proxy = Proxy(server)
    yield proxy
    proxy.socket.close()
