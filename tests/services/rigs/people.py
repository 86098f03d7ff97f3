"""Somebody with a cookie jar: signs in over HTTP and fetches socket tokens as a browser does (docs/stack.md)."""

import http.cookiejar
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

_TIMEOUT_SECS = 15


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, whatever its status."""

    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


class Person:
    """One browser's session with the site at `base` (`http://127.0.0.1:PORT`)."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))
        # A jar and an opener are no thread's friends; tabs fetch tokens from threads.
        self._lock = threading.Lock()
        self.tokens: list[str] = []

    @classmethod
    def signed_in(cls, base: str, name: str, password: str) -> "Person":
        """Sign in through the form; raises `AssertionError` when the site refuses."""
        person = cls(base)
        person.get("/accounts/login/")
        answer = person.post("/accounts/login/", {"username": name, "password": password})
        assert person.cookie("sessionid"), f"{name} was not signed in: {answer.status}"
        return person

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """GET, redirects followed."""
        return self._open(urllib.request.Request(self.base + path, headers=headers or {}))

    def post(self, path: str, fields: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> Answer:
        """POST a form with the CSRF token of our cookie, redirects followed."""
        body = urllib.parse.urlencode({**(fields or {}), "csrfmiddlewaretoken": self.cookie("csrftoken")})
        headers = {"Referer": self.base + path, "Origin": self.base, **(headers or {})}
        return self._open(urllib.request.Request(self.base + path, data=body.encode(), headers=headers))

    def token(self) -> str:
        """A fresh socket token; raises `AssertionError` when there is none for us."""
        answer = self.get("/socket_auth_token", {"Accept": "application/json"})
        assert answer.status == 200, f"no token: {answer.status}"
        token: str = answer.json()["token"]
        self.tokens.append(token)
        return token

    def cookie(self, name: str) -> str:
        """The value of one of our cookies, empty when we have none of that name."""
        return next((cookie.value or "" for cookie in self._cookies if cookie.name == name), "")

    def _open(self, request: urllib.request.Request) -> Answer:
        with self._lock:
            try:
                response = self._opener.open(request, timeout=_TIMEOUT_SECS)
            except urllib.error.HTTPError as error:
                response = error
            with response:
                return Answer(response.status or 0, dict(response.headers), response.read().decode())
