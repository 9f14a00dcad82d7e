from __future__ import annotations

import pytest

from tasks.config import load_config
from tasks.corpora import FolderCorpus, LaionCorpus
from tasks.settings.addresses import without_secrets
from tasks.settings.errors import UserError

HELD = [
    "https://user:CANARY@host/*.tar",
    "http://user:CANARY@127.0.0.1:8000/shards",
    "https://CANARY@host/shards",
    "HTTPS://user:CAN@ARY@host/shards",
    "s3://key:CANARY@bucket/store",
    "s3://key:CAN/ARY@bucket/store",
    "s3://:CANARY@bucket/store",
    "simplecache::ftp://user:CANARY@host/x",
    "https://host/0.tar?X-Amz-Credential=CANARY&X-Amz-Signature=CANARY",
    "https://host/0.tar?sv=1&sig=CANARY",
    "https://host/0.tar?access_token=CANARY",
    "https://host/0000?.tar?token=CANARY",
    "https://host/0.tar?AWSAccessKeyId=CANARY&Expires=1",
    "https://host/0.tar?GoogleAccessId=a&Signature=CANARY",
    "corpus.at=https://user:CANARY@host/x",
]
FREE = [
    "artifacts",
    "a@b:c/d",
    "file:///home/me@work/a:b@c",
    "memory://x",
    "s3://bucket/laion/0000?.tar",
    "s3://bucket/a@b/*.tar",
    "http://host:9000/a@b/x",
    "http://host:9000",
    "https://host/x?design=1&page=2",
    "https://host/x?monkey=1",
    "abfs://container@account.dfs.core.windows.net/x",
    "hf://datasets/some/set@main/data",
    "zip://a.tar::https://host/x@y.zip",
]


@pytest.mark.parametrize("address", HELD)
def test_an_address_with_a_secret_is_refused_and_masked(address: str) -> None:
    with pytest.raises(UserError, match="in the environment") as raised:
        without_secrets(address)
    line = str(raised.value)
    assert not {word for word in ("CAN", "ARY") if word in line}
    assert "\n" not in line


@pytest.mark.parametrize("address", FREE)
def test_any_other_address_is_unchanged(address: str) -> None:
    assert without_secrets(address) == address


@pytest.mark.parametrize("key", ["corpus.at", "corpus.source.shards", "corpus.source.path"])
def test_a_setting_with_a_secret_address_is_refused(key: str) -> None:
    kind = {"shards": "laion", "path": "folder"}.get(key.rpartition(".")[2])
    overrides = [f"{key}=https://user:CANARY@host/x", *([f"corpus.source.kind={kind}"] if kind else []), "patience=x"]
    with pytest.raises(UserError, match="in the environment") as raised:
        load_config(overrides=overrides)
    assert "CANARY" not in str(raised.value)


def test_a_corpus_with_a_secret_address_is_refused() -> None:
    for make in (lambda: LaionCorpus(shards=HELD[0]), lambda: FolderCorpus(path=HELD[0])):
        with pytest.raises(UserError, match="in the environment"):
            make()
