"""Which host a link turns to, and when (docs/brokers.md, "Several hosts")."""

from prometheus_client import REGISTRY

from apps.realtime.brokers.rabbitmq.backoff import FIRST_SECS
from apps.realtime.brokers.rabbitmq.hosts import Hosts

URLS = ("amqp://u:secret@a/", "amqp://u:secret@b:5673/", "amqp://u:secret@c/")


def shown(host: str) -> float | None:
    return REGISTRY.get_sample_value("realtime_broker_host", {"role": "test", "host": host})


def test_processes_spread_over_the_hosts() -> None:
    assert {Hosts(URLS, "test").url for _ in range(200)} == set(URLS)


def test_each_host_is_tried_at_once_and_then_there_is_a_pause_that_grows() -> None:
    hosts = Hosts(URLS, "test")
    tried, waits = [hosts.url], []
    for _ in range(6):
        waits.append(hosts.next_secs())
        tried.append(hosts.url)
    assert set(tried[:3]) == set(URLS)
    assert tried[3:6] == tried[:3]
    assert [wait > 0 for wait in waits] == [False, False, True] * 2
    assert waits[2] <= FIRST_SECS <= waits[5]


def test_a_host_that_works_only_for_a_moment_is_no_reason_to_hurry() -> None:
    hosts = Hosts(URLS[:2], "test")
    assert hosts.next_secs() == 0
    hosts.show(up=True)
    assert hosts.next_secs() > 0
    hosts.steady()
    assert hosts.next_secs() == 0


def test_with_one_host_there_is_a_pause_before_each_attempt() -> None:
    hosts = Hosts(URLS[:1], "test")
    waits = [hosts.next_secs(), hosts.retry_secs()]
    assert hosts.url == URLS[0]
    assert 0 < waits[0] <= FIRST_SECS <= waits[1]


def test_the_same_failure_of_a_host_is_news_once_until_things_work() -> None:
    hosts = Hosts(URLS[:2], "test")
    news = []
    for reason in ("refused", "refused", "refused", "refused", "denied"):
        news.append(hosts.is_news(reason))
        hosts.next_secs()
    assert news == [True, True, False, False, True]
    hosts.show(up=True)
    assert hosts.is_news("refused")


def test_people_see_the_host_and_never_the_password() -> None:
    hosts = Hosts(URLS[1:2], "test")
    assert shown("b:5673") == 0
    hosts.show(up=True)
    assert hosts.address == "amqp://b:5673/"
    assert shown("b:5673") == 1
    assert REGISTRY.get_sample_value("realtime_broker_connected", {"role": "test"}) == 1
