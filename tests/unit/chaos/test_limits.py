"""What `make chaos` takes away is away, and comes back (docs/chaos.md)."""

import subprocess
import sys

from tests.chaos.limits import no_more_files

# For each line that it reads, it says whether it can open a file.
_PROGRAM = """
import sys
for line in sys.stdin:
    try:
        open("/dev/null").close()
        print("opened", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


def test_a_process_without_files_opens_none_and_uses_those_it_has() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def tries() -> str:
            print("try", file=child.stdin, flush=True)
            return str(child.stdout.readline()).strip() if child.stdout else ""

        assert tries() == "opened"
        with no_more_files(child.pid):
            assert tries() == "Too many open files"
        assert tries() == "opened"
        child.stdin.close()
