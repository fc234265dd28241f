//! Where a cluster is first asked: `quipu://host:port,host:port`.

use std::fmt;
use std::str::FromStr;

/// The port clients dial when none is given.
const PORT_DEFAULT: u16 = 9192;

/// Addresses of a cluster's nodes; one that answers is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    addresses: Vec<String>,
}

/// Why a text is not a list of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a list of servers: {reason}; write quipu://host:port,host:port")]
pub struct InvalidBootstrap {
    text: String,
    reason: String,
}

impl Bootstrap {
    /// `host:port` of each, in the order given.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }
}

impl FromStr for Bootstrap {
    type Err = InvalidBootstrap;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason: String| InvalidBootstrap { text: text.to_owned(), reason };
        let list = match text.trim().split_once("://") {
            Some(("quipu" | "http", list)) => list.trim_end_matches('/'),
            Some((scheme, _)) => return Err(invalid(format!("scheme {scheme:?} is unknown"))),
            None => text.trim(),
        };
        let addresses = list
            .split(',')
            .map(|item| address(item.trim()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(invalid)?;
        Ok(Self { addresses })
    }
}

impl fmt::Display for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quipu://{}", self.addresses.join(","))
    }
}

/// One `host[:port]`, its port filled in.
fn address(item: &str) -> Result<String, String> {
    let port_at = match item.rfind(':') {
        // The colons of a bare IPv6 address are no port.
        Some(at) if !item.ends_with(']') => Some(at),
        _ => None,
    };
    let (host, port) = match port_at {
        Some(at) => {
            let text = &item[at + 1..];
            let port = text.parse().ok().filter(|port| *port != 0);
            (&item[..at], port.ok_or_else(|| format!("{text:?} is not a port"))?)
        }
        None => (item, PORT_DEFAULT),
    };
    if host.is_empty() {
        return Err("a host is empty".to_owned());
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!("write the IPv6 address as [{item}]:{PORT_DEFAULT}"));
    }
    if host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@' | '?' | '#')) {
        return Err(format!("{host:?} is not a host"));
    }
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_with_and_without_scheme_and_port() {
        let cases = [
            ("quipu://a:1,b:2", vec!["a:1", "b:2"]),
            ("quipu://a", vec!["a:9192"]),
            (" a:1 , b ", vec!["a:1", "b:9192"]),
            ("quipu://[::1]:7,[::2]/", vec!["[::1]:7", "[::2]:9192"]),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Bootstrap>().expect(text).addresses(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_list_is_named() {
        let cases = [
            ("", "a host is empty"),
            ("quipu://a:1,,b", "a host is empty"),
            ("kafka://a:1", "scheme \"kafka\" is unknown"),
            ("a:0", "\"0\" is not a port"),
            ("a:http", "\"http\" is not a port"),
            ("::1", "write the IPv6 address as"),
            ("a b:1", "\"a b\" is not a host"),
        ];
        for (text, reason) in cases {
            let refused = text.parse::<Bootstrap>().expect_err(text).to_string();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }
}
