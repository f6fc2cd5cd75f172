"""The web side of Xeno-Canto: pages of API version 3 and audio files, the key never shown.

https://xeno-canto.org/explore/api. Every request, redirects included, waits its turn; 429, 5xx,
broken connections and answers that are not JSON are tried again, after ``Retry-After`` where the
server gives one.
"""

from __future__ import annotations

import email.utils
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from birdnb import __version__
from birdnb.files import BirdnbError, atomic_path

API = "https://xeno-canto.org/api/3/recordings"
ATTEMPTS = 6
LONGEST_WAIT = 600.0  # [s] a server that asks for more is left alone until the next run
HTTP_LOGGERS = [
    "httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy",
    "httpcore.socks",
]  # fmt: skip
T = TypeVar("T")


class Refused(BirdnbError):
    """The server will not give this file: trying again is of no use."""


class Unavailable(BirdnbError):
    """The server gave no good answer however often it was asked: worth trying another day."""


class _TryLater(Exception):
    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait  # [s] as the server asked; None when it did not


class XenoCantoApi:
    """Xeno-Canto's API and files; use it as a context manager.

    base : address of the recordings endpoint
    key : API key, never shown, logged or written
    pause : number >= 0 [s] between the starts of two requests
    """

    def __init__(self, base: str, key: str, pause: float = 1.0) -> None:
        self.base, self._key, self.pause = base, key, pause
        self._free_at = 0.0  # [s] monotonic time at which the next request may start
        self._secrets = sorted(
            {key, quote(key), quote(key, safe=""), quote_plus(key)}, key=len, reverse=True
        )
        self._http = httpx.Client(
            timeout=60.0,
            headers={"User-Agent": f"birdnb/{__version__}"},
            event_hooks={"request": [self._wait_turn]},
        )
        for name in HTTP_LOGGERS:
            logging.getLogger(name).addFilter(self._redact_record)

    def __enter__(self) -> XenoCantoApi:
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()
        for name in HTTP_LOGGERS:
            logging.getLogger(name).removeFilter(self._redact_record)

    def redact(self, text: str) -> str:
        """Return a text without the key, in whatever way it is quoted."""
        for secret in self._secrets:
            text = text.replace(f"key={secret}", "key=[redacted]")
            if len(secret) > 4:  # a shorter one would tear words apart
                text = text.replace(secret, "[redacted]")
        return text

    def page(self, query: str, number: int, per_page: int) -> dict[str, Any]:
        """Return one page of a query's recordings as the API sends it, or raise BirdnbError."""
        params: dict[str, str | int] = {
            "query": query, "key": self._key, "per_page": per_page, "page": number,
        }  # fmt: skip
        return self._persist(lambda: self._get_page(params))

    def audio(self, url: str, path: Path) -> int:
        """Download an audio file to ``path`` (whole or not at all) and return its size [bytes].

        Raises Refused when the server does not give the file or sends something that is no audio,
        Unavailable when it cannot be reached.
        """
        return self._persist(lambda: self._get_audio(url, path))

    def _get_page(self, params: dict[str, str | int]) -> dict[str, Any]:
        try:
            response = self._http.get(self.base, params=params)
        except httpx.HTTPError as error:
            # the error itself holds the address, and that the key
            raise _TryLater(self._describe(error)) from None
        self._raise_if_busy(response)
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.status_code == 200 and isinstance(body, dict) and not body.get("error"):
            if isinstance(body.get("recordings"), list):
                promised = str(body.get("numRecordings", "0")).lstrip("0")
                if body["recordings"] or not promised:
                    return body
            said = body.get("message") or "no reason given"
            raise _TryLater(self.redact(f"the API answered without recordings ({said})"))
        if response.status_code == 200 and not isinstance(body, dict):
            raise _TryLater("the API answered with something that is not JSON")
        raise BirdnbError(self.redact(_refusal(response, body)))

    def _get_audio(self, url: str, path: Path) -> int:
        try:
            with (
                atomic_path(path) as temporary,
                self._http.stream("GET", url, follow_redirects=True) as response,
            ):
                self._raise_if_busy(response)
                if response.status_code != 200:
                    raise Refused(f"the server answered {response.status_code} instead of audio")
                kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
                if kind.startswith("text/") or kind in (
                    "application/json",
                    "application/xml",
                    "application/xhtml+xml",
                ):
                    raise Refused(f"the server sent {kind} instead of audio")
                with open(temporary, "wb") as file:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
                return _checked_size(temporary, response)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
            raise Refused(f"the file's address does not work ({self._describe(error)})") from None
        except httpx.HTTPError as error:
            raise _TryLater(self._describe(error)) from None

    def _persist(self, call: Callable[[], T]) -> T:
        when, often = retry_if_exception_type(_TryLater), stop_after_attempt(ATTEMPTS)
        retrying = Retrying(retry=when, stop=often, wait=self._back_off, reraise=True)
        try:
            return retrying(call)
        except _TryLater as error:
            raise Unavailable(
                f"{error}, {ATTEMPTS} times: run the same command again later, it will go on"
            ) from None

    def _back_off(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, _TryLater) else None
        return asked if asked is not None else min(self.pause * 2**state.attempt_number, 60.0)

    def _raise_if_busy(self, response: httpx.Response) -> None:
        if response.status_code == 429 or response.status_code >= 500:
            wait = retry_after(response.headers.get("retry-after", ""))
            if wait is not None and wait > LONGEST_WAIT:
                raise Unavailable(
                    f"the server asks to wait {wait:.0f} s: run the same command again then, it "
                    f"will go on"
                )
            raise _TryLater(f"the server answered {response.status_code}", wait)

    def _wait_turn(self, request: httpx.Request) -> None:
        now = time.monotonic()
        if self._free_at > now:
            time.sleep(self._free_at - now)
        self._free_at = max(now, self._free_at) + self.pause

    def _describe(self, error: Exception) -> str:
        return self.redact(f"{type(error).__name__}: {error}")

    def _redact_record(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.redact(record.getMessage()), ()
        return True


def retry_after(header: str) -> float | None:
    """Return the seconds of a ``Retry-After`` header, a number or a date; None when it has none."""
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _refusal(response: httpx.Response, body: Any) -> str:
    """Say what the API said, from either of its two shapes of error, and what to do about it."""
    body = body if isinstance(body, dict) else {}
    error = body.get("error")
    said = body.get("message") or error
    if isinstance(error, dict):
        said = error.get("message") or error.get("code")
    status = response.status_code
    remedy = {
        401: "check the environment variable XENO_CANTO_KEY",
        403: "check the environment variable XENO_CANTO_KEY",
    }
    if 300 <= status < 400:
        said = f"it has moved to {response.headers.get('location', 'somewhere else')}"
    hint = remedy.get(
        status, "check the query (tags only, as in gen:turdus) and the address (--api)"
    )
    return f"Xeno-Canto's API answered {status} ({said or 'no reason given'}): {hint}"


def _checked_size(path: Path, response: httpx.Response) -> int:
    size = path.stat().st_size
    expected = response.headers.get("content-length", "")
    if size == 0:
        raise Refused("the server sent an empty file")
    if expected.isdigit() and "content-encoding" not in response.headers and size != int(expected):
        raise _TryLater(f"{size} bytes came of {expected}")
    with open(path, "rb") as file:
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"{")):
            raise Refused("the server sent a web page instead of audio")
    return size
