"""Downloads against a server on this machine: whole and checked, or not at all and one sentence."""

import errno
import hashlib
import http.server
import os
import pathlib
import threading

import pytest

from reseg_jax.errors import UserError
from reseg_jax.files.download import cache_dir, download

BODY = bytes(range(256)) * 5000  # more than one read
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def server():
    """Serves BODY at /good, ten bytes of it at /short, 404 elsewhere; counts the requests."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests += 1
            if self.path not in ("/good", "/short"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY if self.path == "/good" else BODY[:10])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = 0
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


def fails(pattern, url, path, **options):
    """`download` ends in one sentence that names both ends; nothing is left beside `path`."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UserError, match=pattern) as caught:
        download(url, path, **options)
    sentence = str(caught.value)
    assert url in sentence and str(path) in sentence and "\n" not in sentence
    assert (path.read_bytes() if path.is_file() else None) == before
    if path.parent.is_dir():
        assert not list(path.parent.glob("*.part"))


def test_fetches_once(server, tmp_path):
    path = tmp_path / "new" / "folder" / "file.bin"
    for _ in range(2):
        got = download(f"{server.url}/good", path, sha256=SHA256, md5=MD5, size=len(BODY))
        assert got == path
    assert path.read_bytes() == BODY
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]
    assert server.requests == 1


@pytest.mark.parametrize("check", [{"sha256": SHA256}, {"md5": MD5.upper()}, {"size": len(BODY)}])
def test_a_wrong_file_is_fetched_again(server, tmp_path, check):
    path = tmp_path / "file.bin"
    path.write_bytes(b"half a file")
    download(f"{server.url}/good", path, **check)
    assert path.read_bytes() == BODY


def test_a_file_without_checks_is_kept(server, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"anything")
    download(f"{server.url}/good", path)
    assert path.read_bytes() == b"anything"
    assert server.requests == 0


def test_http_error_and_a_body_cut_short(server, tmp_path):
    fails("404.*: fetch it on a machine", f"{server.url}/missing", tmp_path / "file")
    fails(f"10 of {len(BODY)} bytes", f"{server.url}/short", tmp_path / "file")


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        ({"sha256": "0" * 64}, f"its sha256 is {SHA256} and not 000"),
        ({"md5": "0" * 32}, f"its md5 is {MD5} and not 000"),
        ({"size": len(BODY) + 1}, f"it has {len(BODY)} bytes and not {len(BODY) + 1}"),
        ({"size": 7}, "what comes has more than 7 bytes"),
    ],
)
def test_wrong_content_leaves_what_was_there(server, tmp_path, check, reason):
    path = tmp_path / "file"
    path.write_bytes(b"from before")
    fails(reason, f"{server.url}/good", path, **check)


def test_no_server(server, tmp_path):
    url = server.url
    server.shutdown()
    server.server_close()
    texts = {"what": "the thing", "advice": "do this instead"}
    pattern = "(?i)the thing .*refused.*: do this instead"
    fails(pattern, f"{url}/good", tmp_path / "file", **texts)


@pytest.mark.parametrize("url", ["nonsense", "gopher://127.0.0.1/x", "http://127.0.0.1:1x/"])
def test_a_bad_url(tmp_path, url):
    fails("cannot download", url, tmp_path / "file")


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    fails("choose another folder", f"{server.url}/good", tmp_path / "file" / "below")


def test_full_disk(server, tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", no_space)
    fails("No space left on device; free some space", f"{server.url}/good", tmp_path / "file")


@pytest.mark.parametrize("live", [False, True])
def test_progress_rewrites_a_line_only_on_a_terminal(server, tmp_path, capsys, monkeypatch, live):
    monkeypatch.setattr("sys.stderr.isatty", lambda: live)
    download(f"{server.url}/good", tmp_path / "file", what="it")
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert ("\r" in err) == live
    assert ("1.3 of 1.3 MB" in err) == live


def test_cache_dir(monkeypatch):
    home = pathlib.Path("/home/someone")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("RESEG_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == home / ".cache" / "reseg_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == pathlib.Path("/xdg/reseg_jax")
    monkeypatch.setenv("RESEG_CACHE", "~/own")
    assert cache_dir() == home / "own"
