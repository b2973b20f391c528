"""How upgrades are refused: the statuses, headers and bodies that providers, relays and proxies send."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import formatdate

from attrs import field, frozen

WAIT_S = 2  # the wait that a 429 asks for

_JSON = {"content-type": "application/json"}
_PAGE = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_BLOCKED = "<html><head><title>Access denied</title></head><body>Your network's policy forbids this.</body></html>\r\n"
_TOO_MANY = "Rate limit exceeded."


@frozen
class Rejection:
    """An HTTP answer in place of 101. Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""


def rejection_of(kind: str, unix_s: float) -> Rejection | None:
    """The answer of the fault of this name, at this Unix time; None: it refuses nothing."""
    if kind == "upgrade-429-date":
        until = formatdate(unix_s + WAIT_S, usegmt=True)
        return _told(429, _error(_TOO_MANY, "rate_limit_exceeded", "rate_limit_exceeded"), **{"retry-after": until})
    return _REJECTIONS.get(kind)


def second_refused(count: int) -> Rejection:
    """The refusal of a second connection: a 429 or a 403, in turn."""
    text = "This account allows only one connection at a time."
    if count % 2:
        return _told(403, _error(text, "invalid_request_error", "connection_not_allowed"))
    return _told(429, _error(text, "rate_limit_exceeded", "concurrent_connections_exceeded"))


def _told(status: int, error: dict[str, object], **headers: str) -> Rejection:
    return Rejection(status, {**_JSON, **headers}, json.dumps({"error": error}).encode())


def _error(message: str, kind: str, code: str | None) -> dict[str, object]:
    return {"message": message, "type": kind, "param": None, "code": code}


_LIMITED = _error(_TOO_MANY, "rate_limit_exceeded", "rate_limit_exceeded")
_REJECTIONS = {
    "upgrade-blocked": Rejection(403, {"content-type": "text/html"}, _BLOCKED.encode()),
    "upgrade-400": _told(400, _error("The request could not be understood.", "invalid_request_error", None)),
    "upgrade-401": _told(401, _error("Incorrect API key provided.", "invalid_request_error", "invalid_api_key")),
    "upgrade-403": _told(
        403, _error("Your account does not have access to this model.", "invalid_request_error", "model_not_found")
    ),
    "upgrade-404": _told(404, _error("The model does not exist.", "invalid_request_error", "model_not_found")),
    "upgrade-429-header": _told(429, _LIMITED, **{"retry-after": str(WAIT_S)}),
    "upgrade-429-body": _told(429, {**_LIMITED, "reset_seconds": float(WAIT_S)}),
    "upgrade-429-text": _told(429, {"code": 429, "message": f"Rate limit exceeded. Retry after {WAIT_S} seconds"}),
    "upgrade-429-bare": Rejection(429),
    "upgrade-500": _told(500, _error("The server had an error.", "server_error", "internal_error")),
    "upgrade-502": Rejection(502, {"content-type": "text/html"}, _PAGE.encode()),
    "upgrade-503": Rejection(503, {"content-type": "text/plain"}, b"upstream connect error or disconnect/reset"),
}
