//! Words for the functions that every copy of the library has. Their names mean nothing to users.

/// What such a function does, as it stands in errors before `in CONTEXT`. `None` for all other functions.
pub(crate) fn in_words(function: &str) -> Option<&'static str> {
    let name = function.strip_prefix("offshoot::")?.rsplit("::").next()?;
    Some(match name {
        "run_process" => "the command",
        "read_file" => "the reading of a file",
        "write_file" => "the writing of a file",
        "connect_socket" => "a connection to a socket",
        "receive_tree" | "send_tree" => "the copy",
        #[cfg(feature = "files")]
        "fetch" | "hand_out" => "the fetch of a file",
        #[cfg(feature = "files")]
        "take" => "the push of a file",
        "host_facts" => "the facts about the host",
        "proxy_connect" => "a connect",
        _ => return None,
    })
}

/// A function as errors show it.
pub(crate) fn shown(function: &'static str) -> &'static str {
    in_words(function).unwrap_or(function)
}
