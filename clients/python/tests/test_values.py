"""Every kind of value has a clear result, or an error that names its path."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import types
import uuid
from typing import Any

import numpy
import pandas
import pytest

from plumbline import ValueNotAllowed
from plumbline.values import Encoder

UTC = datetime.timezone.utc


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


SENT = {
    "null": (None, "null"),
    "boolean": (True, "true"),
    "integer": (2**63, "9223372036854775808"),
    "float": (0.1, "0.1"),
    "large float": (1e22, "1e+22"),
    "minus zero": (-0.0, "-0.0"),
    "text": ('é "q" \\ \n', '"é \\"q\\" \\\\ \\n"'),
    "text that looks like an escape": ("\\u0000", '"\\\\u0000"'),
    "tuple": ((1, [2]), "[1,[2]]"),
    "keys that are no text": (
        {1: 1, None: 2, False: 3, 1.5: 4},
        '{"1":1,"null":2,"false":3,"1.5":4}',
    ),
    "key with a dot": ({"a.b c": 1}, '{"a.b c":1}'),
    "mapping": (types.MappingProxyType({"a": 1}), '{"a":1}'),
    "decimal": (decimal.Decimal("12.340"), "12.340"),
    "decimal with exponent": (decimal.Decimal("1E+2"), "1E+2"),
    "decimal inside": ({"a": [decimal.Decimal("0.10")]}, '{"a":[0.10]}'),
    "aware datetime": (
        datetime.datetime(2020, 7, 31, 8, tzinfo=UTC),
        '"2020-07-31T08:00:00+00:00"',
    ),
    "naive datetime": (datetime.datetime(2020, 7, 31, 8), '"2020-07-31T08:00:00"'),
    "date": (datetime.date(2020, 7, 31), '"2020-07-31"'),
    "time": (datetime.time(8, 30), '"08:30:00"'),
    "uuid": (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    "enum": (Colour.RED, '"red"'),
    "int enum": ([Level.HIGH], "[3]"),
    "numpy float64": (numpy.float64(0.1), "0.1"),
    "numpy float32": (numpy.float32(0.5), "0.5"),
    "numpy float32 as the double it is": (numpy.float32(0.1), "0.10000000149011612"),
    "numpy longdouble": (numpy.longdouble(0.5), "0.5"),
    "numpy int64": (numpy.int64(-3), "-3"),
    "numpy bool": (numpy.bool_(True), "true"),
    "numpy str": (numpy.str_("a"), '"a"'),
    "numpy array": (numpy.arange(6).reshape(2, 3), "[[0,1,2],[3,4,5]]"),
    "numpy array without dimensions": (numpy.array(2.5), "2.5"),
    "numpy texts": (numpy.array(["a", "b"]), '["a","b"]'),
    "numpy objects": (numpy.array([1, None, "a"], dtype=object), '[1,null,"a"]'),
    "numpy nanoseconds": (
        numpy.datetime64("2020-07-31T08:00:00", "ns"),
        '"2020-07-31T08:00:00.000000000"',
    ),
    "numpy dates": (numpy.array(["2020-07-31"], dtype="M8[D]"), '["2020-07-31"]'),
    "numpy deep inside": ({"a": [{"b": numpy.int8(1)}]}, '{"a":[{"b":1}]}'),
    "pandas series": (pandas.Series([1.5, 2.5]), "[1.5,2.5]"),
    "pandas timestamp": (pandas.Timestamp("2020-07-31T08:00Z"), '"2020-07-31T08:00:00+00:00"'),
}


@pytest.mark.parametrize("name", SENT)
def test_value_is_sent(name: str) -> None:
    value, text = SENT[name]
    assert Encoder().member("m", value).decode() == '"m":' + text
    json.loads(text)


CYCLE: list[Any] = []
CYCLE.append({"again": CYCLE})

REFUSED = {
    "nan": ({"a": {"b c": [1, float("nan")]}}, "metrics.m.a.b c[1]", "nan is not JSON"),
    "infinity": (float("-inf"), "metrics.m", "-inf is not JSON"),
    "nan in an array": (numpy.array([0.0, numpy.nan]), "metrics.m[1]", "nan is not JSON"),
    "nan of decimal": (decimal.Decimal("NaN"), "metrics.m", "NaN is not JSON"),
    "not a time": (pandas.NaT, "metrics.m", "NaT is not JSON"),
    "not a time of numpy": (numpy.array(["NaT"], dtype="M8[s]"), "metrics.m[0]", "NaT"),
    "bytes": ({"raw.x": b"ab"}, r"metrics.m.raw\.x", "bytes is not JSON; decode it"),
    "bytes of numpy": (numpy.array([b"ab"]), "metrics.m[0]", "bytes is not JSON"),
    "memoryview": (memoryview(b"ab"), "metrics.m", "memoryview is not JSON"),
    "not there, of pandas": (pandas.Series([1, pandas.NA]), "metrics.m[1]", "NA is not JSON"),
    "bytearray": (bytearray(b"ab"), "metrics.m", "bytearray is not JSON"),
    "set": ({"a": {1}}, "metrics.m.a", "set has no order"),
    "object": ([object()], "metrics.m[0]", "object can't be sent"),
    "complex": (1j, "metrics.m", "complex can't be sent"),
    "complex of numpy": (numpy.array([1j]), "metrics.m", "ndarray can't be sent"),
    "duration": (numpy.timedelta64(1, "s"), "metrics.m", "timedelta64 can't be sent"),
    "cycle": (CYCLE, "metrics.m", "contains itself"),
    "lone surrogate": (["\ud800"], "metrics.m[0]", "is not Unicode"),
    "NUL": ({"a": "x\0"}, "metrics.m.a", "NUL"),
    "twice once it is text": ({"a": {1: 2, "1": 3}}, "metrics.m.a", "has the key '1' twice"),
    "true twice": ({True: 2, "true": 3}, "metrics.m", "has the key 'true' twice"),
    "long integer": ([-(10**64)], "metrics.m[0]", "more than 64 digits"),
    "long integer in an object": ({"a": 10**64}, "metrics.m.a", "more than 64 digits"),
    "twice in an object": ({"a": {"b": {1: 2, "1": 3}}}, "metrics.m.a.b", "has the key '1' twice"),
    "NUL in a key of an object": ({"a\0": 1.5}, "metrics.m.a\0", "NUL"),
    "NUL in a key": ({"x\0": 1}, "metrics.m.x\0", "NUL"),
    "very long integer": ([10**9000], "metrics.m[0]", "more than 64 digits"),
    "long decimal": (decimal.Decimal("1." + "1" * 64), "metrics.m", "more than 64 digits"),
    "key of bytes": ({b"a": 1}, "metrics.m", "has a key that is no text"),
    "key twice once it is text": ({1: b"", "1": 2}, "metrics.m.1", "bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_value_is_refused_with_its_path(name: str) -> None:
    value, path, message = REFUSED[name]
    with pytest.raises(ValueNotAllowed) as caught:
        Encoder().member("m", value)
    assert caught.value.path.startswith(path)
    assert message in str(caught.value)


def test_nan_may_become_null() -> None:
    value = {
        "a": [float("nan"), float("inf"), 1.5],
        "t": pandas.NaT,
        "n": numpy.array([numpy.nan]),
        "d": numpy.datetime64("NaT"),
    }
    text = Encoder(nan="null").member("m", value).decode()
    assert text == '"m":{"a":[null,null,1.5],"t":null,"n":[null],"d":null}'


def test_key_must_be_text() -> None:
    with pytest.raises(ValueNotAllowed, match="metrics: a key must be text, not int"):
        Encoder().member(1, 2)  # type: ignore[arg-type]
    with pytest.raises(ValueNotAllowed, match="is not Unicode"):
        Encoder().member("\ud800", 2)


def test_keys_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    values, counts = numpy.unique([3, 3, -4], return_counts=True)
    assert Encoder().encode(dict(zip(values, counts))) == b'{"-4":1,"3":2}'
    assert Encoder().encode({numpy.float32(0.5): 1, numpy.bool_(True): 2}) == b'{"0.5":1,"true":2}'
    for key in (numpy.longdouble(1), numpy.float32("nan"), numpy.datetime64("2020-01-01")):
        with pytest.raises(ValueNotAllowed, match=r"metrics\.a: has a key that is no text"):
            Encoder().encode({"a": {key: 1}})
    with pytest.raises(ValueNotAllowed, match="metrics: has the key '3' twice"):
        Encoder().encode({numpy.int64(3): 1, "3": 2})


def test_policy_is_checked() -> None:
    with pytest.raises(ValueError, match='nan must be "error" or "null"'):
        Encoder(nan="drop")


def test_encoder_without_the_c_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("json.encoder.c_make_encoder", None)
    assert Encoder().member("m", {"a": [0.1, "é"]}) == '"m":{"a":[0.1,"é"]}'.encode()


def test_nul_in_the_name_of_a_metric() -> None:
    with pytest.raises(ValueNotAllowed, match="NUL"):
        Encoder().member("a\0b", 1)


def test_keys_that_are_digits() -> None:
    assert Encoder().encode({1: 2, "2": {"true": None}}) == b'{"1":2,"2":{"true":null}}'
    assert Encoder().encode("1" * 70) == b'"' + b"1" * 70 + b'"'
