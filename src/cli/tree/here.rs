//! The names of this machine.

use std::net::IpAddr;

/// Whether a host of ssh is this machine itself, by its name: a loopback address or the own name.
pub(super) fn is_here(host: &str) -> bool {
    let own = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    names_here(host, &own)
}

fn names_here(host: &str, own: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.is_loopback();
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let own = own.to_ascii_lowercase();
    let short = own.split('.').next().unwrap_or_default();
    let is_own = !host.is_empty() && (host == own || host == short);
    is_own || matches!(&host[..], "localhost" | "localhost.localdomain" | "ip6-localhost" | "ip6-loopback")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_each_of_its_names() {
        for host in
            ["localhost", "LocalHost", "localhost.", "127.0.0.1", "127.0.1.1", "::1", "web7", "web7.example.com"]
        {
            assert!(names_here(host, "web7.example.com"), "{host}");
        }
        for host in ["", "web", "web71", "10.0.0.1", "example.com", "fe80::1"] {
            assert!(!names_here(host, "web7.example.com"), "{host}");
        }
        assert!(!names_here("", ""));
    }
}
