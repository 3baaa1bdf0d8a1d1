//! Which registries images may be imported from: the [`allowedRegistriesForImport`][1] of the API.
//!
//! A pattern is a host and a port, each with `*` for any run of characters and `?` for any one byte.
//!
//! [1]: https://docs.openshift.com/container-platform/latest/openshift_images/image-configuration.html

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::field::quoted;
use crate::reference::ImageReference;

/// The ports that a registry without a port may be served at.
const DEFAULT_PORTS: [&str; 2] = ["80", "443"];
/// Up to this many patterns are told when a registry is refused; of more, one less.
const PATTERNS_SHOWN: usize = 5;

/// One entry of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RegistryLocation {
    /// `host` or `host:port`; both may be patterns.
    pub domain_name: String,
    /// A host without a port means port 80, not 443.
    pub insecure: bool,
}

/// An entry of the configuration is not `host` or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse allowed registry {}: too many colons", quoted(.0))]
pub struct TooManyColons(String);

/// How a registry is going to be spoken to, which decides the port if none is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTPS.
    Secure,
    /// Plain HTTP.
    Insecure,
    /// Either: a registry without a port is allowed at its host's default ports.
    Any,
}

/// A registry that no pattern matches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("registry {} not allowed by {}", quoted(.registry), .patterns)]
pub struct NotAllowed {
    registry: String,
    patterns: String,
}

/// Which registries images may be imported from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedRegistries {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    host: String,
    port: String,
}

impl AllowedRegistries {
    /// Every registry.
    #[must_use]
    pub fn all() -> Self {
        Self {
            patterns: vec![Pattern {
                host: "*".into(),
                port: "*".into(),
            }],
        }
    }

    /// The configured registries; every registry if none is configured.
    ///
    /// # Errors
    /// [`TooManyColons`] for the first entry that is not `host` or `host:port`.
    pub fn new(configured: &[RegistryLocation]) -> Result<Self, TooManyColons> {
        if configured.is_empty() {
            return Ok(Self::all());
        }
        let mut allowed = Self { patterns: Vec::new() };
        for location in configured {
            let pattern = Pattern::parse(&location.domain_name, location.insecure)?;
            if !allowed.patterns.contains(&pattern) {
                allowed.patterns.push(pattern);
            }
        }
        Ok(allowed)
    }

    /// Allows the integrated registry too, before all others.
    ///
    /// # Errors
    /// [`TooManyColons`] if it is not `host` or `host:port`.
    pub fn with_integrated(mut self, registry: &str) -> Result<Self, TooManyColons> {
        let pattern = Pattern::parse(registry, false)?;
        if !self.patterns.contains(&pattern) {
            self.patterns.insert(0, pattern);
        }
        Ok(self)
    }

    /// Checks the registry (`host`, `host:port` or nothing) of a reference.
    ///
    /// # Errors
    /// [`NotAllowed`], which lists the patterns.
    pub fn check(&self, registry: &str, transport: Transport) -> Result<(), NotAllowed> {
        let (host, port) = match transport {
            Transport::Secure => host_and_port(registry, false),
            Transport::Insecure => host_and_port(registry, true),
            Transport::Any => match registry.split_once(':') {
                Some((host, port)) => (host, port),
                None if registry.is_empty() => ("docker.io", ""),
                None => (registry, ""),
            },
        };
        let matches = |host: &str| self.patterns.iter().any(|pattern| pattern.matches(host, port));
        let is_hub_alias = matches!(host, "index.docker.io" | "registry-1.docker.io");
        if (is_hub_alias && matches("docker.io")) || matches(host) {
            return Ok(());
        }
        let shown = match (registry, port) {
            ("", "") => "docker.io".to_owned(),
            ("", port) => format!("docker.io:{port}"),
            (registry, _) => registry.to_owned(),
        };
        Err(NotAllowed {
            registry: shown,
            patterns: self.to_string(),
        })
    }
}

impl fmt::Display for AllowedRegistries {
    /// `whitelist: "host:port", …`; the first ones if there are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.patterns.is_empty() {
            return f.write_str("empty whitelist");
        }
        let count = self.patterns.len();
        let shown = if count > PATTERNS_SHOWN {
            PATTERNS_SHOWN - 1
        } else {
            count
        };
        let quoted: Vec<String> = self.patterns[..shown]
            .iter()
            .map(|pattern| quoted(&format!("{}:{}", pattern.host, pattern.port)))
            .collect();
        write!(f, "whitelist: {}", quoted.join(", "))?;
        if shown < count {
            write!(f, ", and {} more ...", count - shown)?;
        }
        Ok(())
    }
}

/// The `host:port` at which a reference's registry is spoken to.
#[must_use]
pub fn endpoint(reference: &ImageReference, insecure: bool) -> String {
    let (host, port) = host_and_port(&reference.registry, insecure);
    format!("{host}:{port}")
}

fn host_and_port(registry: &str, insecure: bool) -> (&str, &str) {
    if let Some((host, port)) = registry.split_once(':') {
        return (host, port);
    }
    let host = match registry {
        "" => "docker.io",
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        host => host,
    };
    (host, if insecure { "80" } else { "443" })
}

impl Pattern {
    fn parse(text: &str, insecure: bool) -> Result<Self, TooManyColons> {
        let (host, port) = text
            .split_once(':')
            .unwrap_or((text, if insecure { "80" } else { "443" }));
        if port.contains(':') {
            return Err(TooManyColons(text.into()));
        }
        Ok(Self {
            host: host.into(),
            port: port.into(),
        })
    }

    /// Whether host and port match; an empty port stands for the default ports.
    fn matches(&self, host: &str, port: &str) -> bool {
        let port_fits = if port.is_empty() {
            self.port == "*" || DEFAULT_PORTS.contains(&self.port.as_str())
        } else {
            glob_matches(&self.port, port)
        };
        port_fits && glob_matches(&self.host, host)
    }
}

/// Whether the whole of `text` matches. Takes time in the order of the product of both lengths at most: after a
/// mismatch only the last `*` needs to be tried with a longer run.
fn glob_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut last_star {
                Some((star, run_end)) => {
                    *run_end += 1;
                    p = *star + 1;
                    t = *run_end;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests;
