"""ops/render.py fills the files of ops/, and refuses a misspelt name."""

from pathlib import Path

import pytest

from ops.render import RenderError, main, render


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A template with two placeholders and everything that only looks like one."""
    path = tmp_path / "some.conf"
    path.write_text("listen ${PORT} ${HOST}; $host ${host} $1 %(PORT)s\n")
    return path


def test_fills_placeholders_and_leaves_other_dollars(template: Path) -> None:
    assert render(template, {"PORT": 80, "HOST": "a$b"}) == "listen 80 a$b; $host ${host} $1 %(PORT)s\n"


def test_refuses_a_missing_value(template: Path) -> None:
    with pytest.raises(RenderError, match="no value for HOST"):
        render(template, {"PORT": 80})


def test_refuses_a_value_that_nothing_asks_for(template: Path) -> None:
    with pytest.raises(RenderError, match="no placeholder PROT"):
        render(template, {"PORT": 80, "HOST": "h", "PROT": 81})


def test_the_command_prints_the_file_or_what_is_wrong(template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(template), "PORT=80", "HOST=a=b"]) == 0
    assert capsys.readouterr().out.startswith("listen 80 a=b;")
    assert main([str(template), "PORT=80"]) == 1
    assert "no value for HOST" in capsys.readouterr().err
