//! The dashboards' queries.
