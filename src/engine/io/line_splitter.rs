//! Converts the output of a child to log records, one per line.

use crate::engine::log::LogSource;
use crate::sys::pipe::Input;

/// A longer line is cut into several records.
const MAX_LINE: usize = 16 * 1024;

/// Reads `pipe` to its end and forwards its lines, including an unterminated last line.
pub(super) async fn forward(pipe: Input, name: &'static str, log: LogSource) {
    let mut buffer = vec![0; MAX_LINE];
    let mut filled = 0;
    loop {
        let count = pipe.read(&mut buffer[filled..]).await.unwrap_or(0);
        filled += count;
        let mut used = 0;
        while let Some(length) = buffer[used..filled].iter().position(|byte| *byte == b'\n') {
            log.line(name, &buffer[used..used + length]);
            used += length + 1;
        }
        if used == 0 && (filled == buffer.len() || (count == 0 && filled > 0)) {
            log.line(name, &buffer[..filled]);
            used = filled;
        }
        buffer.copy_within(used..filled, 0);
        filled -= used;
        if count == 0 && filled == 0 {
            return;
        }
    }
}
