"""How many sockets one address and one user may have (docs/limits.md)."""

import pytest

from apps.realtime.node import limits as module
from apps.realtime.node.limits import BURST_SECS, Admission, Limits


def make(*, per_user: int = 3, per_address: int = 5, per_sec: float = 1.0) -> Limits:
    return Limits(per_user=per_user, per_address=per_address, connects_per_address_per_sec=per_sec)


def test_an_address_has_a_bounded_number_of_sockets() -> None:
    limits = make(per_address=2, per_sec=100)
    assert [limits.admit("a", 0.0) for _ in range(3)] == [Admission.WELCOME, Admission.WELCOME, Admission.TOO_MANY]
    assert limits.admit("b", 0.0) is Admission.WELCOME
    limits.leave("a")
    assert limits.admit("a", 0.0) is Admission.WELCOME


def test_an_address_has_a_bounded_rate_and_ten_seconds_worth_at_once() -> None:
    limits = make(per_address=1_000, per_sec=2)
    welcome = [limits.admit("a", 0.0) for _ in range(2 * BURST_SECS)]
    assert set(welcome) == {Admission.WELCOME}
    assert limits.admit("a", 0.0) is Admission.TOO_FAST
    assert limits.admit("b", 0.0) is Admission.WELCOME
    assert limits.admit("a", 0.5) is Admission.WELCOME
    assert limits.admit("a", 0.5) is Admission.TOO_FAST


def test_a_low_rate_still_lets_one_in() -> None:
    assert make(per_sec=0.01).admit("a", 0.0) is Admission.WELCOME


def test_a_refused_socket_does_not_count() -> None:
    limits = make(per_address=1, per_sec=100)
    limits.admit("a", 0.0)
    for _ in range(5):
        assert limits.admit("a", 0.0) is Admission.TOO_MANY
    limits.leave("a")
    assert limits.admit("a", 0.0) is Admission.WELCOME


def test_a_user_has_a_bounded_number_of_sockets() -> None:
    limits = make(per_user=2)
    assert [limits.admit_user("7") for _ in range(3)] == [True, True, False]
    assert limits.admit_user("8")
    limits.leave_user("7")
    assert limits.admit_user("7")


def test_giving_back_too_often_makes_no_credit() -> None:
    limits = make(per_user=1)
    limits.leave_user("7")
    limits.leave_user("7")
    assert [limits.admit_user("7") for _ in range(2)] == [True, False]


def test_addresses_that_matter_no_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PRUNE_AT", 10)
    limits = make(per_sec=1, per_address=100)
    limits.admit("has a socket", 0.0)
    for number in range(9):
        limits.admit(f"gone {number}", 0.0)
        limits.leave(f"gone {number}")
    for _ in range(BURST_SECS):
        limits.admit("took all", 100.0)
        limits.leave("took all")
    assert set(limits._buckets) == {"has a socket", "took all"}
    assert limits.admit("took all", 100.0) is Admission.TOO_FAST


def test_a_storm_of_addresses_is_not_searched_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PRUNE_AT", 10)
    searches = 0
    prune = Limits._prune

    def counted(limits: Limits, now: float) -> None:
        nonlocal searches
        searches += 1
        prune(limits, now)

    monkeypatch.setattr(Limits, "_prune", counted)
    limits = make()
    for number in range(1_000):
        assert limits.admit(f"10.0.{number // 256}.{number % 256}", 0.0) is Admission.WELCOME
    assert searches <= 7
