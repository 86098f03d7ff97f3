"""The broker as the doctor sees it; its rights are tried in tests/services/test_doctor.py (docs/doctor.md)."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from socket import create_server

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pytest_django import Settings

from apps.realtime.management.doctor import broker as module
from apps.realtime.management.doctor.broker import PATTERNS, certificate_finding, look_at_broker, within_secs
from apps.realtime.management.doctor.findings import Finding, Status
from tests.unit.realtime.management.doctor.servers import raw_server


def one() -> Finding:
    [finding] = look_at_broker("both")
    return finding


def test_without_a_broker_it_says_what_that_means() -> None:
    assert (one().status, "one process only" in one().found) == (Status.WARN, True)
    assert within_secs() > 0


def test_who_does_not_answer_in_time_is_not_waited_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECS", 0.3)
    with raw_server(lambda connection: connection.recv(1)) as door:
        # The first connection is there to see that somebody listens.
        settings.REALTIME_AMQP_URL = f"amqp://site:password-of-site@{door.host}/"
        began = time.monotonic()
        found = one()
    assert found.status is Status.FAIL
    assert "password-of-site" not in found.found
    assert time.monotonic() - began < 5


def test_plain_amqp_to_another_machine_fails(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_this_machine", lambda host: False)
    with raw_server(lambda connection: connection.recv(1)) as door:
        found = module._transport(f"amqp://{door.host}/")
    assert (found.status, "has no TLS" in found.found) == (Status.FAIL, True)


@pytest.mark.parametrize(("days", "status"), [(90, Status.OK), (3, Status.WARN)])
def test_a_certificate_that_ends_soon(days: int, status: Status) -> None:
    ends = (datetime.now(UTC) + timedelta(days=days, hours=1)).strftime("%b %d %H:%M:%S %Y GMT")
    found = certificate_finding("amqps://mq:5671", ends, "TLSv1.3")
    assert (found.status, f"ends in {days} days" in found.found) == (status, True)


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a TLS server and its certificate, which no CA of the machine has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker of a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=60, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    own, private = tmp_path / "own.pem", tmp_path / "key.pem"
    own.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, private)
    with create_server(("127.0.0.1", 0)) as server:

        def work() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                        tls.recv(1)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield server.getsockname()[1], own
        server.shutdown(2)
    thread.join(10)


def test_a_certificate_is_verified(
    tls_port: tuple[int, Path], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, own = tls_port
    settings.REALTIME_AMQP_URL = f"amqps://site:password-of-site@127.0.0.1:{port}/"
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    unknown = one()
    assert unknown.status is Status.FAIL
    assert "SSLCertVerificationError" in unknown.found
    assert "SSL_CERT_FILE" in unknown.advice

    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    known = module._transport(f"amqps://127.0.0.1:{port}/")
    assert (known.status, "its certificate is verified and ends in 60 days" in known.found) == (Status.OK, True)
    with pytest.raises(ssl.SSLCertVerificationError):
        module._transport(f"amqps://localhost:{port}/")


def test_the_rights_that_it_advises_are_those_that_the_installer_gives() -> None:
    installer = " ".join((Path(__file__).resolve().parents[5] / "ops/install").read_text().replace("\\\n", "").split())
    for user, role in (("$PUBLISHER AMQP_URL_PUBLISH", "web"), ("$LISTENER AMQP_URL_NODE", "node")):
        patterns = " ".join(f"'{pattern}'" for pattern in PATTERNS[role])
        assert f"broker_user {user} {patterns}" in installer
