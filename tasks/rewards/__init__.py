"""What a role is paid for: difficulty, the share of its own cluster, and the presets that combine them.

Pure arithmetic over aligned sequences, one entry an output of the role. Nothing here samples, parses or asks a model.
"""

from tasks.rewards.difficulty import difficulty
from tasks.rewards.presets import FloatArray, Preset
from tasks.rewards.roles import questioner_rewards, searcher_rewards, solver_rewards
from tasks.rewards.shares import image_shares, memory_shares, text_shares

__all__ = [
    "FloatArray",
    "Preset",
    "difficulty",
    "image_shares",
    "memory_shares",
    "questioner_rewards",
    "searcher_rewards",
    "solver_rewards",
    "text_shares",
]
