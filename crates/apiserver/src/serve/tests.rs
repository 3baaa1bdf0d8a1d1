//! A real server on loopback, over real TLS: who gets in, what is refused, what ends when.

mod bounds;
mod ending;
mod entry;
mod fixture;
mod records;
