"""What the pages and endpoints of a node owe to a browser (docs/security.md)."""

import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urlencode

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from tests.services.rigs.people import Person
from tests.services.rigs.site import PASSWORD, Node
from tests.services.rigs.target import Response, Target, request

pytest_plugins = ["tests.services.rigs.attacked"]

FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
# Values for what a pattern leaves open.
ARGUMENTS: Final = {"pk": "1", "id": "1", "object_id": "1", "content_type_id": "1", "app_label": "demo", "url": "x"}
# Headers that keep a page to itself.
SECURITY_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
FOREIGN_PAGES: Final = (
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example/",
    "http:evil.example",
    "javascript:alert(1)",
    "\thttps://evil.example",
    "https://127.0.0.1@evil.example/",
)


def paths(patterns: Iterable[URLPattern | URLResolver] | None = None, prefix: str = "") -> Iterator[str]:
    """Every path of the site, with a value for each argument."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from paths(pattern.url_patterns, route)
        else:
            route = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: ARGUMENTS[match[1]], route.replace("(?P", ""))
            yield "/" + re.sub(r"[\^$()]|\|\w+|\.\*", "", route.replace("demoauth|demo", "demo"))


PATHS: Final = tuple(paths())


def cookies(person: Person, **more: str) -> dict[str, str]:
    """The header with somebody's cookies."""
    jar = {"sessionid": person.cookie("sessionid"), "csrftoken": person.cookie("csrftoken")} | more
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items() if value)}


def post(node: Node, path: str, person: Person, fields: dict[str, str], **more_cookies: str) -> Response:
    """A form as the person's browser sends it, answers not followed."""
    origin = {"Origin": node.http, "Referer": node.http + path}
    body = urlencode({**fields, "csrfmiddlewaretoken": person.cookie("csrftoken")})
    return request(node, path, "POST", cookies(person, **more_cookies) | origin | FORM, body)


def visitor(node: Node) -> Person:
    """Somebody who has seen the sign-in page only."""
    person = Person(node.http)
    person.get("/accounts/login/")
    return person


# Tokens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html"])
def test_nobody_gets_a_token_without_signing_in(victim: Node, accept: str) -> None:
    answer = request(victim, "/socket_auth_token", headers={"Accept": accept})
    assert answer.status == 401
    assert "no-store" in (answer.header("cache-control") or "")
    assert not answer.cookies
    assert "eyJ" not in answer.body


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_a_token_is_kept_by_nobody_on_the_way(target: Target, victim: Node, alice: Person, accept: str) -> None:
    answer = request(victim, "/socket_auth_token", headers=cookies(alice) | {"Accept": accept})
    assert answer.status == 200
    target.tokens.update(re.findall(r"eyJ[\w.-]+", answer.body))
    assert {"no-store", "private"} <= set((answer.header("cache-control") or "").split(", "))
    assert {"Cookie", "Accept"} <= set((answer.header("vary") or "").split(", "))
    assert not [cookie for cookie in answer.cookies if not cookie.startswith("sessionid=")]
    # Another site's script may not read it.
    assert answer.header("access-control-allow-origin") is None


def test_a_foreign_page_may_not_read_a_token(target: Target, victim: Node, alice: Person) -> None:
    for origin in ("https://evil.example", "null", victim.http + ".evil.example"):
        answer = request(victim, "/socket_auth_token", headers=cookies(alice) | {"Origin": origin})
        target.tokens.update(re.findall(r"eyJ[\w.-]+", answer.body))
        assert answer.header("access-control-allow-origin") is None


def test_a_host_that_is_not_ours_gets_nothing(victim: Node, alice: Person) -> None:
    for path in ("/socket_auth_token", "/accounts/login/"):
        answer = request(victim, path, headers=cookies(alice) | {"Host": "evil.example"})
        assert answer.status == 400
        assert "eyJ" not in answer.body


# Forms --------------------------------------------------------------------------------------------


def refuse_all(victim: Node, person: Person, method: str, paths: Iterable[str], origin: str | None = None) -> None:
    """Whoever sends this has the person's cookies and nothing else."""
    headers = cookies(person) | FORM | ({"Origin": origin} if origin else {})
    for path in paths:
        answer = request(victim, path, method, headers, "seconds=1&title=x&text=x&csrfmiddlewaretoken=forged")
        assert answer.status == 403, path


def test_no_path_takes_what_another_site_can_send(victim: Node, alice: Person) -> None:
    assert len(PATHS) > 40
    refuse_all(victim, alice, "POST", PATHS)


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_no_method_and_no_origin_helps(victim: Node, alice: Person, method: str, origin: str) -> None:
    refuse_all(victim, alice, method, ("/", "/demo/news/", "/accounts/logout/", "/admin/"), origin)


@pytest.mark.parametrize("next_page", FOREIGN_PAGES)
def test_signing_in_and_out_leads_to_no_other_site(target: Target, victim: Node, next_page: str) -> None:
    query = "?" + urlencode({"next": next_page})
    person = visitor(victim)
    target.ensure_user("roamer")
    fields = {"username": "roamer", "password": PASSWORD, "next": next_page}
    entered = post(victim, "/accounts/login/" + query, person, fields)
    assert (entered.status, entered.header("location")) == (302, "/")
    session = re.search(r"sessionid=(\w+)", " ".join(entered.cookies))
    assert session is not None
    again = request(victim, "/accounts/login/" + query, headers={"Cookie": f"sessionid={session[1]}"})
    assert (again.status, again.header("location")) == (302, "/")
    left = post(victim, "/accounts/logout/" + query, person, {"next": next_page})
    assert (left.status, left.header("location")) == (302, "/accounts/login/")


def test_signing_in_gives_the_session_a_new_key(target: Target, victim: Node) -> None:
    planted = "a" * 32
    person = visitor(victim)
    target.ensure_user("roamer")
    fields = {"username": "roamer", "password": PASSWORD}
    answer = post(victim, "/accounts/login/", person, fields, sessionid=planted)
    keys = re.findall(r"sessionid=(\w+)", " ".join(answer.cookies))
    assert keys
    assert planted not in keys


# Cookies ------------------------------------------------------------------------------------------


def test_sign_in_sign_out_and_password_change_expire_the_2016_cookie(target: Target, victim: Node) -> None:
    def expired(answer: Response) -> bool:
        return any(
            re.match(r'auth_token=""; .*Max-Age=0; Path=/(;|$)', cookie) is not None for cookie in answer.cookies
        )

    target.ensure_user("old-timer")
    person = visitor(victim)
    stale = {"auth_token": "stale"}
    fields = {"username": "old-timer", "password": PASSWORD}
    assert expired(post(victim, "/accounts/login/", person, fields, **stale))
    person = victim.person("old-timer")
    new = {"old_password": PASSWORD, "new_password1": PASSWORD + "2", "new_password2": PASSWORD + "2"}
    assert expired(post(victim, "/accounts/password_change/", person, new, **stale))
    person = victim.person("old-timer", PASSWORD + "2")
    assert expired(post(victim, "/accounts/logout/", person, {}, **stale))


# Pages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed_in", [True, False])
def test_every_answer_has_the_security_headers(victim: Node, alice: Person, signed_in: bool) -> None:
    headers = cookies(alice) if signed_in else {}
    statuses = set()
    for path in (*PATHS, "/no/such/page"):
        answer = request(victim, path, headers=headers)
        statuses.add(answer.status)
        assert answer.status < 500, f"{path}: {victim.process.log.read_text()[-4_000:]}"
        assert {name: answer.header(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS, path
        policy = answer.header("content-security-policy") or ""
        assert "default-src 'none'" in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert not [cookie for cookie in answer.cookies if "auth_token" in cookie], path
        assert not [cookie for cookie in answer.cookies if "sessionid" in cookie and "HttpOnly" not in cookie], path
    assert statuses >= ({200, 302, 404, 405} if signed_in else {200, 302, 401, 404, 405})


def test_no_page_needs_what_the_policy_forbids(victim: Node, alice: Person) -> None:
    inline = re.compile(
        r"<script(?![^>]*\ssrc=)(?![^>]*application/json)|<style|\sstyle=|\son\w+=[\"']|[\"']javascript:", re.IGNORECASE
    )
    read = 0
    for path in PATHS:
        answer = request(victim, path, headers=cookies(alice))
        if answer.status == 200 and "text/html" in (answer.header("content-type") or ""):
            read += 1
            assert inline.findall(answer.body) == [], path
            addresses = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"([^\"]+)\"", answer.body)
            assert not [address for address in addresses if not address.startswith(("/", "data:"))], path
    assert read > 20


def test_admin_is_for_staff(target: Target, victim: Node) -> None:
    person = target.person(victim, "roamer")
    for path in PATHS:
        if path.startswith("/admin/"):
            answer = request(victim, path, headers=cookies(person))
            # Its sign-in page, and its way out, are for everybody.
            assert path in ("/admin/login/", "/admin/logout/") or answer.status in (302, 404), path
    assert post(victim, "/demo/news/", person, {"title": "x"}).status == 403


def test_production_speaks_https_only(target: Target) -> None:
    node = target.site.node({"DEMO": "0", "HTTPS": "1"})
    # The load balancer asks over plain HTTP; everybody else is sent away.
    assert request(node, "/readyz").status == 200
    plain = request(node, "/accounts/login/")
    assert (plain.status, plain.header("location")) == (301, f"https://127.0.0.1:{node.port}/accounts/login/")
    secure = request(node, "/accounts/login/", headers={"X-Forwarded-Proto": "https"})
    assert secure.status == 200
    assert secure.header("strict-transport-security") == "max-age=31536000; includeSubDomains; preload"
    assert secure.cookies
    assert all("Secure" in cookie and "SameSite=Lax" in cookie for cookie in secure.cookies)
    # No demo users' names and password on the sign-in page.
    assert "alice" not in secure.body
