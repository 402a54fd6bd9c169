"""A Hugging Face hub on loopback, as far as `gantool push` and `pull` talk to one: files in memory, one branch."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"


class Hub:
    """`repos`: name → file → bytes. `large`: from so many bytes on, a file goes by LFS. `spoil`: name → other bytes."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[dict[str, str]] = []
        self.blobs: dict[str, bytes] = {}
        self.spoil: dict[str, bytes] = {}
        self.large = 4096
        self.page = b""  # what every address answers, as the page of a network that one has to log in to
        self.address = ""

    def sha(self, repo: str) -> str:
        said = repr(sorted(self.repos[repo].items())).encode()
        return hashlib.sha1(said).hexdigest()

    def described(self, repo: str) -> list[dict[str, object]]:
        found = []
        for name, data in self.repos[repo].items():
            entry: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": git_oid(data)}
            if len(data) >= self.large:
                entry["lfs"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 130}
            found.append(entry)
        return found


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, value: object = None, **headers: str) -> None:
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for key, text in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(key.replace("_", "-"), text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def missing(self, code: str = "RepoNotFound") -> None:
            self.answer(404, {"error": "not found"}, X_Error_Code=code)

        def authorised(self) -> bool:
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                return True
            self.answer(401, {"error": "Invalid username or password."})
            return False

        def do_GET(self) -> None:
            if hub.page:
                self.answer(200, hub.page)
                return
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            if parts[:2] == ["api", "models"]:
                repo, rest = "/".join(parts[2:4]), parts[4:]
                if repo not in hub.repos:
                    self.missing()
                elif rest[:1] == ["revision"] and rest[1] not in ("main", hub.sha(repo)):
                    self.missing("RevisionNotFound")
                elif rest[:1] == ["tree"]:
                    files = hub.repos[repo].items()
                    self.answer(200, [{"type": "file", "path": n, "size": len(d), "oid": git_oid(d)} for n, d in files])
                else:
                    self.answer(200, {"id": repo, "sha": hub.sha(repo), "siblings": hub.described(repo)})
                return
            repo, name = "/".join(parts[:2]), "/".join(parts[4:])
            if name not in hub.repos.get(repo, {}):
                self.missing("EntryNotFound")
                return
            data = hub.spoil.get(name, hub.repos[repo][name])
            self.answer(200, data, ETag=f'"{git_oid(data)}"', X_Repo_Commit=hub.sha(repo))

        do_HEAD = do_GET

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            hub.blobs[hashlib.sha256(data).hexdigest()] = data
            self.answer(200, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = urlsplit(self.path).path
            if not self.authorised():
                return
            if path == "/api/repos/create":
                asked = json.loads(body)
                repo = f"{asked.get('organization') or 'me'}/{asked['name']}"
                status = 409 if repo in hub.repos else 200
                hub.repos.setdefault(repo, {".gitattributes": b""})
                hub.private.setdefault(repo, asked.get("visibility") == "private")
                self.answer(status, {"url": f"{hub.address}/{repo}", "name": repo})
            elif path == "/api/validate-yaml":
                self.answer(200, {"errors": [], "warnings": []})
            elif "/preupload/" in path:
                files = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["size"] >= hub.large else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
                self.answer(200, {"files": files})
            elif path.endswith("/info/lfs/objects/batch"):
                objects = [
                    {**each, "actions": {"upload": {"href": f"{hub.address}/lfs/{each['oid']}"}}}
                    for each in json.loads(body)["objects"]
                ]
                self.answer(200, {"transfer": "basic", "objects": objects})
            elif "/commit/" in path:
                repo = "/".join(path.split("/")[3:5])
                files = hub.repos[repo]
                for line in map(json.loads, body.splitlines()):
                    value = line["value"]
                    if line["key"] == "header":
                        hub.commits.append(value)
                    elif line["key"] == "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                    elif line["key"] == "lfsFile":
                        files[value["path"]] = hub.blobs[value["oid"]]
                    else:
                        del files[value["path"]]
                sha = hub.sha(repo)
                self.answer(200, {"commitUrl": f"{hub.address}/{repo}/commit/{sha}", "commitOid": sha})
            else:
                self.missing()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        hub.address = f"http://127.0.0.1:{server.server_port}"
        yield hub
        server.shutdown()
        thread.join()
