//! The jobs, one per file: which operators, in which order, on which topics.

pub mod apart;
pub mod commissions;
pub mod draws;
pub mod fraud;
pub mod sales;
