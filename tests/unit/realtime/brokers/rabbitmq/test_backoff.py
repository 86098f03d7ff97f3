"""How long to wait for the next attempt (docs/brokers.md)."""

from apps.realtime.brokers.rabbitmq.backoff import FIRST_SECS, LONGEST_SECS, Backoff


def test_each_delay_lies_between_half_a_step_and_the_step_and_steps_double() -> None:
    for _ in range(50):
        backoff = Backoff()
        step = FIRST_SECS
        for _ in range(10):
            assert step / 2 <= backoff.next_secs() <= step
            step = min(step * 2, LONGEST_SECS)


def test_an_attempt_succeeds_within_5_s_of_the_port_being_open() -> None:
    backoff = Backoff()
    assert max(backoff.next_secs() for _ in range(100)) <= 2.0


def test_it_starts_again_when_things_work() -> None:
    backoff = Backoff(first_secs=1, longest_secs=100)
    for _ in range(10):
        backoff.next_secs()
    backoff.reset()
    assert backoff.next_secs() <= 1


def test_two_nodes_do_not_come_at_the_same_moment() -> None:
    assert len({Backoff().next_secs() for _ in range(20)}) > 1
