mod find;
mod operate;
mod start;
