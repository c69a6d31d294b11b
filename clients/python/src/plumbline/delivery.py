"""Posting a batch of events and reading the receipt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional, Union

from plumbline.errors import Problem, ServerError
from plumbline.identity import DEV_DEPLOYMENT_CRN
from plumbline.transport import Transport

NDJSON = "application/x-ndjson"
_BY_NUMBER = b'{"modelDeploymentID":'


class Receipt(NamedTuple):
    """What became of the events of one request.

    ``batch`` is the number of the transaction that holds them (None when nothing was committed,
    or when they are in the server's spool), ``rejected`` and ``warnings`` are the server's notes
    (members ``index``, ``code``, ``message`` and perhaps ``field``, ``line``, ``column``; the first
    100 of them), ``rejected_count`` and ``spooled`` how many events.
    """

    batch: Optional[int]
    received: int
    accepted: int
    duplicate: int
    rejected: list[dict[str, Any]]
    rejected_count: int
    warnings: list[dict[str, Any]]
    spooled: int

    @classmethod
    def of_answer(cls, answer: Any) -> Receipt:
        """Reads the answer of ``/v1/events``. Raises ServerError when it is not one."""
        try:
            rejected = answer.get("rejected", [])
            return cls(
                batch=answer["batch"],
                received=answer["received"],
                accepted=answer.get("accepted", 0),
                duplicate=answer.get("duplicate", 0),
                rejected=rejected,
                rejected_count=answer.get("rejectedCount", len(rejected)),
                warnings=answer.get("warnings", []),
                spooled=answer.get("spooled", 0),
            )
        except (AttributeError, KeyError, TypeError):
            raise ServerError(200, "not_plumbline", "the answer is no receipt") from None

    def problems(self, events: Sequence[bytes]) -> list[Problem]:
        """Returns what was rejected of the events that this receipt is for."""
        found = [
            Problem(
                note["code"],
                note["message"],
                status=200,
                field=note.get("field"),
                event=events[note["index"]],
            )
            for note in self.rejected
        ]
        more = self.rejected_count - len(found)
        if more > 0:
            found.append(Problem("rejected", f"{more} more events", status=200, count=more))
        return found


class Deployments:
    """CRNs of deployments by the numbers that the platform gives them, asked for once each."""

    def __init__(self) -> None:
        self._crns: dict[int, str] = {}

    def known(self, number: int) -> Optional[str]:
        """Returns the CRN if it was asked for before; never touches the network."""
        return self._crns.get(number)

    def ask(self, transport: Transport, number: int) -> str:
        """Returns the CRN. Raises ServerError (404 while the server does not know it)."""
        crn = self._crns.get(number)
        if crn is None:
            body = json.dumps({"modelDeploymentID": number}).encode()
            answer = transport.post("/get-model-deployment-crn", body)
            crn = answer.get("modelDeploymentCrn") if isinstance(answer, dict) else None
            if not isinstance(crn, str) or not crn:
                raise ServerError(200, "not_plumbline", "the answer has no CRN")
            self._crns[number] = crn
        return crn


def address(deployment: Union[str, int]) -> bytes:
    """Returns how an event begins that is about a deployment, known by CRN or only by number.

    One known by number can't be posted as it is: see :func:`post_events`.
    """
    if isinstance(deployment, int):
        return _BY_NUMBER + b"%d," % deployment
    return b'{"modelDeploymentCrn":' + json.dumps(deployment).encode() + b","


def post_events(transport: Transport, deployments: Deployments, events: Sequence[bytes]) -> Receipt:
    """Posts events in one request, with CRNs in place of numbers.

    Raises ServerError and Unreachable; a single event that is refused is a ServerError too or
    stands in the receipt, as the server likes.
    """
    lines = [_addressed(transport, deployments, event) for event in events]
    return Receipt.of_answer(transport.post("/v1/events", b"\n".join(lines), NDJSON))


def addressable(
    transport: Transport, deployments: Deployments, events: Sequence[bytes]
) -> tuple[list[bytes], list[bytes]]:
    """Returns events that can be posted now, and those whose number the server does not know.

    Raises ServerError (other than 404) and Unreachable.
    """
    known: list[bytes] = []
    unknown: list[bytes] = []
    is_known: dict[bytes, bool] = {}  # by how they begin
    for event in events:
        beginning = event.partition(b",")[0]
        if beginning not in is_known:
            try:
                _addressed(transport, deployments, event)
                is_known[beginning] = True
            except ServerError as error:
                if error.status != 404:
                    raise
                is_known[beginning] = False
        (known if is_known[beginning] else unknown).append(event)
    return known, unknown


def _addressed(transport: Transport, deployments: Deployments, event: bytes) -> bytes:
    if not event.startswith(_BY_NUMBER):
        return event
    number, _, rest = event[len(_BY_NUMBER) :].partition(b",")
    return address(deployments.ask(transport, int(number))) + rest


def local_address(event: bytes) -> bytes:
    """Returns the event with the CRN of local development where it has only a number."""
    if not event.startswith(_BY_NUMBER):
        return event
    return address(DEV_DEPLOYMENT_CRN) + event.partition(b",")[2]
