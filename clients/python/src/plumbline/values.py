"""Metrics as JSON text.

A value is turned into text in the call that hands it over, so what the caller changes afterwards
does not matter. Nearly every value goes through the C encoder of ``json``; what that one refuses
is walked here, to be converted or to be named in the error.

==========================  =================================================================
Python                      JSON
==========================  =================================================================
None, bool, int, str        the same
float                       the shortest text that gives the same double
NaN, infinity, NaT, NA      an error, or null with ``nan="null"``
dict, Mapping               an object; keys that are int, float, bool or None become text,
                            numpy's as well
list, tuple                 an array
numpy scalar, array         number, text, (nested) array; anything with ``tolist()`` likewise
Decimal                     a number with all its digits
datetime, date, time        ISO 8601 text, with the offset when there is one
UUID, Enum                  the text, the member's value
bytes, set, anything else   an error
==========================  =================================================================
"""

from __future__ import annotations

import datetime
import json
import json.encoder
import math
import uuid
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Callable, Optional

from plumbline.errors import ValueNotAllowed

NUMBER_CHARS_MAX = 64  # the server's limit for the text of one number
DEPTH_MAX = 100  # whoever nests deeper has a cycle

_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * (NUMBER_CHARS_MAX + 1)
# How keys begin that may have been numbers, true, false or None, and be there as text as well.
_DOUBTFUL_KEYS = (b'{"0', b',"0', b'"-0', b'"true":', b'"false":', b'"null":')
# Types of keys and of values whose text says what they are; an int may have too many digits.
_TEXT = frozenset({str})
_SHORT = frozenset({str, float, bool, type(None)})
_NAME: Callable[[str], str] = getattr(json.encoder, "encode_basestring")  # noqa: B009


def path_of_key(path: str, key: str) -> str:
    """Returns the path of a member: a dot in its key is written ``\\.``, a backslash twice."""
    return path + "." + key.replace("\\", "\\\\").replace(".", "\\.")


class Encoder:
    """Turns values into JSON text; ``nan`` is ``"error"`` or ``"null"``. Any thread may use it."""

    def __init__(self, nan: str = "error") -> None:
        if nan not in ("error", "null"):
            raise ValueError(f'nan must be "error" or "null", not {nan!r}')
        self._nan_is_null = nan == "null"
        self._one_shot = _one_shot_encoder()

    def encode(self, value: Any, path: str = "metrics") -> bytes:
        """Returns ``value`` as UTF-8 JSON. Raises ValueNotAllowed, which names the path."""
        try:
            return self._encode_fast(value)
        except (TypeError, ValueError, RecursionError):
            return self._walk(value, path, 0).encode()  # converts, or names what is wrong

    def member(self, key: str, value: Any) -> bytes:
        """Returns ``"key":value`` for a member of ``metrics``. Raises ValueNotAllowed."""
        try:
            if "\0" in key:
                raise ValueError
            return _NAME(key).encode() + b":" + self._encode_fast(value)
        except (TypeError, ValueError, RecursionError):
            if not isinstance(key, str):
                name = type(key).__name__
                raise ValueNotAllowed("metrics", f"a key must be text, not {name}") from None
            path = path_of_key("metrics", key)
            return (_text(key, path) + ":" + self._walk(value, path, 0)).encode()

    def _encode_fast(self, value: Any) -> bytes:
        data = self._one_shot(value).encode()
        if b"\\u0000" in data or not (_is_plain(value) or _is_innocent(data)):
            raise ValueError  # the walk knows
        return data

    def _walk(self, value: Any, path: str, depth: int) -> str:
        if depth > DEPTH_MAX:
            raise ValueNotAllowed(path, f"is nested more than {DEPTH_MAX} deep, or contains itself")
        if value is None or value is True or value is False:
            return "null" if value is None else "true" if value else "false"
        if isinstance(value, str):
            return _text(value, path)
        if isinstance(value, Enum) and not isinstance(value, (int, float)):
            return self._walk(value.value, path, depth + 1)
        if isinstance(value, (int, float, Decimal)):
            return self._number(value, path)
        if isinstance(value, Mapping):
            return self._object(value, path, depth)
        if isinstance(value, (list, tuple)):
            parts = (self._walk(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(value))
            return "[" + ",".join(parts) + "]"
        if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
            if value != value:  # pandas' NaT says that it is a datetime
                return self._not_a_number(path, "NaT")
            return json.dumps(value.isoformat())
        if isinstance(value, uuid.UUID):
            return json.dumps(str(value))
        return self._walk(self._plain(value, path), path, depth + 1)

    def _number(self, value: Any, path: str) -> str:
        if isinstance(value, float):
            if not math.isfinite(value):
                return self._not_a_number(path, float.__repr__(value))
            return float.__repr__(value)
        if isinstance(value, Decimal):
            if not value.is_finite():
                return self._not_a_number(path, str(value))
            text = str(value)
        elif value.bit_length() > 8 * NUMBER_CHARS_MAX:  # too long to be worth writing
            raise ValueNotAllowed(path, f"has more than {NUMBER_CHARS_MAX} digits")
        else:
            text = int.__repr__(value)
        if len(text) > NUMBER_CHARS_MAX:
            raise ValueNotAllowed(path, f"has more than {NUMBER_CHARS_MAX} digits")
        return text

    def _not_a_number(self, path: str, name: str) -> str:
        if self._nan_is_null:
            return "null"
        raise ValueNotAllowed(
            path, f"{name} is not JSON; leave it out, or make the client with nan='null'"
        )

    def _object(self, value: Mapping[Any, Any], path: str, depth: int) -> str:
        parts = {}
        for key, member in value.items():
            name = self._key(key, path)
            if name in parts:
                raise ValueNotAllowed(path, f"has the key {name!r} twice once keys are text")
            inside = path_of_key(path, name)
            parts[name] = _text(name, inside) + ":" + self._walk(member, inside, depth + 1)
        return "{" + ",".join(parts.values()) + "}"

    @staticmethod
    def _key(key: Any, path: str) -> str:
        if isinstance(key, str):
            return key
        if key is None or isinstance(key, (bool, int)):
            return json.dumps(key)
        if isinstance(key, float) and math.isfinite(key):
            return float.__repr__(key)
        if getattr(getattr(key, "dtype", None), "kind", "") in ("i", "u", "f", "b"):
            plain = key.tolist()  # of np.unique and its like
            if type(plain) is not type(key):
                return Encoder._key(plain, path)
        raise ValueNotAllowed(path, f"has a key that is no text: {key!r} ({type(key).__name__})")

    def _plain(self, value: Any, path: str) -> Any:
        """Returns what a numpy value, or one that acts like it, is in plain Python."""
        kind = getattr(getattr(value, "dtype", None), "kind", "")
        if kind == "M":  # datetime64 of nanoseconds would become a bare integer
            texts = value.astype(str).tolist()
            return self._without_nat(texts, path)
        name = type(value).__name__
        if isinstance(value, (bytes, bytearray, memoryview)):
            raise ValueNotAllowed(path, f"{name} is not JSON; decode it, or send it as base64 text")
        if name == "NAType":  # pandas' word for a value that is not there
            self._not_a_number(path, "NA")
            return None
        tolist: Optional[Callable[[], Any]] = getattr(value, "tolist", None)
        if kind not in ("m", "c", "V") and callable(tolist):
            plain = tolist()
            if type(plain) is not type(value):
                return plain
            return float(plain)  # longdouble has nothing plain of its own
        if isinstance(value, (set, frozenset)):
            raise ValueNotAllowed(path, f"{name} has no order; send a sorted list")
        raise ValueNotAllowed(path, f"{name} can't be sent; convert it to text or numbers first")

    def _without_nat(self, texts: Any, path: str) -> Any:
        if isinstance(texts, list):
            return [self._without_nat(text, f"{path}[{i}]") for i, text in enumerate(texts)]
        if texts != "NaT":
            return texts
        self._not_a_number(path, "NaT")
        return None


def _is_plain(value: Any) -> bool:
    """True for what most metrics are: a short number, or an object of texts and such numbers."""
    kind = type(value)
    if kind is dict:
        return set(map(type, value)) <= _TEXT and set(map(type, value.values())) <= _SHORT
    return kind in _SHORT


def _is_innocent(data: bytes) -> bool:
    """False when this may be what the server refuses: a long number, a key twice.

    All of it may be innocent all the same, in a text or as the only key of its name.
    """
    is_object = b"{" in data
    if not is_object and len(data) <= NUMBER_CHARS_MAX:
        return True
    zeros = data.translate(_AS_ZEROS)
    if is_object:
        for key in _DOUBTFUL_KEYS:  # any() takes twice as long
            if key in zeros:
                return False
    return _LONG_NUMBER not in zeros


def _text(text: str, path: str) -> str:
    if "\0" in text:
        raise ValueNotAllowed(path, "has a NUL character, which can't be stored")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueNotAllowed(path, f"is not Unicode: {error.reason}") from None
    return json.dumps(text, ensure_ascii=False)


def _simple(value: Any) -> Any:
    """Lets the C encoder go on past numpy's numbers and arrays of numbers."""
    if getattr(getattr(value, "dtype", None), "kind", "") in ("i", "u", "f", "b"):
        plain = value.tolist()
        if type(plain) is not type(value):
            return plain
    raise TypeError


def _one_shot_encoder() -> Callable[[Any], str]:
    """Returns ``json``'s C encoder, made once; ``JSONEncoder.encode`` makes it at each call."""
    make = getattr(json.encoder, "c_make_encoder", None)
    text = getattr(json.encoder, "c_encode_basestring", None)
    if make is None or text is None:  # not CPython
        return json.JSONEncoder(
            ensure_ascii=False,
            check_circular=False,
            allow_nan=False,
            separators=(",", ":"),
            default=_simple,
        ).encode
    parts = make(None, _simple, text, None, ":", ",", False, False, False)
    return lambda value: "".join(parts(value, 0))
