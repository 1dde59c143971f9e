mod find;
mod operate;
mod run_now;
mod start;
