"""Diagnostics of panel 3: training examples."""

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.instantiation.length import ChosenLonger

DIAGNOSTICS: tuple[Diagnostic, ...] = (ChosenLonger(),)
