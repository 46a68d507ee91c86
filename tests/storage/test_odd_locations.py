"""Locations that no client can make sense of, and redirects: one error, never a traceback."""

import base64
import datetime
import http.server
import ipaddress
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.errors import InputError, UnreadableAudio
from pipeline.sources.plan import plan
from pipeline.storage.access import Access
from pipeline.storage.filesystem import look_up
from pipeline.storage.opening import open_recording
from tests.helpers.rooms import ROOT
from tests.helpers.shards import write_files

ONCE = Access(timeout_s=2, retries=0)
ODD = [
    "http://127.0.0.1:99999/x",
    "http://[::1/x",
    "http:///x",
    "http://127.0.0.1:x/y",
    "hf://datasets",
    "hf://",
    "s3://",
]


@pytest.mark.parametrize("location", ODD)
def test_an_odd_location_is_one_message(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnreadableAudio), open_recording(location, ONCE):
        pass
    with pytest.raises(InputError):
        plan([location], access=ONCE)
    write_files(tmp_path, {"good.wav": b"-"})
    (tmp_path / "m.csv").write_text(f"path\ngood.wav\n{location}\n")
    assert plan([str(tmp_path / "m.csv")], access=ONCE).recordings == 2


class Redirect(http.server.BaseHTTPRequestHandler):
    """/hop -> /file; /in -> /private, which is for me:pw alone; /other -> another scheme; /loop -> itself;
    /to/HOST/file -> http://HOST/file."""

    def do_GET(self) -> None:
        hops = {"/hop": "/file", "/in": "/private", "/loop": "/loop", "/mail": "mailto:a@b"}
        target = (hops | {"/other": "https://127.0.0.1:1/file"}).get(self.path)
        if self.path.startswith("/to/"):
            target = f"http:/{self.path.removeprefix('/to')}"
        known = self.headers.get("Authorization") == f"Basic {base64.b64encode(b'me:pw').decode()}"
        self.send_response(302 if target else 401 if self.path == "/private" and not known else 200)
        self.send_header(*(("Location", target) if target else ("Content-Length", "4")))
        self.end_headers()
        self.wfile.write(b"" if target else b"DATA")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_schemes_hold_for_the_target_of_a_redirect(server: str) -> None:
    access = Access(schemes=("http",), timeout_s=2, retries=0)
    with open_recording(f"{server}/hop", access) as file:
        assert file.read() == b"DATA"
    with pytest.raises(UnreadableAudio, match="'https' is not allowed"), open_recording(f"{server}/other", access):
        pass
    with pytest.raises(UnreadableAudio, match="mailto:a@b"), open_recording(f"{server}/mail", access):
        pass
    with pytest.raises(InputError, match="redirects"):
        look_up(f"{server}/loop", access)


def test_credentials_go_with_a_redirect_on_their_own_server_alone(server: str) -> None:
    host = server.partition("://")[2]
    with open_recording(f"http://me:pw@{host}/in", ONCE) as file:
        assert file.read() == b"DATA"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://me:pw@127.0.0.1:{other.server_port}/to/{host}/private"
        with pytest.raises(UnreadableAudio, match="401"), open_recording(url, ONCE):
            pass
        other.shutdown()


def certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


READ = """
import sys
from pipeline.errors import UnreadableAudio
from pipeline.storage.opening import open_recording
for url in sys.argv[1:]:
    try:
        with open_recording(url) as file:
            print(file.read().decode())
    except UnreadableAudio as error:
        print(error)
"""


def test_a_redirect_from_https_to_http_is_refused(tmp_path: Path, server: str) -> None:
    path = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as secure:
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        threading.Thread(target=secure.serve_forever, daemon=True).start()
        base = f"https://127.0.0.1:{secure.server_port}"
        urls = [f"{base}/file", f"{base}/hop", f"{base}/to/{server.partition('://')[2]}/file"]
        told = subprocess.run(
            [sys.executable, "-c", READ, *urls],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env=os.environ | {"SSL_CERT_FILE": str(path)},
        )
        secure.shutdown()
    read, hopped, refused = told.stdout.splitlines()
    assert (read, hopped) == ("DATA", "DATA")
    assert "redirected from https to http (127.0.0.1)" in refused
