"""Xeno-Canto as a server of our own plays it, which answers as oddly as the real one may."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

KEY = "s3cr3t+key/0123456789"


def sound(number: int | str) -> bytes:
    return b"ID3" + hashlib.sha256(str(number).encode()).digest() * 200


def record(number: int, **changes) -> dict:
    """A recording as API version 3 describes it."""
    return {
        "id": str(number), "gen": "Turdus", "sp": "merula", "ssp": "", "grp": "birds",
        "en": "Common Blackbird",
        "rec": f"Ann {number % 3}", "cnt": "Spain", "loc": f"place {number % 4}", "lat": "42.8",
        "lon": "-8.6", "alt": "20",
        "type": "song", "q": "A",
        "length": "0:30", "lic": "//creativecommons.org/licenses/by-nc-sa/4.0/",
        "url": f"//xeno-canto.org/{number}",
        "file": f"//{{host}}/{number}/download", "file-name": f"XC{number}-song.mp3", "also": [""],
        "rmk": "", "date": "2020-05-01", "time": "08:00", "smp": "44100",
        "dvc": "Zoom H5", "mic": "Telinga",
    } | changes  # fmt: skip


class Server(http.server.ThreadingHTTPServer):
    """Plays the API at /api/3/recordings and the files at /<number>/download.

    ``odd`` maps a path to a list of odd answers.
    """

    daemon_threads = True

    def __init__(self, records: list[dict]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.records, self.odd, self.seen, self.times, self.slow = records, {}, [], [], 0.0
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def api(self) -> str:
        return f"http://{self.host}/api/3/recordings"

    def page(self, query: dict) -> dict:
        size, number = int(query["per_page"][0]), int(query["page"][0])
        pages = max(1, -(-len(self.records) // size))
        chosen = json.loads(
            json.dumps(self.records[(number - 1) * size : number * size]).replace(
                "{host}", self.host
            )
        )
        return {
            "numRecordings": str(len(self.records)),
            "numSpecies": "2",
            "page": number,
            "numPages": pages,
            "recordings": chosen,
        }


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args) -> None:
        pass

    def answer(
        self, status: int, body: bytes, kind: str, length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.server.seen.append(self.path)
        self.server.times.append(time.monotonic())
        time.sleep(self.server.slow)
        odd = self.server.odd.get(url.path)
        if odd:
            self.answer(**odd.pop(0))
        elif url.path.startswith("/api/"):
            query = parse_qs(url.query)
            if query.get("key") != [KEY]:
                self.answer(
                    401,
                    b'{"error": "client_error", "message": "Missing or invalid key"}',
                    "application/json",
                )
            else:
                self.answer(200, json.dumps(self.server.page(query)).encode(), "application/json")
        else:
            self.answer(200, sound(url.path.split("/")[1]), "audio/mpeg")


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Close the server at the end of the block."""
    yield server
    server.shutdown()
    server.server_close()
