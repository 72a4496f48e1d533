"""Diagnostics of loops: what changes from round to round."""

from triptych.audit.diagnostic import Diagnostic

DIAGNOSTICS: tuple[Diagnostic, ...] = ()
