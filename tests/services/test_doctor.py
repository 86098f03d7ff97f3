"""The doctor at a site that works, and at one where something does not (docs/doctor.md)."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pika
import pytest
from pytest_django import Settings

from apps.realtime.brokers.rabbitmq.topology import EXCHANGE
from apps.realtime.management.doctor.broker import PATTERNS, look_at_broker
from apps.realtime.management.doctor.findings import Finding, Status
from ops.services import Process, RabbitMQ, free_port
from tests.services.rigs.pair import Pair
from tests.services.rigs.site import BIN, ROOT, Site

_PROGRAM = """
from django.core.management import CommandError, call_command
try:
    call_command("realtime", "doctor", "--json", *{arguments!r})
except CommandError as error:
    assert "are failures" in str(error), error
"""

Found = dict[str, list[Finding]]


def doctor(site: Site, *arguments: str) -> Found:
    """What it finds, by area."""
    told = json.loads(site.shell(_PROGRAM.format(arguments=arguments)))
    found: Found = {}
    for one in told["findings"]:
        finding = Finding(Status(one["status"]), one["found"], one["advice"] or "")
        found.setdefault(one["area"], []).append(finding)
    failed = any(finding.status is Status.FAIL for area in found.values() for finding in area)
    assert told["status"] == ("fail" if failed else "ok")
    return found


def statuses(found: Found) -> dict[str, set[Status]]:
    return {area: {finding.status for finding in findings} for area, findings in found.items()}


def text(findings: list[Finding]) -> str:
    return "\n".join(f"{finding.found} → {finding.advice}" for finding in findings)


def test_a_site_that_works_and_then_one_without_relay_and_with_a_dead_node(
    pair: Callable[[Mapping[str, str]], Pair],
) -> None:
    both = pair({"REALTIME_QUEUE_STRATEGY": "user"})
    site, urls = both.target.site, [f"--url={node.http}" for node in both.nodes]
    both.target.ensure_user("doctor")
    relay = Process(
        [str(BIN / "python"), "manage.py", "realtime", "relay"], site.folder / "relay.log", env=site.env, cwd=ROOT
    )
    try:
        well = doctor(site, *urls, "--user=doctor")
    finally:
        relay.stop()
    # As a test's: secrets that are no secrets, and no HTTPS.
    assert statuses(well) == {
        "settings": {Status.OK, Status.WARN},
        "client": {Status.OK},
        "nginx": {Status.SKIP},
        "database": {Status.OK},
        "broker": {Status.OK},
        "relay": {Status.OK},
        "nodes": {Status.OK},
        "way": {Status.OK},
    }
    assert "is a durable topic exchange" in text(well["broker"])
    assert "transactions are isolated as read committed" in text(well["database"])
    assert "files are open" in text(well["nodes"])
    for node in both.nodes:
        assert f"on the socket at {node.http} after" in text(well["way"])
        assert f"{node.http} is ready" in text(well["nodes"])

    database = both.target.database
    both.target.sql(f"ALTER DATABASE {database} SET default_transaction_isolation TO 'repeatable read'")
    dead = f"http://127.0.0.1:{free_port()}"
    try:
        ill = doctor(site, urls[0], f"--url={dead}", "--user=doctor")
    finally:
        both.target.sql(f"ALTER DATABASE {database} RESET default_transaction_isolation")
    assert statuses(ill) == statuses(well) | {
        "database": {Status.OK, Status.WARN},
        "relay": {Status.FAIL},
        "nodes": {Status.OK, Status.FAIL},
        "way": {Status.OK, Status.FAIL},
    }
    assert "transactions are isolated as repeatable read" in text(ill["database"])
    assert "start manage.py realtime relay" in text(ill["relay"])
    assert f"{dead} does not answer: ConnectionRefusedError" in text(ill["nodes"])
    assert f"{dead} opens no socket" in text(ill["way"])
    assert f"on the socket at {both.nodes[0].http} after" in text(ill["way"])
    # It takes back what no relay came for.
    assert both.target.sql("SELECT count(*) FROM message_flow_storedevent WHERE seq IS NULL") == ["0"]


@pytest.fixture
def visitor(rabbitmq: RabbitMQ, vhost: str, settings: Settings) -> Iterator[str]:
    """The name of an AMQP user without rights, with which this process goes to the broker."""
    rabbitmq.add_user("visitor", "password-of-visitor")
    settings.REALTIME_AMQP_URL = f"amqp://visitor:password-of-visitor@127.0.0.1:{rabbitmq.port}/{vhost}"
    yield "visitor"
    rabbitmq.delete_user("visitor")


def look(role: str) -> list[Finding]:
    found = list(look_at_broker(role))
    # For whoever reads a failure.
    print(text(found))
    return found


def seen_as(role: str) -> list[tuple[Status, str]]:
    found = look(role)
    assert "password-of" not in text(found)
    return [(finding.status, finding.found) for finding in found[1:]]


def declare(rabbitmq: RabbitMQ, vhost: str, type: str, **arguments: Any) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url(vhost)))
    connection.channel().exchange_declare(EXCHANGE, type, **arguments)
    connection.close()


def test_the_rights_of_an_amqp_user_are_tried(rabbitmq: RabbitMQ, vhost: str, visitor: str, settings: Settings) -> None:
    [nowhere] = look("both")
    assert nowhere.status is Status.FAIL
    assert f"rabbitmqctl list_permissions -p {vhost}" in nowhere.advice

    rabbitmq.set_permissions(vhost, visitor, "^$", "^$", "^$")
    [(status, told)] = seen_as("both")
    assert status is Status.FAIL
    assert "is not there, and this user may not make it" in told

    declare(rabbitmq, vhost, "topic", durable=True)
    # Only who may declare it sees what it is.
    ready = {"web": "is a durable topic exchange", "node": "is there. This user may not declare it"}
    for role in ("web", "node"):
        # The patterns that the doctor advises are enough, and not too much.
        rabbitmq.set_permissions(vhost, visitor, *PATTERNS[role])
        [exchange, *rights] = seen_as(role)
        assert (exchange[0], ready[role] in exchange[1]) == (Status.OK, True)
        may, may_not = ("publish", "listen") if role == "web" else ("listen", "publish")
        never = f"this user may not {may_not}, which a {role} process never does"
        assert set(rights) == {(Status.OK, f"this user may {may}"), (Status.OK, never)}
        [refused] = [finding for finding in look("both") if finding.status is Status.FAIL]
        assert f"this user may not {may_not}: ACCESS_REFUSED" in refused.found
        assert f"rabbitmqctl set_permissions -p {vhost} visitor '^realtime\\.'" in refused.advice

    rabbitmq.set_permissions(vhost, visitor, *PATTERNS["both"])
    assert {status for status, _ in seen_as("both")} == {Status.OK}
    too_much = [told for status, told in seen_as("web") if status is Status.WARN]
    assert too_much == ["this user may listen too, which a web process never does"]

    settings.REALTIME_AMQP_URL = f"amqp://visitor:wrong@127.0.0.1:{rabbitmq.port}/{vhost}"
    [stranger] = look("both")
    assert (stranger.status, "user or password is wrong" in stranger.advice) == (Status.FAIL, True)


@pytest.mark.parametrize(("type", "durable"), [("fanout", True), ("topic", False)])
def test_an_exchange_of_another_kind_is_found(
    rabbitmq: RabbitMQ, vhost: str, settings: Settings, type: str, durable: bool
) -> None:
    declare(rabbitmq, vhost, type, durable=durable)
    settings.REALTIME_AMQP_URL = rabbitmq.url(vhost)
    [(status, told)] = seen_as("both")
    assert status is Status.FAIL
    assert f"current is '{type if type == 'fanout' else 'false'}'" in told


def test_one_host_of_several_is_away(rabbitmq: RabbitMQ, vhost: str, settings: Settings) -> None:
    url = rabbitmq.url(vhost)
    settings.REALTIME_AMQP_URL = [url, url.replace(f":{rabbitmq.port}/", f":{free_port()}/")]
    found = look("both")
    [away] = [finding for finding in found if finding.status is Status.FAIL]
    assert "ConnectionRefusedError" in away.found
    assert "the other hosts serve meanwhile" in away.advice
    assert "this user may listen" in text(found)
