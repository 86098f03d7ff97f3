"""Which durable events are ours (docs/protocol.md, section 3)."""

from apps.realtime.core.signature import Signer

OLD, NEW, FOREIGN = "old-" * 8, "new-" * 8, "foreign-" * 4


def test_the_first_secret_signs_and_all_are_believed() -> None:
    before, during, after = Signer([OLD]), Signer([NEW, OLD]), Signer([NEW])
    assert during.is_genuine("e", b"body", before.sign("e", b"body"))
    assert after.is_genuine("e", b"body", during.sign("e", b"body"))
    assert not after.is_genuine("e", b"body", before.sign("e", b"body"))
    assert not during.is_genuine("e", b"body", Signer([FOREIGN]).sign("e", b"body"))


def test_the_boundary_between_epoch_and_body_is_signed_too() -> None:
    signer = Signer([OLD])
    assert not signer.is_genuine("ab", b"c", signer.sign("a", b"bc"))
    assert not signer.is_genuine("a", b"b", signer.sign("a", b"c"))
