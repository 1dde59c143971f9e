mod find;
mod operate;
mod rerun;
mod run_now;
mod start;
