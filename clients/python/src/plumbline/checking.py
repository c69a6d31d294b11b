"""What the server refuses of an event, for the local store: the same tables, codes and words.

Not looked at is what only the server has: the inside of a linking file, and its types of data sets.
"""

from __future__ import annotations

import json
import json.encoder
import math
import re
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn, Optional, Union

from plumbline.errors import ServerError
from plumbline.values import NUMBER_CHARS_MAX, path_of_key

METRICS_BYTES_MAX = 102_400
NAME_BYTES_MAX = 1024  # a CRN or a name
REPLICA_BYTES_MAX = 256
SPACE_BYTES_MAX = 128
INPUTS_MAX = 10_000
COUNT_MAX = 2_147_483_647
INT64_MAX = (1 << 63) - 1
DEPTH_MAX = 32
EXPONENT_MAX = 16_000
QUOTED_BYTES_MAX = 64
TIME_MS_MIN = 946_684_800_000  # 2000-01-01
EVENT_AHEAD_MS_MAX = 86_400_000

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MILLISECONDS = "a whole number of milliseconds since 1970"
_STATUSES = ("deploying", "deployed", "stopping", "stopped", "unknown")
_quoted: Callable[[str], str] = getattr(json.encoder, "encode_basestring")  # noqa: B009


class Number(float):
    """A number with a fraction or an exponent, and how it was written."""

    text: str

    def __new__(cls, text: str) -> Number:
        """Takes the text of a number."""
        number = super().__new__(cls, text)
        number.text = text
        return number


def refuse(code: str, message: str, field: Optional[str] = None) -> NoReturn:
    """Raises ServerError as the server would answer it."""
    status = {"too_large": 413, "conflict": 409, "not_found": 404}.get(code, 400)
    raise ServerError(status, code, message, field)


def quote_text(text: str) -> str:
    """Returns a text as messages have it: in quotes, cut where it is long."""
    data = text.encode("utf-8", "replace")
    if len(data) <= QUOTED_BYTES_MAX:
        return f'"{text}"'
    return '"' + data[:QUOTED_BYTES_MAX].decode("utf-8", "ignore") + '..."'


def is_uuid(text: str) -> bool:
    """Says whether this is a UUID, in either case of letters."""
    return _UUID.fullmatch(text) is not None


# ---- JSON as the server takes it ----------------------------------------------------------------


def parse(text: bytes) -> dict[str, Any]:
    """Returns the members of an event, numbers with a fraction as Number. Raises ServerError."""
    try:
        event = json.loads(
            text,
            parse_float=Number,
            parse_int=_integer,
            parse_constant=_constant,
            object_pairs_hook=_once,
        )
    except (ValueError, RecursionError) as error:
        refuse("invalid_json", str(error))
    if not isinstance(event, dict):
        refuse("not_an_object", f"an event is a JSON object, not {_type_name(event)}")
    _check_values(event, "", 1)
    return event


def _check_values(value: Any, path: str, level: int) -> None:
    """Refuses, with its path, the first value that is JSON and can't be kept."""
    if isinstance(value, Number):
        _check_number(value, path)
    elif isinstance(value, (dict, list)):
        if level > DEPTH_MAX:
            message = f"nested deeper than {DEPTH_MAX} levels; flatten it or send it as text"
            refuse("invalid_value", message, path)
        if isinstance(value, dict):
            for key, member in value.items():
                name = path_of_key(path, key)
                _check_values(member, name if path else name[1:], level + 1)
        else:
            for index, item in enumerate(value):
                _check_values(item, f"{path}[{index}]", level + 1)


def _check_number(number: Number, path: str) -> None:
    text = number.text
    exponent = text.lower().partition("e")[2]
    if len(text) > NUMBER_CHARS_MAX:
        message = (
            f"a number of {len(text)} characters, at most {NUMBER_CHARS_MAX} can be kept; "
            "round it or send it as text"
        )
    elif math.isinf(number):
        message = f"too large for a double: {quote_text(text)}; send null or text"
    elif exponent and abs(int(exponent)) > EXPONENT_MAX:
        message = f"an exponent beyond {EXPONENT_MAX}: {quote_text(text)}; send 0 or text"
    else:
        return
    refuse("invalid_value", message, path)


def _integer(digits: str) -> Union[int, Number]:
    return int(digits) if len(digits) <= NUMBER_CHARS_MAX else Number(digits)


def _constant(name: str) -> NoReturn:
    refuse("invalid_value", f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        refuse("invalid_value", "a key is there twice")
    return members


def write(value: Any) -> str:
    """Returns a parsed value as JSON without white space, its numbers as they were written."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(k)}:{write(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    if isinstance(value, Number):
        return value.text
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def is_same(one: Any, other: Any) -> bool:
    """Says whether two values are equal as JSON: 1 is 1.0 to the last digit, but never true."""
    if _is_number(one) and _is_number(other):
        return _decimal(one) == _decimal(other)
    return _is_same_but_numbers(one, other, is_same)


def is_same_double(one: Any, other: Any) -> bool:
    """The same for members of lineage events, whose numbers with a fraction are doubles."""
    if _is_number(one) and _is_number(other):
        if isinstance(one, int) and isinstance(other, int):
            return one == other
        return float(one) == float(other)
    return _is_same_but_numbers(one, other, is_same_double)


def _is_same_but_numbers(one: Any, other: Any, is_equal: Callable[[Any, Any], bool]) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_equal(v, other[k]) for k, v in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return type(one) is type(other) and bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _decimal(value: Any) -> Decimal:
    return Decimal(value.text if isinstance(value, Number) else value)


# ---- members ------------------------------------------------------------------------------------

Check = Callable[[str, Any], None]


class Member(NamedTuple):
    """A member of a kind of event; ``check`` takes its name and a value that is not null."""

    check: Check
    is_required: bool = False


def _type_name(value: Any) -> str:
    if isinstance(value, (bool, type(None))):
        return {True: "true", False: "false", None: "null"}[value]
    fraction = "a number with a fraction or an exponent"
    names = ((str, "text"), (dict, "an object"), (list, "an array"), (Number, fraction))
    return next((name for kind, name in names if isinstance(value, kind)), "a number")


def _invalid(field: str, message: str) -> NoReturn:
    refuse("invalid_field", message, field)


def _check_text(field: str, value: Any) -> None:
    if not isinstance(value, str):
        _invalid(field, f"must be text, not {_type_name(value)}")


def _check_length(field: str, value: Any, bytes_max: int) -> None:
    _check_text(field, value)
    size = len(value.encode())
    if size > bytes_max:
        _invalid(field, f"must have at most {bytes_max} bytes, not {size}")


def _check_name(field: str, value: Any) -> None:
    _check_length(field, value, NAME_BYTES_MAX)
    if not value:
        _invalid(field, "must not be empty")


def _check_replica(field: str, value: Any) -> None:
    _check_length(field, value, REPLICA_BYTES_MAX)


def _check_uuid(field: str, value: Any) -> None:
    if not isinstance(value, str):
        _invalid(field, f"must be a UUID as text, not {_type_name(value)}")
    if not is_uuid(value):
        _invalid(field, f"not a UUID: {quote_text(value)}")


def _check_id(field: str, value: Any, what: str = "a whole number") -> None:
    if isinstance(value, float) or not _is_number(value):
        _invalid(field, f"must be {what}, not {_type_name(value)}")


def _check_time(field: str, value: Any) -> None:
    _check_id(field, value, _MILLISECONDS)
    if value < TIME_MS_MIN:
        message = f"{value} is before 2000-01-01T00:00:00.000Z; send milliseconds since 1970"
        _invalid(field, message)
    ms_max = time.time_ns() // 1_000_000 + EVENT_AHEAD_MS_MAX
    if value > ms_max:
        bound = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms_max // 1000))
        _invalid(
            field,
            f"{value} is after {bound}.{ms_max % 1000:03}Z, too far in the future; "
            "send milliseconds since 1970",
        )


def _check_metrics_time(field: str, value: Any) -> None:
    if isinstance(value, Number):
        _invalid(field, f"must be {_MILLISECONDS}, not {value.text}")
    if isinstance(value, int) and abs(value) > INT64_MAX:
        _invalid(field, f"must be {_MILLISECONDS}, not {value}")
    _check_time(field, value)


def _check_metrics(field: str, value: Any) -> None:
    if not isinstance(value, dict):
        _invalid(field, f"must be an object, not {_type_name(value)}")
    size = len(write(value).encode())
    if size > METRICS_BYTES_MAX:
        refuse(
            "too_large",
            f"takes {size} bytes without white space, more than the limit of "
            f"{METRICS_BYTES_MAX}; send fewer or shorter values",
            field,
        )


def _check_failed(field: str, value: Any) -> None:
    if not isinstance(value, bool):
        _invalid(field, f"must be true or false, not {_type_name(value)}")


def _check_status(field: str, value: Any) -> None:
    _check_text(field, value)
    if value not in _STATUSES:
        words = ", ".join(_STATUSES[:-1]) + " or " + _STATUSES[-1]
        _invalid(field, f"must be {words}, not {quote_text(value)}")


def _check_count(field: str, value: Any) -> None:
    _check_id(field, value)
    if not 0 <= value <= COUNT_MAX:
        _invalid(field, f"must be 0 to {COUNT_MAX}, not {value}")


def _check_scalar(field: str, value: Any) -> None:
    if value is None or isinstance(value, (dict, list)):
        _invalid(field, f"must be text, a number or a boolean, not {_type_name(value)}")


def _check_metadata(field: str, value: Any) -> None:
    if not isinstance(value, dict):
        _invalid(field, f"must be an object, not {_type_name(value)}")
    for key, item in value.items():
        _check_scalar(f"{field}.{key}", item)


def _check_space(field: str, value: Any) -> None:
    _check_text(field, value)
    if not value or re.search(r"[@ \t\r\n]", value) or len(value.encode()) > SPACE_BYTES_MAX:
        _invalid(field, f"must be one word of at most {SPACE_BYTES_MAX} bytes without @")


def _check_inputs(field: str, value: Any) -> None:
    if not isinstance(value, list):
        _invalid(field, f"must be a list, not {_type_name(value)}")
    if len(value) > INPUTS_MAX:
        _invalid(field, f"must have at most {INPUTS_MAX} inputs, not {len(value)}")
    for index, item in enumerate(value):
        path = f"{field}[{index}]"
        if not isinstance(item, dict):
            _invalid(path, f"must be an object, not {_type_name(item)}")
        for name in ("typeName", "qualifiedName"):
            if item.get(name) is None:
                refuse("missing_field", "an input needs it", f"{path}.{name}")
            _check_name(f"{path}.{name}", item[name])


def _check_nothing(field: str, value: Any) -> None:
    pass


# In the order in which the server looks at them: the first that is wrong is the one it names.
_NAME, _NEEDED = Member(_check_name), Member(_check_name, True)
_TEXT, _TIME, _COUNT = Member(_check_text), Member(_check_time), Member(_check_count)
_ANY, _METADATA = Member(_check_nothing), Member(_check_metadata)
_NEEDED_TIME, _NEEDED_METRICS = Member(_check_metrics_time, True), Member(_check_metrics, True)
_NEEDED_UUID, _UUID_TEXT = Member(_check_uuid, True), Member(_check_uuid)

METRIC_KINDS: Mapping[str, Mapping[str, Member]] = {
    "track_metrics": {
        "modelDeploymentCrn": _NEEDED,
        "modelBuildCrn": _NAME,
        "modelCrn": _NAME,
        "predictionUuid": _NEEDED_UUID,
        "startTimestampMs": _NEEDED_TIME,
        "endTimestampMs": _NEEDED_TIME,
        "metrics": _NEEDED_METRICS,
        "replica": Member(_check_replica),
        "failed": Member(_check_failed),
    },
    "delayed_metrics": {
        "modelDeploymentCrn": _NAME,
        "predictionUuid": _NEEDED_UUID,
        "eventId": _UUID_TEXT,
        "startTimestampMs": Member(_check_metrics_time),
        "metrics": _NEEDED_METRICS,
    },
    "aggregate_metrics": {
        "modelDeploymentCrn": _NEEDED,
        "eventId": _UUID_TEXT,
        "startTimestampMs": _NEEDED_TIME,
        "endTimestampMs": _NEEDED_TIME,
        "metrics": _NEEDED_METRICS,
        "replica": Member(_check_replica),
    },
}

LINEAGE_KINDS: Mapping[str, Mapping[str, Member]] = {
    "project_created": {
        "projectCrn": _NEEDED,
        "projectName": _NEEDED,
        "userName": _NEEDED,
        "createdAtMs": _TIME,
        "description": _TEXT,
        "metadata": _METADATA,
    },
    "model_built": {
        "projectCrn": _NEEDED,
        "modelCrn": _NEEDED,
        "modelName": _NEEDED,
        "modelBuildCrn": _NEEDED,
        "buildNumber": Member(_check_count, True),
        "userName": _NEEDED,
        "namespace": Member(_check_space),
        "linkingFile": _TEXT,
        "inputs": Member(_check_inputs),
        "projectName": _NAME,
        "createdAtMs": _TIME,
        "imageTag": _TEXT,
        "imageHash": _TEXT,
        "exampleRequest": _ANY,
        "exampleResponse": _ANY,
        "defaultCpuMillicores": _COUNT,
        "defaultMemoryMb": _COUNT,
        "defaultGpus": _COUNT,
        "registeredModelVersion": Member(_check_scalar),
        "metadata": _METADATA,
    },
    "model_deployed": {
        "modelBuildCrn": _NEEDED,
        "modelDeploymentCrn": _NEEDED,
        "userName": _NEEDED,
        "status": Member(_check_status, True),
        "statusAtMs": _TIME,
        "modelCrn": _NAME,
        "modelName": _NAME,
        "projectCrn": _NAME,
        "projectName": _NAME,
        "modelDeploymentId": Member(_check_id),
        "deployedAtMs": _TIME,
        "createdAtMs": _TIME,
        "cpuMillicores": _COUNT,
        "memoryMb": _COUNT,
        "gpus": _COUNT,
        "replicas": _COUNT,
        "endpointUrl": _TEXT,
        "environment": _ANY,
        "metadata": _METADATA,
    },
}

_TIMES = ("startTimestampMs", "endTimestampMs")
_ALIASES = (("startTimeStampMs", "startTimestampMs"), ("endTimeStampMs", "endTimestampMs"))


def check(event: dict[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Returns the kind of an event, its members that are not null, and names that it has not.

    Times in the spelling of answers are taken as those of requests. Raises ServerError.
    """
    if "event" not in event:
        message = 'every event needs it, for example "track_metrics"'
        refuse("missing_field", message, "event")
    kind = event["event"]
    _check_text("event", float(kind) if isinstance(kind, Number) else kind)
    members = METRIC_KINDS.get(kind) or LINEAGE_KINDS.get(kind)
    if members is None:
        refuse("unknown_event", f"not an event: {quote_text(kind)}", "event")
    if kind in METRIC_KINDS:
        for alias, name in _ALIASES:
            if alias in event and name in event:
                _invalid(alias, "is there twice, in two spellings; send one")
            if alias in event:
                event[name] = event.pop(alias)
    elif _has_long_integer(event):
        refuse("invalid_value", "holds an integer beyond 64 bits; send it as text")
    for name, member in members.items():
        if member.is_required and name not in event:
            refuse("missing_field", f"{kind} needs it", name)
        value = event.get(name)
        if value is not None:
            if isinstance(value, Number) and kind in METRIC_KINDS and name not in _TIMES:
                value = float(value)  # there one number is called as another
            member.check(name, value)
        elif member.is_required:
            _invalid(name, "must not be null")
    if "endTimestampMs" in members and event["endTimestampMs"] < event["startTimestampMs"]:
        _invalid(
            "endTimestampMs",
            f"{event['endTimestampMs']} is before the start, {event['startTimestampMs']}",
        )
    unknown = [name for name in event if name != "event" and name not in members]
    return kind, {name: value for name, value in event.items() if value is not None}, unknown


def _has_long_integer(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_long_integer, value.values()))
    if isinstance(value, list):
        return any(map(_has_long_integer, value))
    return isinstance(value, int) and not -INT64_MAX - 1 <= value <= INT64_MAX
