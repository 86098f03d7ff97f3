"""What a running site shows of itself, also while broker and database hang (docs/health.md, docs/logs.md)."""

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ops.services import Postgres, RabbitMQ
from tests.services.rigs.clients import Tab
from tests.services.rigs.proxy import TcpProxy
from tests.services.rigs.site import Node, Site
from tests.services.rigs.target import Response, metrics, request

REQUEST = "0123456789abcdef" * 2
# docs/health.md says a second. Twice that here: the machine may be busy with the other tests.
ANSWER_SECS = 2.0


def lines_of(node: Node) -> list[dict[str, Any]]:
    """Of its log, those that are about our request or an event of it."""
    lines = [json.loads(line) for line in node.process.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if REQUEST[:16] in line.get("mid", "") or line.get("request") == REQUEST]


def ask(node: Node, path: str) -> Response:
    """Fails where it takes too long."""
    began = time.monotonic()
    answer = request(node, path)
    assert time.monotonic() - began < ANSWER_SECS, path
    return answer


async def test_one_id_leads_from_the_request_to_the_browser_and_what_hangs_is_told_at_once(
    site: Site, rabbitmq: RabbitMQ, postgres: Postgres, proxy: Callable[[int], TcpProxy]
) -> None:
    database, broker = proxy(postgres.port), proxy(rabbitmq.port)
    site.env |= {
        "LOG_FORMAT": "json",
        "LOG_TRACE": "1",
        "DATABASE_URL": site.env["DATABASE_URL"].replace(f":{postgres.port}/", f":{database.port}/"),
        "AMQP_URL": site.env["AMQP_URL"].replace(f":{rabbitmq.port}/", f":{broker.port}/"),
    }
    web, node = site.start_node(), site.start_node()
    web.wait_ready()
    node.wait_ready()
    alice = await asyncio.to_thread(web.person, "alice")
    tab = await Tab.open(node.websocket, alice.token, topics=["article-1"])

    answer = await asyncio.to_thread(
        alice.post, "/demo/articles/1/comments/", {"text": "hello"}, {"X-Request-ID": REQUEST}
    )
    assert answer.status == 200
    event = await tab.wait_for_event("comment/SAVED")
    mid = event["mid"]
    assert mid.startswith(REQUEST[:16])
    told = f"'comment/SAVED' for topic.article-1, mid '{mid}'"
    [stored, *later] = [line for line in lines_of(web) if line["mid"] == mid]
    assert (stored["message"], stored["request"]) == (f"stored: {told}", REQUEST)
    assert f"numbered 1: {told}" in [line["message"] for line in later]
    written = [line for line in lines_of(node) if line["mid"] == mid]
    assert [line["message"] for line in written] == [f"written to 1 sockets: {told}"]

    assert metrics(node, "realtime_delivery_seconds_count")[""] >= 1
    assert metrics(node, "realtime_loop_lag_seconds_count")[""] > 0
    assert metrics(web, "realtime_delivery_seconds_count")[""] == 0
    await tab.close()

    paths = ["/healthz", "/readyz", "/readyz", "/metrics"]
    for fault, check in ((database, "database"), (broker, None)):
        fault.black_hole()
        with ThreadPoolExecutor(4) as askers:
            health, *ready, shown = await asyncio.to_thread(
                lambda: list(askers.map(lambda path: ask(web, path), paths))
            )
        assert (health.status, shown.status) == (200, 200)
        if check is not None:
            assert [answer.status for answer in ready] == [503, 503]
            assert {json.loads(answer.body)["checks"][check] for answer in ready} == {"no answer within 0.8 s"}
        fault.restore()
        await asyncio.to_thread(web.wait_ready)
