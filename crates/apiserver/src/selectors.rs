//! Choosing objects of a collection by [labels](label) and by [fields](field).

pub mod field;
pub mod label;
