"""Settings: frozen, validated values, and the sentence for every mistake in them.

A stage's section of the run file is the argument of its functions, what Snakemake compares and what a card records.
"""

from nonrobust_guidance.settings.base import CARRIED_OUT, Settings, absent
from nonrobust_guidance.settings.kinds import Choice, OneOf
from nonrobust_guidance.settings.mistakes import SettingError, instead, sentence_of

__all__ = ["CARRIED_OUT", "Choice", "OneOf", "SettingError", "Settings", "absent", "instead", "sentence_of"]
