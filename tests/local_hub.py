"""A server that answers the client of the Hugging Face hub as the hub does, for the few questions that we ask."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = (".parquet", ".safetensors", ".bin")


class LocalHub:
    """Repositories by (kind, name), each a list of commits, each the content of files by name.

    ``served`` replaces what is sent of a file, as a damaged download would. After ``breaks_after`` bytes of the next
    file its connection closes. ``requests`` is what was asked for, ``starts`` the byte from which each file was sent.
    """

    def __init__(self):
        self.repositories: dict[tuple[str, str], list[dict[str, bytes]]] = {}
        self.served: dict[str, bytes] = {}
        self.breaks_after: int | None = None
        self.requests: list[str] = []
        self.starts: list[int] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, kind: str, name: str, files: dict[str, bytes]) -> str:
        """Commit files to a repository and return the commit."""
        commits = self.repositories.setdefault((kind, name), [])
        commits.append(files)
        return self.commit(kind, name, len(commits) - 1)

    @staticmethod
    def commit(kind: str, name: str, number: int) -> str:
        return hashlib.sha1(f"{kind}/{name}/{number}".encode()).hexdigest()

    def files(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        commits = self.repositories.get((kind, name), [])
        named = {self.commit(kind, name, i): files for i, files in enumerate(commits)}
        if commits and revision == "main":
            revision = self.commit(kind, name, len(commits) - 1)
        return (revision, named[revision]) if revision in named else None

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub

    def log_message(self, *_arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.requests.append(f"{self.command} {path}")
        parts = path.split("/")
        if parts[0] == "plain":
            self.answer(self.hub.served.get("/".join(parts[1:])))
        elif parts[0] == "api":
            kind, name, rest = parts[1][:-1], "/".join(parts[2:4]), parts[4:]
            found = self.hub.files(kind, name, rest[1] if rest else "main")
            if found is None:
                self.answer(None, "RevisionNotFound" if (kind, name) in self.hub.repositories else "RepoNotFound")
            elif rest[:1] == ["tree"]:
                self.answer(json.dumps([entry(*item) for item in found[1].items()]).encode())
            else:
                self.answer(json.dumps({"id": name, "sha": found[0], "tags": [], "siblings": []}).encode())
        else:
            kind = "dataset" if parts[0] == "datasets" else "model"
            owner, name, _, revision, *file = parts[1:] if kind == "dataset" else parts
            found = self.hub.files(kind, f"{owner}/{name}", revision)
            content = found and found[1].get("/".join(file))
            if not found or content is None:
                self.answer(None, "EntryNotFound")
                return
            described = entry("/".join(file), content)
            etag = described["lfs"]["oid"] if "lfs" in described else described["oid"]
            headers = {"X-Repo-Commit": found[0], "ETag": f'"{etag}"'}
            if "lfs" in described:
                headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
            self.answer_from(self.start(), self.hub.served.get("/".join(file), content), headers)

    def start(self) -> int:
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])

    def answer_from(self, start: int, content: bytes, headers: dict[str, str]):
        """Send a file from a byte on, and break off where the hub was told to."""
        if self.command == "GET":
            self.hub.starts.append(start)
        self.send_response(206 if start else 200)
        for key, value in {**headers, "Content-Length": str(len(content) - start)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            stop, self.hub.breaks_after = self.hub.breaks_after, None
            self.wfile.write(content[start:stop])
            self.close_connection = stop is not None

    def answer(self, content: bytes | None, error: str = "EntryNotFound"):
        self.send_response(200 if content is not None else 404)
        if content is None:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content or b"")


def entry(path: str, content: bytes) -> dict:
    """Describe a file as the hub's tree does."""
    described = {"type": "file", "path": path, "size": len(content)}
    if path.endswith(LARGE):
        oid = hashlib.sha256(content).hexdigest()
        return described | {"oid": "0" * 40, "lfs": {"oid": oid, "size": len(content), "pointerSize": 134}}
    return described | {"oid": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
