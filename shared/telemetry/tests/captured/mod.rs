//! The log lines of a test.

use serde_json::{Map, Value};
use std::{
    io,
    sync::{Arc, Mutex},
};

/// The lines so far.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    #[allow(dead_code, reason = "only some of the tests look for what JSON hides")]
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines without their times.
    #[allow(dead_code, reason = "only some of the tests read fields")]
    pub(crate) fn lines(&self) -> Vec<Map<String, Value>> {
        let read = |line: &str| {
            let mut line: Map<String, Value> =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(line.remove("timestamp").unwrap().as_str().unwrap().ends_with('Z'), "{line:?}");
            line
        };
        self.text().lines().map(read).collect()
    }
}
