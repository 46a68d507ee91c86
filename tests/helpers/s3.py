"""A real S3 endpoint on loopback (moto's server), with nothing in it that an earlier one of this process held."""

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
