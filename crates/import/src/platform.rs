//! Which member of a manifest list stands for the whole when only one platform is imported.

use std::fmt;
use std::str::FromStr;

use imagestream_registry::distribution::IndexEntry;

/// Operating system and architecture, in [Go's naming](https://go.dev/doc/install/source#environment).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// Operating system, such as `linux`.
    pub os: String,
    /// Architecture, such as `amd64`.
    pub architecture: String,
}

impl Platform {
    /// The platform that this program was built for.
    pub fn own() -> Self {
        let os = match std::env::consts::OS {
            "macos" => "darwin",
            os => os,
        };
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            architecture => architecture,
        };
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

impl FromStr for Platform {
    type Err = String;

    /// Reads `OS/ARCHITECTURE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match text.split_once('/') {
            Some((os, architecture)) if is_name(os) && is_name(architecture) => Ok(Self {
                os: os.to_ascii_lowercase(),
                architecture: architecture.to_ascii_lowercase(),
            }),
            _ => Err("expected OS/ARCHITECTURE, for example linux/arm64".to_owned()),
        }
    }
}

/// The member for `preferred`, else the one for linux/amd64, else the first; none of an empty list.
pub(crate) fn choose<'a>(members: &'a [IndexEntry], preferred: &Platform) -> Option<&'a IndexEntry> {
    let of = |os: &str, architecture: &str| {
        members.iter().find(|member| {
            let platform = member.platform.as_ref();
            platform.is_some_and(|platform| platform.os == os && platform.architecture == architecture)
        })
    };
    of(&preferred.os, &preferred.architecture)
        .or_else(|| of("linux", "amd64"))
        .or_else(|| members.first())
}

#[cfg(test)]
mod tests {
    use imagestream_api::digest::Digest;
    use imagestream_registry::distribution;

    use super::*;

    fn members(platforms: &[Option<&str>]) -> Vec<IndexEntry> {
        platforms
            .iter()
            .enumerate()
            .map(|(index, platform)| IndexEntry {
                media_type: distribution::OCI_MANIFEST.to_owned(),
                digest: Digest::sha256_of(&index.to_le_bytes()),
                size: 1,
                platform: platform.map(|platform| {
                    let (os, architecture) = platform.split_once('/').unwrap();
                    distribution::Platform {
                        os: os.to_owned(),
                        architecture: architecture.to_owned(),
                        ..Default::default()
                    }
                }),
                artifact_type: None,
                annotations: Default::default(),
            })
            .collect()
    }

    #[test]
    fn the_preferred_platform_comes_first_then_linux_amd64_then_the_first_member() {
        for (platforms, preferred, chosen) in [
            (
                &[Some("linux/arm64"), Some("linux/amd64")][..],
                "linux/arm64",
                Some(0),
            ),
            (
                &[Some("linux/arm64"), Some("linux/amd64")],
                "linux/s390x",
                Some(1),
            ),
            (
                &[Some("windows/amd64"), Some("linux/arm64")],
                "linux/s390x",
                Some(0),
            ),
            (&[None, Some("linux/amd64")], "linux/s390x", Some(1)),
            (&[None, None], "linux/amd64", Some(0)),
            (
                &[Some("linux/arm64"), Some("linux/arm64")],
                "linux/arm64",
                Some(0),
            ),
            (&[], "linux/amd64", None),
        ] {
            let members = members(platforms);
            let expected = chosen.map(|index: usize| &members[index]);
            assert_eq!(
                choose(&members, &preferred.parse().unwrap()),
                expected,
                "{platforms:?} {preferred}"
            );
        }
    }

    #[test]
    fn a_platform_is_an_operating_system_and_an_architecture() {
        assert_eq!(
            "Linux/ARM64".parse::<Platform>().unwrap().to_string(),
            "linux/arm64"
        );
        for bad in ["", "linux", "linux/", "/amd64", "linux/arm/v7"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
