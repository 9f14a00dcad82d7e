"""Several corpora as one: what a built corpus reads its pictures back from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.corpora import Corpus
from tasks.corpora.readback import gone
from tasks.corpora.sample import Location
from tasks.records.prompt import Picture


@dataclass(frozen=True)
class CombinedCorpus:
    """Corpora by the names of their shards."""

    sources: Mapping[str, Corpus]

    def pictures(self, wanted: Sequence[Location]) -> list[Picture]:
        """The original bytes, in order. StaleShard where they are not what was indexed."""
        numbers: dict[int, list[int]] = defaultdict(list)
        for number, one in enumerate(wanted):
            if one.shard not in self.sources:
                raise gone(one)
            numbers[id(self.sources[one.shard])].append(number)
        found: dict[int, Picture] = {}
        for mine in numbers.values():
            corpus = self.sources[wanted[mine[0]].shard]
            found.update(zip(mine, corpus.pictures([wanted[number] for number in mine]), strict=True))
        return [found[number] for number in range(len(wanted))]
