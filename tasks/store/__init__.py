"""The store: stages keep rows and files here, commit them whole, and find them again by fingerprint.

    <store>/runs/<run>/round-003/_journal/00000007.json                    the log of commits and leases
    <store>/runs/<run>/round-003/6-filter/manifest.json                    written last: its existence means complete
    <store>/runs/<run>/round-003/6-filter/part-5be1c0d7-00000.parquet      the rows
    <store>/runs/<run>/round-003/6-filter/5be1c0d7/report.md               attached files, by their own names
    <store>/runs/<run>/round-003/6-filter/partial/41c09.../completions-... partial results of a killed stage
    <store>/corpora/<corpus>/index/...                                     the same, outside of any run

Every file name contains its attempt's id (`5be1c0d7`), and no file is written twice, so another attempt cannot touch
the complete artifact. The id is part of the name of the rows' file, so that `6-filter/part-*.parquet` is where a person
looks for rows. Attached files share a folder, so that a report finds its picture.

`README.md` beside this file describes commits, leases, retries and garbage.
"""

from tasks.store.acquire import Held
from tasks.store.artifact import Artifact, DamagedArtifact, Output, StaleArtifact
from tasks.store.faults import StoreFault
from tasks.store.lease import Fenced
from tasks.store.manifest import MANIFEST, Manifest, StoredFile
from tasks.store.partial_results import PartialResults
from tasks.store.place import Place, Store, stage_order

__all__ = [
    "MANIFEST",
    "Artifact",
    "DamagedArtifact",
    "Fenced",
    "Held",
    "Manifest",
    "Output",
    "PartialResults",
    "Place",
    "StaleArtifact",
    "Store",
    "StoreFault",
    "StoredFile",
    "stage_order",
]  # fmt: skip
