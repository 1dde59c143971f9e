//! The shop on one machine.
