"""Levels: the fast way and the plain way agree, to the last bit and in what they refuse."""

import json
import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.adapters.live.levels import LevelReader

READER = LevelReader()


def raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def bits(value: float) -> bytes:
    return struct.pack("=d", value)


DIGITS = st.text("0123456789", min_size=1, max_size=25)
DECIMALS = st.one_of(DIGITS, st.tuples(DIGITS, DIGITS).map(".".join)).filter(
    lambda text: float(text) > 0.0 and (text[0] != "0" or text[:2] == "0.")
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(DECIMALS, DECIMALS), max_size=5), st.lists(st.tuples(DECIMALS, DECIMALS), max_size=5))
def test_any_decimal_is_the_float_that_python_reads(bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> None:
    count, levels = READER.read(*(raw(json.dumps(side, separators=(",", ":"))) for side in (bids, asks)))

    assert count == len(bids)
    assert [bits(value) for row in levels.tolist() for value in row] == [
        bits(float(text)) for level in [*bids, *asks] for text in level
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", []),
        ('[["0.00000001","0"]]', [[1e-8, 0.0]]),
        ('[["61773.60","1001.000"]]', [[61773.6, 1001.0]]),
        ('[["9007199254740993","1"]]', [[9007199254740992.0, 1.0]]),
        ('[["0.1","1"],["0.2","2"]]', [[0.1, 1.0], [0.2, 2.0]]),
        ('[ ["0.1", "1"] ]', [[0.1, 1.0]]),
        ("[[0.1,1e3]]", [[0.1, 1000.0]]),
        ('[["1E2","1"]]', [[100.0, 1.0]]),
    ],
)
def test_a_side_is_read_in_order(text: str, expected: list[list[float]]) -> None:
    count, levels = READER.read(raw(text), raw('[["5","6"]]'))

    assert levels.tolist() == [*expected, [5.0, 6.0]]
    assert count == len(expected)


@pytest.mark.parametrize(
    "text",
    [
        "", "[", "]", "{}", "null", '"x"', "[[]]", '[["1"]]', '[["1","2","3"]]', '[["1","2"]', '[["1","2"],]',
        '[["1","2"]["1","2"]]', '[["","2"]]', '[[".","2"]]', '[["1.","2"]]', '[["1..5","2"]]', '[["1,5","2"]]',
        '[["-1","2"]]', '[["1","-2"]]', '[["0","2"]]', '[["0.000","2"]]', '[["nan","2"]]', '[["1","inf"]]',
        '[["1","2"]]]', '[["1","2"]]x', '[["01","2"]]', '[["1","2x"]]', '[["1" "2"]]', "[[1,2]",
    ],
)  # fmt: skip
def test_what_is_not_a_list_of_levels_is_refused_on_either_side(text: str) -> None:
    good = raw('[["5","6"]]')

    for sides in ((raw(text), good), (good, raw(text))):
        with pytest.raises(msgspec.DecodeError):
            READER.read(*sides)


def test_a_message_of_the_largest_size_is_read() -> None:
    many = 60_000
    side = "[" + ",".join(f'["{number}","1"]' for number in range(1, many)) + "]"

    count, levels = READER.read(raw(side), raw("[]"))

    assert count == len(levels) == many - 1
    assert levels[:, 0].tolist() == [float(number) for number in range(1, many)]
