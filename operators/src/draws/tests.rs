//! What becomes of reports.
