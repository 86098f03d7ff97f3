"""Fills the placeholders of a file in ops/ (docs/operations.md).

The files of ops/ are the ones that run: production, the stack and the tests differ in the values alone.
`${NAME}` in capitals is a placeholder; nginx's `$variables` and a shell's `$1` are left as they are.

    python3 -m ops.render ops/nginx/message-flow.conf LISTEN='443 ssl http2' SERVER_NAME=example.org … > FILE
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

_PLACEHOLDER = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


class RenderError(ValueError):
    """A placeholder without a value, or a value without a placeholder: both are misspelt names."""


def render(template: Path, values: Mapping[str, str | int | Path]) -> str:
    """The text of `template` with every placeholder replaced.

    Raises `RenderError` unless the names match exactly.
    """
    text = template.read_text()
    names = set(_PLACEHOLDER.findall(text))
    if missing := names - values.keys():
        raise RenderError(f"{template}: no value for {', '.join(sorted(missing))}")
    if unused := values.keys() - names:
        raise RenderError(f"{template}: no placeholder {', '.join(sorted(unused))}")
    return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), text)


def main(arguments: list[str]) -> int:
    """The command line: a template, then NAME=VALUE for each of its placeholders."""
    template, *pairs = arguments
    try:
        sys.stdout.write(render(Path(template), dict(pair.split("=", 1) for pair in pairs)))
    except RenderError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 2 or not all("=" in pair for pair in sys.argv[2:]):
        sys.exit(f"usage: {sys.argv[0]} TEMPLATE NAME=VALUE …")
    sys.exit(main(sys.argv[1:]))
