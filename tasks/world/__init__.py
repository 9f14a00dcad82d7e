"""The micro world: procedural pictures of sixteen domains with exact captions, questions and answers."""

from tasks.world import oracle
from tasks.world.scene import DOMAINS, FAMILIES, TRIVIAL, Scene, SceneQuestion, parse_url

__all__ = ["DOMAINS", "FAMILIES", "TRIVIAL", "Scene", "SceneQuestion", "oracle", "parse_url"]
