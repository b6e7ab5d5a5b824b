"""The report of an import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from todo_service.bounds.exchange import (
    REPORTED_BYTES,
    REPORTED_ERRORS,
    REPORTED_LENGTH,
    REPORTED_RECORDS,
    REPORTED_WARNINGS,
)
from todo_service.errors import Invalid, ValidationIssue
from todo_service.exchange.formats.base import Draft, RejectedRecord, find_line
from todo_service.todos.bulk_import import ImportOutcome


class ReportedWarning(NamedTuple):
    """What an import has lost or changed.

    Attributes:
        line: The line on which the record starts, from 1.
        detail: One sentence.
    """

    line: int
    detail: str


class Report:
    """The outcome of an import. Its size is bounded.

    Args:
        warn_unchanged: Whether to include the warnings of records whose todo was left unchanged. Imports that
            update todos do, because the only edit of the caller may be the value that was left out.

    Attributes:
        imported: The number of todos that were created.
        updated: The number of existing todos that were changed.
        unchanged: The number of records whose todo already existed and was left unchanged.
        lists_created: The number of lists that were created.
        rejected: The first rejected records, as many as `REPORTED_RECORDS` and `REPORTED_BYTES` allow.
        rejected_count: The number of all rejected records.
        warnings: The first warnings, as many as `REPORTED_WARNINGS` and `REPORTED_BYTES` allow.
        warnings_count: The number of all warnings.
    """

    def __init__(self, *, warn_unchanged: bool = False) -> None:
        self._warn_unchanged = warn_unchanged
        self._file_warnings = set[str]()
        self.imported = 0
        self.updated = 0
        self.unchanged = 0
        self.lists_created = 0
        self.rejected: list[RejectedRecord] = []
        self.rejected_count = 0
        self.warnings: list[ReportedWarning] = []
        self.warnings_count = 0
        self._bytes = 0

    def reject(self, line: int, issues: Sequence[ValidationIssue]) -> None:
        """Add a record that cannot be read."""
        self.rejected_count += 1
        if len(self.rejected) >= REPORTED_RECORDS or self._bytes >= REPORTED_BYTES:
            return
        length = REPORTED_LENGTH
        reported = [ValidationIssue(each.pointer[:length], each.detail[:length]) for each in issues[:REPORTED_ERRORS]]
        self._bytes += sum(len(each.pointer) + len(each.detail) + 40 for each in reported)
        self.rejected.append(RejectedRecord(line, reported))

    def reject_draft(self, draft: Draft, error: Invalid) -> None:
        """Add a record that breaks a rule."""
        line = find_line(error.issues, draft.lines, draft.line)
        self.reject(line, [ValidationIssue(draft.pointer + issue.pointer, issue.detail) for issue in error.issues])

    def add(self, draft: Draft, outcome: ImportOutcome | Invalid) -> None:
        """Add a record, and its warnings unless it was skipped."""
        if isinstance(outcome, Invalid):
            self.reject_draft(draft, outcome)
            return
        self.imported += outcome is ImportOutcome.IMPORTED
        self.updated += outcome is ImportOutcome.UPDATED
        self.unchanged += outcome is ImportOutcome.UNCHANGED
        if outcome is not ImportOutcome.UNCHANGED or self._warn_unchanged:
            self._warn(draft)

    def _warn(self, draft: Draft) -> None:
        new = [detail for detail in draft.file_warnings if detail not in self._file_warnings]
        self._file_warnings.update(new)
        for detail in (*new, *draft.warnings):
            self.warnings_count += 1
            if len(self.warnings) < REPORTED_WARNINGS and self._bytes < REPORTED_BYTES:
                reported = ReportedWarning(draft.line, detail[:REPORTED_LENGTH])
                self._bytes += len(reported.detail) + 40
                self.warnings.append(reported)

    def sort(self) -> None:
        """Sort the rejected records and the warnings by line."""
        self.rejected.sort(key=lambda rejected: rejected.line)
        self.warnings.sort(key=lambda warning: warning.line)
