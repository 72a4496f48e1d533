"""The report: what an audit found, for a team to read and for machines."""

from triptych.audit.report.judges import judges_page
from triptych.audit.report.page import page, repair_page
from triptych.audit.report.report import Definition, Report, Verdict, report_json, report_of

__all__ = ["Definition", "Report", "Verdict", "judges_page", "page", "repair_page", "report_json", "report_of"]
