"""Downloads, from a server of the test's own."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading

import pytest

from dualnet.data.archives.download import download, md5_of
from dualnet.errors import DualnetError

CONTENT = bytes(range(256)) * 5000
MD5 = hashlib.md5(CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: 1000 if self.path == "/short" else None])

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["file", "unsized"])
def test_a_good_file_gets_its_name(name, server, tmp_path):
    path = tmp_path / "new" / "file"
    download(f"{server}/{name}", path, MD5)
    assert path.read_bytes() == CONTENT
    assert md5_of(path) == MD5
    assert list(path.parent.iterdir()) == [path]


def test_progress_is_shown(server, tmp_path, capsys):
    download(f"{server}/file", tmp_path / "file", MD5, progress=True)
    assert "file: 100%" in capsys.readouterr().err


def test_another_checksum_leaves_nothing(server, tmp_path):
    wrong = "0" * 32
    with pytest.raises(DualnetError, match=f"has MD5 {MD5}, published is {wrong}: try again"):
        download(f"{server}/file", tmp_path / "file", wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"), [("missing", "Not Found"), ("short", "ended after 1000 of 1280000 bytes")]
)
def test_failed_transfers_leave_nothing(name, message, server, tmp_path):
    with pytest.raises(DualnetError, match=message):
        download(f"{server}/{name}", tmp_path / "file", MD5)
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_remedy_is_told(tmp_path):
    with socket.socket() as unused:  # bound, but nobody listens: connections are refused
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        with pytest.raises(DualnetError, match="where there is no network, .*--source PATH"):
            download(url, tmp_path / "file", MD5)
    assert list(tmp_path.iterdir()) == []
