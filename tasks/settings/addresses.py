"""Addresses of stores, corpora and shards. Logs, manifests and messages show them, so they may hold no secret."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from tasks.settings.errors import UserError

_LOGIN = re.compile(
    r"(?<=http://)[^\s/?#]+(?=@)|(?<=https://)[^\s/?#]+(?=@)|(?<=://)[^\s/?#:@]*:(?!\d+/|\d+$|:)\S*(?=@)", re.I
)
"""`user:password` in any address, unless the colon begins a port or a chain (`zip::s3://...`); over HTTP also a lone
token. `abfs://container@account` holds no login."""
_SIGNED = re.compile(
    r"(?<=\?)(?=\S*(?<![a-z])(?:sig|signature|token|secret|password|credential|api_?key|(?:aws)?accesskeyid)=)\S+", re.I
)
"""A query that grants access: `X-Amz-Signature=`, `sig=`, `access_token=`."""

SECRET = rf"^(?=[\s\S]*://)[\s\S]*(?i:{_LOGIN.pattern}|{_SIGNED.pattern})"
"""Matches text that holds an address with a secret; for a JSON schema."""


def without_secrets(address: str) -> str:
    """The address itself. UserError where it holds a password, token or signature; the message masks it."""
    masked = _SIGNED.sub("***", _LOGIN.sub("***", address)) if "://" in address else address
    if masked != address:
        raise UserError(
            f"{masked} holds a password, token or signature (***), which logs and manifests would show: give the "
            "address without it, and set credentials in the environment "
            "(AWS_ACCESS_KEY_ID, ..., or FSSPEC_<PROTOCOL>_<OPTION>)."
        )
    return address


Address = Annotated[str, AfterValidator(without_secrets)]
"""The type of a field or parameter that is an address."""
