"""Each row is in one part, in its place."""

from apps.realtime.core.parts import parts


def test_each_row_is_in_one_part() -> None:
    assert list(parts("abcde", 2)) == ["ab", "cd", "e"]
    assert list(parts([1, 2], 2)) == [[1, 2]]
    assert list(parts([], 2)) == []
