"""Who may open a socket: origins, header smuggling, extensions (docs/security.md)."""

import json
from typing import Final

import pytest

from tests.services.rigs.site import Node
from tests.services.rigs.wire import Wire, upgrade_headers

pytest_plugins = ["tests.services.rigs.attacked"]
pytestmark = pytest.mark.usefixtures("healthy_afterwards")

ORIGIN_REFUSED: Final = 4505

# {port} is the node's own.
FOREIGN_ORIGINS: Final = {
    "another site": "https://evil.example",
    "null, as of a sandboxed frame or a file": "null",
    "our host as a suffix": "http://evil127.0.0.1:{port}",
    "our host as a prefix": "http://127.0.0.1.evil.example:{port}",
    "another host of ours": "http://localhost:{port}",
    "another port": "http://127.0.0.1:1",
    "no port": "http://127.0.0.1",
    "another scheme": "https://127.0.0.1:{port}",
    "a scheme that is no web page's": "file://127.0.0.1:{port}",
    "ws, which is no origin": "ws://127.0.0.1:{port}",
    "our host as user and password": "http://127.0.0.1:{port}@evil.example",
    "our host behind a user": "http://evil@127.0.0.1:{port}",
    "a path": "http://127.0.0.1:{port}/",
}
# No browser sends these; they do not get as far as a socket.
MALFORMED_ORIGINS: Final = {
    "a port that goes on": "http://127.0.0.1:{port}.evil.example",
    "a list": "http://127.0.0.1:{port} https://evil.example",
    "a wildcard": "*",
    "empty": "",
}


async def assert_refused(port: int, headers: list[tuple[bytes, bytes]]) -> None:
    """The socket is accepted, told why not, and closed: a misconfigured site learns why."""
    async with await Wire.open(port, headers) as wire:
        assert wire.status == 101
        ending = await wire.ending()
    assert ending.code == ORIGIN_REFUSED
    if (b"Sec-WebSocket-Protocol", b"realtime.v1") in headers:
        (error,) = [json.loads(text) for text in ending.texts]
        assert error["id"] == "ERROR"
        assert error["data"]["code"] == "origin_refused"
    else:
        assert not ending.texts


async def assert_bad_request(port: int, headers: list[tuple[bytes, bytes]]) -> None:
    """There is no socket."""
    async with await Wire.open(port, headers) as wire:
        assert wire.status == 400


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS.values(), ids=FOREIGN_ORIGINS)
async def test_a_foreign_origin_is_refused(victim: Node, origin: str) -> None:
    await assert_refused(victim.port, upgrade_headers(victim.port, origin=origin.format(port=victim.port)))


@pytest.mark.parametrize("origin", MALFORMED_ORIGINS.values(), ids=MALFORMED_ORIGINS)
async def test_a_malformed_origin_is_a_bad_request(victim: Node, origin: str) -> None:
    await assert_bad_request(victim.port, upgrade_headers(victim.port, origin=origin.format(port=victim.port)))


async def test_a_missing_origin_is_refused_and_a_2016_page_learns_it_by_the_code(victim: Node) -> None:
    await assert_refused(victim.port, upgrade_headers(victim.port, origin=None))
    await assert_refused(victim.port, upgrade_headers(victim.port, origin=None, v1=False))


async def test_our_own_origin_is_welcome(victim: Node) -> None:
    async with await Wire.open(victim.port, upgrade_headers(victim.port)) as wire:
        assert wire.status == 101
        assert json.loads(await wire.text())["id"] == "AUTH REQUEST"


async def test_two_origins_are_none(victim: Node) -> None:
    own = upgrade_headers(victim.port)
    foreign = [(b"Origin", b"https://evil.example")]
    # Daphne joins them by a comma: a port that is no number, or a host that is none of ours.
    await assert_bad_request(victim.port, own + foreign)
    await assert_refused(victim.port, foreign + own)


@pytest.mark.parametrize("proto", [b"https", b"https, http", b"https,https"])
async def test_a_forged_scheme_makes_no_other_origin_ours(victim: Node, proto: bytes) -> None:
    # The page's own origin is then https: what came by http is refused, what is foreign stays foreign.
    forged = [(b"X-Forwarded-Proto", proto), (b"X-Forwarded-Host", b"evil.example"), (b"Forwarded", b"proto=https")]
    for origin in ("same" if proto == b"https" else "https://127.0.0.1:{port}", "https://evil.example"):
        headers = upgrade_headers(victim.port, origin=origin.format(port=victim.port))
        await assert_refused(victim.port, headers + forged)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example@127.0.0.1", "127.0.0.1/x"])
async def test_a_host_that_is_not_ours_makes_no_origin_ours(victim: Node, host: str) -> None:
    headers = [(b"Host", host.encode()), *upgrade_headers(victim.port, origin=f"http://{host}")[1:]]
    await assert_refused(victim.port, headers)


@pytest.mark.parametrize("byte", [b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85"])
async def test_a_header_smuggles_no_other_header(victim: Node, byte: bytes) -> None:
    # CVE-2026-44546: where these end a line, the foreign page's own Origin is followed by one of its choice.
    smuggled = b"https://evil.example" + byte + f"Origin: http://127.0.0.1:{victim.port}".encode()
    for headers in (
        [*upgrade_headers(victim.port, origin=None), (b"Origin", smuggled)],
        [*upgrade_headers(victim.port), (b"X-Note", b"x" + byte + b"X-Forwarded-For: 127.0.0.1")],
    ):
        await assert_bad_request(victim.port, headers)


async def test_compression_is_not_negotiated(victim: Node) -> None:
    offer = (b"Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits")
    async with await Wire.open(victim.port, [*upgrade_headers(victim.port), offer]) as wire:
        assert wire.status == 101
        assert "sec-websocket-extensions" not in wire.headers


async def test_another_path_has_no_socket(victim: Node) -> None:
    for path in ("/", "/websocket/", "/websocket/x", "/admin/"):
        async with await Wire.open(victim.port, path=path) as wire:
            assert wire.status == 403
