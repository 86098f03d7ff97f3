"""Python, the browser client and the docs name the same codes, settings and metrics (docs/protocol.md)."""

import re
from dataclasses import fields
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from apps.realtime import metrics
from apps.realtime.conf import RealtimeSettings
from apps.realtime.core.codes import HEARTBEAT, RESERVED_IDS, SUBPROTOCOL, CloseCode, GapReason, StreamState
from apps.realtime.core.events import UNREAD_MAX

ROOT = Path(__file__).resolve().parents[2]
OURS = {int(code): (code.name.lower(), "reconnect" if code.reconnect else "stop") for code in CloseCode}


def test_the_browser_client_has_the_same_close_codes_and_actions() -> None:
    rows = re.findall(r'(\d{4}): \{ name: "(\w+)", action: "(\w+)" \}', _javascript())
    assert {int(code): (name, action) for code, name, action in rows} == OURS


def test_the_browser_client_has_the_same_words() -> None:
    source = _javascript()
    reserved = re.search(r"RESERVED_IDS = Object\.freeze\(\[(.*?)\]\)", source, re.DOTALL)
    assert reserved is not None
    assert set(re.findall(r'"([^"]+)"', reserved[1])) == RESERVED_IDS
    assert f'SUBPROTOCOL = "{SUBPROTOCOL}"' in source
    assert f'HEARTBEAT = "{HEARTBEAT}"' in source


def test_the_browser_client_has_a_sentence_for_each_code_that_stops() -> None:
    sentences = re.search(r"STOP_SENTENCES = Object\.freeze\(\{(.*?)\}\)", _javascript(), re.DOTALL)
    assert sentences is not None
    assert set(re.findall(r"^  (\w+):", sentences[1], re.MULTILINE)) == {
        name for name, action in OURS.values() if action == "stop"
    }


def test_the_bell_knows_where_a_count_stops() -> None:
    assert f"UNREAD_MAX = {UNREAD_MAX};" in (ROOT / "static/js/bell.js").read_text()


def test_the_browser_client_has_the_same_states_of_a_stream_and_reasons_of_a_gap() -> None:
    source = (ROOT / "static/js/streams.js").read_text()
    states = re.search(r"@property \{(.*?)\} state$", source, re.MULTILINE)
    assert states is not None
    assert set(re.findall(r'"(\w+)"', states[1])) == set(StreamState)
    reasons = re.search(r"the server's (.*?);", source)
    assert reasons is not None
    assert set(re.findall(r"`(\w+)`", reasons[1])) == set(GapReason)


def test_the_docs_have_the_same_close_codes_and_actions() -> None:
    """A table with the rows `| code | name | reconnect or stop | …`."""
    rows = re.findall(r"^\| *`?(\d{4})`? *\| *`?(\w+)`? *\| *(reconnect|stop)\b", _docs(), re.MULTILINE)
    assert {int(code): (name, action) for code, name, action in rows} == OURS


def test_the_docs_name_every_reserved_id() -> None:
    text = _docs()
    assert {word for word in RESERVED_IDS if f"`{word}`" not in text} == set()


def test_the_readme_names_every_setting() -> None:
    rows = re.findall(r"^\| `REALTIME_(\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    # The settings that may hold several.
    one_of = {"secrets": "secret", "amqp_urls": "amqp_url"}
    assert sorted(rows) == sorted(one_of.get(field.name, field.name).upper() for field in fields(RealtimeSettings))


def test_the_docs_name_every_metric_with_its_labels() -> None:
    """A table with the rows `| name{labels} | …`; Prometheus shows a counter with `_total`."""
    rows = re.findall(r"^\| `(realtime_\w+)(?:\{([\w,]+)\})?` \|", (ROOT / "docs/health.md").read_text(), re.MULTILINE)
    ours = [one for one in vars(metrics).values() if isinstance(one, Counter | Gauge | Histogram)]
    assert sorted(rows) == sorted(
        (one._name + ("_total" if isinstance(one, Counter) else ""), ",".join(one._labelnames)) for one in ours
    )


def _javascript() -> str:
    return (ROOT / "static/js/codes.js").read_text()


def _docs() -> str:
    return (ROOT / "docs/protocol.md").read_text()
