//! Which tags a rule means.

use std::fmt;

use globset::GlobMatcher;
use regex::bytes::Regex;
use semver::VersionReq;

use super::version::TagVersion;
use crate::reference::is_tag;

/// The group of a regular expression that holds the version, if that is not the whole tag.
const VERSION_GROUP: &str = "version";

/// Which tags of a repository count.
#[derive(Clone)]
pub struct Matcher {
    pub(super) pattern: Pattern,
    pub(super) versions: Option<VersionReq>,
    /// Pre-releases count as the release that they precede.
    pub(super) pre_releases: bool,
    pub(super) excluded: Vec<Pattern>,
}

/// A pattern for the name of a tag.
#[derive(Clone)]
pub(super) enum Pattern {
    Any,
    Glob(GlobMatcher),
    Regex(Regex),
}

impl Pattern {
    fn matches(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Glob(glob) => glob.is_match(tag),
            Self::Regex(regex) => regex.is_match(tag.as_bytes()),
        }
    }

    /// The part of a tag that is the version.
    fn version<'a>(&self, tag: &'a str) -> &'a str {
        match self {
            Self::Regex(regex) if regex.capture_names().flatten().any(|name| name == VERSION_GROUP) => regex
                .captures(tag.as_bytes())
                .and_then(|captures| captures.name(VERSION_GROUP))
                .and_then(|group| tag.get(group.range()))
                .unwrap_or_default(),
            _ => tag,
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Glob(glob) => f.write_str(glob.glob().glob()),
            Self::Regex(regex) => write!(f, "/{regex}/"),
        }
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher")
            .field("pattern", &self.pattern)
            .field("versions", &self.versions.as_ref().map(ToString::to_string))
            .field("pre_releases", &self.pre_releases)
            .field("excluded", &self.excluded)
            .finish()
    }
}

impl Matcher {
    /// Whether a tag counts, and the version that it names, if any. What is no tag, as only a hostile registry lists,
    /// never counts.
    pub(super) fn check(&self, tag: &str) -> Option<Option<TagVersion>> {
        if !is_tag(tag)
            || !self.pattern.matches(tag)
            || self.excluded.iter().any(|pattern| pattern.matches(tag))
        {
            return None;
        }
        let version = TagVersion::parse(self.pattern.version(tag));
        match &self.versions {
            None => Some(version),
            Some(wanted) => {
                let version = version?;
                self.is_wanted(wanted, &version).then_some(Some(version))
            }
        }
    }

    /// Whether a tag counts.
    #[must_use]
    pub fn matches(&self, tag: &str) -> bool {
        self.check(tag).is_some()
    }

    fn is_wanted(&self, wanted: &VersionReq, found: &TagVersion) -> bool {
        if wanted.matches(&found.version) {
            return true;
        }
        if !self.pre_releases || found.version.pre.is_empty() {
            return false;
        }
        let release = semver::Version {
            pre: semver::Prerelease::EMPTY,
            ..found.version.clone()
        };
        wanted.matches(&release)
    }
}
