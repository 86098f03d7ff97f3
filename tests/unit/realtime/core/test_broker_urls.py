"""The hosts that one setting names (docs/brokers.md, "Several hosts")."""

import pytest

from apps.realtime.core.broker_urls import broker_urls, host_and_port, is_this_machine

ONE, TWO = "amqp://u:se,cret@one/site", "amqp://u:se,cret@two:5673/site"


@pytest.mark.parametrize(
    "value",
    [f"{ONE},{TWO}", f" {ONE} , {TWO} ", f"{ONE};{TWO}", f"{ONE}\n{TWO}", [ONE, TWO], (ONE, TWO)],
)
def test_several_hosts_are_a_text_or_a_list(value: object) -> None:
    assert broker_urls(value) == (ONE, TWO)


def test_one_host_is_what_it_always_was() -> None:
    for url in (ONE, "amqps://[::1]:5671/%2F?heartbeat=30", "AMQP://localhost"):
        assert broker_urls(url) == (url,)


def test_the_root_vhost_has_several_spellings() -> None:
    assert len(broker_urls("amqp://one,amqp://two/,amqp://three/%2F")) == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "is not of the form amqp://user:password@host:port/vhost$"),
        ("http://secret@one/", "form amqp://user:password@host:port/vhost$"),
        ("amqp://u:secret@one,two/", "vhost$"),
        ("amqp://u:secret@one:5672,two:5672/", "vhost$"),
        ("amqp://u:secret@one/,two:5672/", "vhost$"),
        ("amqp://u:secret@one/,", "vhost$"),
        ("amqp://", "vhost$"),
        ("amqp://one:0/", "vhost$"),
        ("amqp://[one/", "vhost$"),
        ([ONE, ""], "vhost at host 2$"),
        ([None], "vhost at host 1$"),
        (f"{ONE},{TWO},", "vhost at host 2$"),
        (f"{ONE},amqp://u:se,cret@two:secret/site", "vhost at host 2$"),
        (f"{ONE},amqps://u:se,cret@two/site", "different schemes"),
        (f"{ONE},amqp://u:secret@two/site", "passwords"),
        (f"{ONE},amqp://v:se,cret@two/site", "users"),
        (f"{ONE},amqp://u:se,cret@two/other", "vhosts"),
        (f"{ONE},amqp://u:se,cret@two/site?heartbeat=3", "parameters"),
        (f"{ONE},{TWO},amqp://u:se,cret@ONE:5672/site", "names a host twice"),
    ],
)
def test_what_is_no_cluster_is_refused_without_quoting_it(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        broker_urls(value)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_url_without_a_port_leads_to_the_usual_one() -> None:
    assert [host_and_port(url) for url in (ONE, TWO, "amqps://[::1]")] == [("one", 5672), ("two", 5673), ("::1", 5671)]


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback_is_known_by_its_text(host: str | None, here: bool) -> None:
    assert is_this_machine(host) is here
