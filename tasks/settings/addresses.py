"""Addresses of stores, corpora and shards. Logs, manifests and messages tell them, so no secret may be in one."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from tasks.settings.errors import UserError

_LOGIN = re.compile(
    r"(?<=http://)[^\s/?#]+(?=@)|(?<=https://)[^\s/?#]+(?=@)|(?<=://)[^\s/?#:@]*:(?!\d+/|\d+$|:)\S*(?=@)", re.I
)
"""`user:word` in any address, if the colon is no port's and no chain's (`zip::s3://...`); over HTTP also a lone token.
In `abfs://container@account` is none."""
_SIGNED = re.compile(
    r"(?<=\?)(?=\S*(?<![a-z])(?:sig|signature|token|secret|password|credential|api_?key|(?:aws)?accesskeyid)=)\S+", re.I
)
"""A query that opens what it leads to: `X-Amz-Signature=`, `sig=`, `access_token=`."""


def without_secrets(address: str) -> str:
    """The address itself. UserError where it holds a password, token or signature, which is not repeated."""
    told = _SIGNED.sub("***", _LOGIN.sub("***", address)) if "://" in address else address
    if told != address:
        raise UserError(
            f"{told} holds a password, token or signature (***), which logs and manifests would show: give the address "
            "without it, and credentials in the environment (AWS_ACCESS_KEY_ID, ..., or FSSPEC_<PROTOCOL>_<OPTION>)."
        )
    return address


Address = Annotated[str, AfterValidator(without_secrets)]
"""A field or parameter that is an address."""
