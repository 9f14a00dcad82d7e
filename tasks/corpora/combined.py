"""Several corpora read as one: a built corpus may have shards from several addresses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.corpora.protocol import Corpus
from tasks.corpora.readback import missing_shard
from tasks.corpora.sample import Location
from tasks.records.picture import Picture


@dataclass(frozen=True)
class CombinedCorpus:
    """Reads pictures back from the corpus that has their shard."""

    by_shard: Mapping[str, Corpus]
    """The corpus of each shard, by the shard's name."""

    def pictures(self, wanted: Sequence[Location]) -> list[Picture]:
        """The original bytes in the order of `wanted`. StaleShard if a shard is missing or has changed."""
        pictures: dict[int, Picture] = {}
        for numbers in self._by_corpus(wanted).values():
            corpus = self.by_shard[wanted[numbers[0]].shard]
            pictures.update(zip(numbers, corpus.pictures([wanted[number] for number in numbers]), strict=True))
        return [pictures[number] for number in range(len(wanted))]

    def _by_corpus(self, wanted: Sequence[Location]) -> dict[int, list[int]]:
        """Positions in `wanted` of the pictures of each corpus, by the corpus object's id."""
        numbers: dict[int, list[int]] = defaultdict(list)
        for number, location in enumerate(wanted):
            if location.shard not in self.by_shard:
                raise missing_shard(location)
            numbers[id(self.by_shard[location.shard])].append(number)
        return numbers
