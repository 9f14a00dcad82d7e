"""Where stages keep what they made: rows and folders, committed whole, found again by what went into them.

    <store>/runs/<run>/round-003/_journal/00000007.json                    which attempts count, and who plays
    <store>/runs/<run>/round-003/6-filter/manifest.json                    written last: its existence means complete
    <store>/runs/<run>/round-003/6-filter/part-5be1c0d7-00000.parquet      the rows
    <store>/runs/<run>/round-003/6-filter/5be1c0d7/report.md               what else the stage made, by its own names
    <store>/runs/<run>/round-003/6-filter/partial/41c09.../completions-...  what a killed stage resumes from
    <store>/corpora/<corpus>/index/...                                     the same, outside of any run

Every file carries its attempt's id (`5be1c0d7`) and is never written twice, so playing a stage again cannot touch the
artifact that stands. The id is part of the file's name, rather than a folder around the rows, so that
`6-filter/part-*.parquet` is where a person looks for them; attached files share a folder, so that a report finds its
picture.

A commit, in this order:

1. every file is written whole from a local temporary file, and verified;
2. an entry in the place's journal, the commit, is created where nothing may be yet: it names the attempt, holds the
   manifest (sizes, sha256) and the digests of all inputs, and fails if the lease was lost (`journal`, `lease`);
3. `manifest.json`, the commit's copy for people, replaces the older one in one step.

Killed before 2, nothing counts and the files are garbage; between 2 and 3, the next process that takes the lease writes
the manifest. Readers follow commits, take a stage for complete if `manifest.json` is the committed one, and check what
they read (`artifact`). A person may remove `manifest.json` to have a stage played again.

Attempts that no commit made count, or that a later commit replaced, are garbage, and stay until `active-zero gc`
(`garbage`): somebody may still be reading them.
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
