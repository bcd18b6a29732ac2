"""Fetching from a hub, held against a small server of our own that speaks enough of its interface."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

import pytest

from formers.errors import CheckpointError
from formers.pretrained.hub import cache_folder, fetch, fetch_gguf, is_gguf, is_id
from formers.registry import locate

COMMITS = {"main": "a" * 40, "v1": "b" * 40}
FILES = {
    "a" * 40: {
        "config.json": b'{"v": 2}',
        "model.safetensors": b"new",
        "source.spm": b"s",
        "README.md": b"#",
        "pytorch_model.bin": b"pickle",
        "onnx/model.safetensors": b"o",
        "tokenizer.json": b"{}",
        "model-Q8_0.gguf": b"gguf",
        "quantised/model-Q4_0.gguf": b"more",
    },
    "b" * 40: {"config.json": b'{"v": 1}', "model.safetensors": b"old"},
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.server.asked.append((self.command, self.path))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, code, status=404):
        self.answer(status, b'{"error": "no"}', X_Error_Code=code, X_Error_Message="no")

    def do_GET(self):
        path = unquote(urlparse(self.path).path)
        if "gated" in path:
            return self.refuse("GatedRepo", 403)
        if "/team/model" not in path:
            return self.refuse("RepoNotFound", 401)
        if path.startswith("/api/models/team/model"):
            kind, _, revision = path.removeprefix("/api/models/team/model").strip("/").partition("/")
            commit = self.commit(revision or "main")
            if commit is None:
                return self.refuse("RevisionNotFound")
            body = self.tree(commit) if kind == "tree" else self.about(commit)
            return self.answer(200, json.dumps(body).encode(), Content_Type="application/json")
        revision, _, name = path.removeprefix("/team/model/resolve/").partition("/")
        commit = self.commit(revision)
        if commit is None or name not in FILES[commit]:
            return self.refuse("EntryNotFound")
        body = FILES[commit][name]
        return self.answer(
            200,
            body,
            ETag=f'"{hashlib.sha1(body).hexdigest()}"',
            X_Repo_Commit=commit,
            Content_Type="application/octet-stream",
        )

    do_HEAD = do_GET

    def commit(self, revision):
        return COMMITS.get(revision, revision if revision in FILES else None)

    def about(self, commit):
        names = [{"rfilename": name} for name in FILES[commit]]
        return {
            "id": "team/model",
            "modelId": "team/model",
            "sha": commit,
            "private": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": names,
        }

    def tree(self, commit):
        return [
            {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
            for name, body in FILES[commit].items()
        ]


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def stop():
        if thread.is_alive():
            server.shutdown()
            thread.join()
            server.server_close()

    server.stop = stop
    yield server
    stop()


def names(folder):
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if not each.is_dir()}


def test_download_takes_what_a_model_needs(server, tmp_path):
    folder = fetch("team/model")
    assert names(folder) == {"config.json", "model.safetensors", "source.spm", "tokenizer.json"}
    assert (folder / "model.safetensors").read_bytes() == b"new"
    assert (tmp_path / "cache") in folder.parents


def test_pickles_come_only_when_allowed(server):
    assert "pytorch_model.bin" in names(fetch("team/model", allow_bin=True))


def test_one_gguf_file_comes_alone(server):
    path = fetch_gguf("team/model/model-Q8_0.gguf")
    assert path.read_bytes() == b"gguf" and names(path.parent) == {"model-Q8_0.gguf"}
    assert locate("team/model/quantised/model-Q4_0.gguf@main").read_bytes() == b"more"
    with pytest.raises(CheckpointError, match=r"team/model@v1 has no file model-Q8_0\.gguf"):
        locate("team/model/model-Q8_0.gguf@v1")
    assert is_gguf("team/model/a/b.gguf@v1") and not is_gguf("team/model") and not is_gguf("./team/model.gguf")


def test_the_cache_serves_when_the_server_is_gone(server):
    first = fetch("team/model")
    server.stop()
    assert fetch("team/model") == first
    assert fetch("team/model", offline=True) == first


def test_a_revision_is_pinned(server):
    for id, revision in (("team/model@v1", None), ("team/model", "v1"), (f"team/model@{'b' * 40}", None)):
        folder = fetch(id, revision=revision)
        assert (folder / "config.json").read_bytes() == b'{"v": 1}'
    assert (fetch("team/model") / "config.json").read_bytes() == b'{"v": 2}'
    with pytest.raises(CheckpointError, match="names the revision v1, but revision is main"):
        fetch("team/model@v1", revision="main")


def test_what_is_not_there(server):
    with pytest.raises(CheckpointError, match=r"127\.0\.0\.1:\d+ has no model team/absent"):
        fetch("team/absent")
    with pytest.raises(CheckpointError, match="team/model has no revision 'v9'"):
        fetch("team/model@v9")
    with pytest.raises(CheckpointError, match="team/gated needs a permission"):
        fetch("team/gated")


def test_offline_asks_nobody(server, monkeypatch):
    with pytest.raises(CheckpointError, match=r"is not complete in the cache .* offline is set"):
        fetch("team/model", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="offline is set"):
        fetch("team/model")
    assert server.asked == []


def test_no_network(server):
    server.stop()
    with pytest.raises(CheckpointError, match=r"is not in the cache, and http.* cannot be reached"):
        fetch("team/model")


def test_ids(monkeypatch, tmp_path):
    assert is_id("Helsinki-NLP/opus-mt-en-de") and is_id("a/b@v1.0") and is_id("a/b@refs/pr/1")
    assert not any(map(is_id, ("a", "a/b/c", "/a/b", "./a", "a/b@", "a b/c", "../../x")))
    with pytest.raises(CheckpointError, match="'model' is not a hub id; it must look like owner/name"):
        fetch("model")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hub"
