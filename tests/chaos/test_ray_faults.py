"""The default round on Ray, where each fifth request to the store fails, is the round of one engine on a disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.faulty_bucket import Bucket
from tests.fixtures.played_round import contents_of_a_round
from tests.fixtures.ray_cluster import ray_cluster

ONE = {"kind": "transformers", "device": "cpu"}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_default_round_on_ray_survives_a_faulty_store(bucket: Bucket, tmp_path: Path) -> None:
    alone = contents_of_a_round(str(tmp_path), {"engine": ONE})
    bucket.line.refused = bucket.line.lost = 0.1
    with ray_cluster(head=1):
        on_ray = contents_of_a_round(bucket.url, {"engine": {"kind": "ray", "replicas": 2, "of": ONE}})
    assert on_ray == alone
    assert bucket.line.faults > 100
