"""Rewards of the roles: difficulty, repetition penalties, and the presets that combine them.

Pure arithmetic over aligned sequences with one entry per output of the role. Nothing here samples, parses or runs a
model.
"""

from tasks.rewards.difficulty import difficulty
from tasks.rewards.presets import AgreementWindow, FloatArray, Preset, PresetName
from tasks.rewards.repetition import history_penalty, image_repetition, text_repetition
from tasks.rewards.roles import questioner_rewards, searcher_rewards, solver_rewards

__all__ = [
    "AgreementWindow",
    "FloatArray",
    "Preset",
    "PresetName",
    "difficulty",
    "history_penalty",
    "image_repetition",
    "questioner_rewards",
    "searcher_rewards",
    "solver_rewards",
    "text_repetition",
]
