"""The signer of tests that publish and listen without a site's settings (docs/protocol.md, section 3)."""

from typing import Final

from apps.realtime.core.signature import Signer

SIGNER: Final = Signer(["signing-key-of-the-tests-" + "x" * 40])
