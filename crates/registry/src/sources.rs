//! Which registries may be contacted, how, and where else an image may be pulled from: blocked and insecure registries
//! and mirrors.
//!
//! The rules are those of OpenShift's [image configuration][image], [ImageDigestMirrorSet][idms] and
//! [ImageTagMirrorSet][itms]; scopes are those of [registries.conf][conf].
//!
//! [image]: https://docs.openshift.com/container-platform/latest/rest_api/config_apis/image-config-openshift-io-v1.html
//! [idms]: https://docs.openshift.com/container-platform/latest/rest_api/config_apis/imagedigestmirrorset-config-openshift-io-v1.html
//! [itms]: https://docs.openshift.com/container-platform/latest/rest_api/config_apis/imagetagmirrorset-config-openshift-io-v1.html
//! [conf]: https://github.com/containers/image/blob/main/docs/containers-registries.conf.5.md

mod order;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use imagestream_api::reference::ImageReference;

/// What an administrator configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RulesInput {
    /// Scopes that may be contacted without TLS or without verifying its certificates.
    pub insecure: Vec<String>,
    /// Scopes that images must not be imported from.
    pub blocked: Vec<String>,
    /// Mirrors for pulls by digest.
    pub digest_mirrors: Vec<MirrorGroup>,
    /// Mirrors for pulls by tag.
    pub tag_mirrors: Vec<MirrorGroup>,
}

/// Mirrors of one source, the preferred one first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorGroup {
    /// The mirrored scope: host, or host and path.
    pub source: String,
    /// Scopes that hold the same content.
    pub mirrors: Vec<String>,
    /// Whether the source must not be contacted when no mirror delivers.
    pub never_contact_source: bool,
}

/// What a pull names its image by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullBy {
    /// By digest.
    Digest,
    /// By tag.
    Tag,
}

/// Where one image may be pulled from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSources {
    /// References to try, in this order. The source is the last one unless it is excluded or mirrors rank it higher.
    pub candidates: Vec<ImageReference>,
    /// Whether the source itself must not be contacted.
    pub source_excluded: bool,
    /// Configured mirrors that no reference to this image can be made of.
    pub unusable_mirrors: Vec<String>,
}

/// The configuration in the form that questions are answered from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryRules {
    /// By location. Scopes with a wildcard are not here: they have no location.
    entries: BTreeMap<String, Entry>,
    blocked: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    insecure: bool,
    digest: Option<Mirrors>,
    tag: Option<Mirrors>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirrors {
    locations: Vec<String>,
    never_contact_source: bool,
}

impl Entry {
    fn mirrored(&self) -> bool {
        self.digest.is_some() || self.tag.is_some()
    }

    fn mirrors(&self, by: PullBy) -> Option<&Mirrors> {
        match by {
            PullBy::Digest => self.digest.as_ref(),
            PullBy::Tag => self.tag.as_ref(),
        }
    }
}

impl RegistryRules {
    /// Merges the mirror groups of each source and resolves scopes that are nested in others.
    #[must_use]
    pub fn new(input: &RulesInput) -> Self {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for (source, mirrors) in merged(&input.digest_mirrors) {
            entries.entry(source).or_default().digest = Some(mirrors);
        }
        for (source, mirrors) in merged(&input.tag_mirrors) {
            entries.entry(source).or_default().tag = Some(mirrors);
        }
        for scope in input.blocked.iter().chain(&input.insecure) {
            entries.entry(scope.clone()).or_default();
        }
        entries.retain(|location, _| !is_wildcard(location));
        for (location, entry) in &mut entries {
            entry.insecure = input.insecure.iter().any(|scope| covers(scope, location));
        }
        // Only the most specific entry counts for a pull, so it has to know the mirrors of what it is nested in.
        let inherited: Vec<(String, Entry)> = entries
            .iter()
            .filter(|(_, entry)| !entry.mirrored())
            .filter_map(|(location, entry)| {
                let (source, mirrored) = most_specific(&entries, location, Entry::mirrored)?;
                Some((
                    location.clone(),
                    entry.inheriting(mirrored, &location[source.len()..]),
                ))
            })
            .collect();
        // Which scopes block is decided before: inherited mirrors do not lift a block, the scope's own ones do.
        let own_mirrors = |scope: &String| entries.get(scope).is_some_and(Entry::mirrored);
        let blocked = input
            .blocked
            .iter()
            .filter(|scope| !own_mirrors(scope))
            .cloned()
            .collect();
        entries.extend(inherited);
        Self { entries, blocked }
    }

    /// Whether the registry of `reference` may be contacted without verified TLS. Scopes with a path do not count:
    /// what a client trusts is a host.
    #[must_use]
    pub fn insecure(&self, reference: &ImageReference) -> bool {
        self.entries
            .get(&reference.defaulted().registry)
            .is_some_and(|entry| entry.insecure)
    }

    /// Whether nothing may be imported from the registry or repository of `reference`. A blocked scope that has
    /// mirrors does not block: its content is wanted, from elsewhere.
    #[must_use]
    pub fn blocked(&self, reference: &ImageReference) -> bool {
        let as_written = reference.defaulted();
        let mut repositories = vec![as_written.repository()];
        if let Ok(normalised) = without_version(reference).normalised() {
            repositories.push(normalised);
        }
        self.blocked.iter().any(|scope| {
            if is_wildcard(scope) || scope.contains('/') {
                repositories.iter().any(|repository| covers(scope, repository))
            } else {
                *scope == as_written.registry
            }
        })
    }

    /// Where `reference` may be pulled from. Mirrors for pulls by digest serve no pull by tag and the other way round.
    #[must_use]
    pub fn pull_sources(&self, reference: &ImageReference, by: PullBy) -> PullSources {
        let mut sources = PullSources {
            candidates: Vec::new(),
            source_excluded: false,
            unusable_mirrors: Vec::new(),
        };
        let source = without_version(reference).normalised().unwrap_or_default();
        let found = most_specific(&self.entries, &source, |_| true);
        if let Some((prefix, mirrors)) = found.and_then(|(prefix, entry)| Some((prefix, entry.mirrors(by)?)))
        {
            sources.source_excluded = mirrors.never_contact_source;
            for location in &mirrors.locations {
                let repository = format!("{location}{}", &source[prefix.len()..]);
                if repository == source {
                    sources.add_source(reference);
                    continue;
                }
                match ImageReference::parse(&repository) {
                    Ok(mirror)
                        if !mirror.registry.is_empty()
                            && !mirror.name.is_empty()
                            && mirror.tag.is_empty() =>
                    {
                        sources.candidates.push(with_version(mirror, reference, by));
                    }
                    _ => sources.unusable_mirrors.push(location.clone()),
                }
            }
        }
        sources.add_source(reference);
        sources
    }

    /// Where the tags of the repository of `reference` may be listed: at the source, as only that is sure to know all
    /// of them; at the mirrors for pulls by tag if the source must not be contacted.
    #[must_use]
    pub fn tag_list_sources(&self, reference: &ImageReference) -> PullSources {
        let repository = without_version(reference);
        let sources = self.pull_sources(&repository, PullBy::Tag);
        if sources.source_excluded {
            return sources;
        }
        PullSources {
            candidates: vec![repository],
            source_excluded: false,
            unusable_mirrors: Vec::new(),
        }
    }
}

impl PullSources {
    fn add_source(&mut self, source: &ImageReference) {
        if !self.source_excluded && !self.candidates.contains(source) {
            self.candidates.push(source.clone());
        }
    }
}

impl Entry {
    /// This entry with the mirrors of the one it is nested in; `suffix` is the path from there to here.
    fn inheriting(&self, outer: &Self, suffix: &str) -> Self {
        let extend = |mirrors: &Mirrors| Mirrors {
            locations: mirrors
                .locations
                .iter()
                .map(|location| format!("{location}{suffix}"))
                .collect(),
            ..*mirrors
        };
        Self {
            insecure: self.insecure,
            digest: outer.digest.as_ref().map(extend),
            tag: outer.tag.as_ref().map(extend),
        }
    }
}

/// The entry with the longest location that `repository` equals or is inside of.
fn most_specific<'a>(
    entries: &'a BTreeMap<String, Entry>,
    repository: &str,
    wanted: impl Fn(&Entry) -> bool,
) -> Option<(&'a str, &'a Entry)> {
    let ends = repository
        .match_indices('/')
        .map(|(end, _)| end)
        .chain([repository.len()]);
    let mut prefixes: Vec<&str> = ends.map(|end| &repository[..end]).collect();
    prefixes.reverse();
    prefixes
        .into_iter()
        .filter_map(|prefix| entries.get_key_value(prefix))
        .find(|(_, entry)| wanted(entry))
        .map(|(location, entry)| (location.as_str(), entry))
}

/// One list of mirrors per source. Groups without a mirror other than the source say nothing.
fn merged(groups: &[MirrorGroup]) -> BTreeMap<String, Mirrors> {
    let mut by_source: BTreeMap<&str, Vec<&MirrorGroup>> = BTreeMap::new();
    for group in groups {
        if group.mirrors.iter().any(|mirror| *mirror != group.source) {
            by_source.entry(&group.source).or_default().push(group);
        }
    }
    let merge = |(source, groups): (&str, Vec<&MirrorGroup>)| {
        let mirrors = Mirrors {
            locations: order::merge(source, groups.iter().map(|group| group.mirrors.as_slice())),
            // One administrator's promise that the source is left alone is not undone by another's silence.
            never_contact_source: groups.iter().any(|group| group.never_contact_source),
        };
        (source.to_owned(), mirrors)
    };
    by_source.into_iter().map(merge).collect()
}

fn is_wildcard(scope: &str) -> bool {
    scope.starts_with("*.")
}

/// Whether `scope` is `inner`, contains it, or is a wildcard for its host (whatever the port).
fn covers(scope: &str, inner: &str) -> bool {
    if let Some(suffix) = scope.strip_prefix('*').filter(|_| is_wildcard(scope)) {
        let host = inner.split(['/', ':']).next().unwrap_or_default();
        return scope == inner || host.ends_with(suffix);
    }
    inner
        .strip_prefix(scope)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn without_version(reference: &ImageReference) -> ImageReference {
    ImageReference {
        tag: String::new(),
        id: String::new(),
        ..reference.clone()
    }
}

fn with_version(mirror: ImageReference, reference: &ImageReference, by: PullBy) -> ImageReference {
    match by {
        PullBy::Digest => ImageReference {
            id: reference.id.clone(),
            ..mirror
        },
        PullBy::Tag => ImageReference {
            tag: reference.tag.clone(),
            ..mirror
        },
    }
}
