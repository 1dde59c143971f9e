//! Tests of the shop's ports on SQLite, and of the rules that the shop in memory follows as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod file;
mod log_files;
mod outbox;

/// The rules on SQLite.
mod local {
    use crate::file::FileShop;

    checkout::shop_rules!(FileShop);
}

/// The rules in memory.
mod memory {
    use checkout::testing::MemoryShop;

    checkout::shop_rules!(MemoryShop);
}
