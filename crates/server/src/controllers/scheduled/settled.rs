//! What is remembered of a source between two looks at it, so that one that has not moved costs one request and no
//! reading of streams. Small: there is one for each source that is followed.

use imagestream_api::digest::Digest;
use imagestream_follow::Failure;
use imagestream_import::check::CheckError;

/// What is remembered of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// The manifest that it named when it was last read.
    pub(super) manifest: Option<Manifest>,
    /// Up to what the streams that follow it have been brought.
    pub(super) followers: Followers,
    /// Whether some of them record manifest lists as such.
    pub(super) keeps_lists: bool,
}

/// A manifest that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Its digest.
    pub(super) digest: Fixed,
    /// The digest of the image that is recorded of it by imports that choose a member for the server's own platform: the
    /// same if it is no list.
    pub(super) member: Fixed,
}

/// Up to what the streams that follow a source have been brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Followers {
    /// They have to be looked at.
    #[default]
    Unknown,
    /// All have recorded the manifest that was last read, or the member of it.
    Current,
    /// All say that it can't be read, and why.
    Failed(FailureKind),
}

/// A digest in few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fixed([u8; 32]);

/// Why a source can't be read, as far as it matters to those who follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum FailureKind {
    /// Its registry is blocked here.
    Blocked,
    /// There is none.
    NotFound,
    /// The registry refuses.
    Unauthorized,
    /// The registry does not answer.
    Unreachable,
    /// Anything else.
    Other,
}

impl Fixed {
    /// Of any text that names an image; equal texts have equal ones, and others do not.
    pub(super) fn of(digest: &str) -> Self {
        // A sha256 fits; another algorithm is so rare that hashing it costs nothing.
        let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
        let bytes = hex.and_then(|hex| {
            let mut bytes = [0; 32];
            for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
                let digit = |of: u8| char::from(of).to_digit(16);
                *byte = u8::try_from(digit(*pair.first()?)? << 4 | digit(*pair.last()?)?).ok()?;
            }
            Some(bytes)
        });
        let hashed = || {
            use sha2::Digest as _;
            sha2::Sha256::digest(digest.as_bytes()).into()
        };
        Self(bytes.unwrap_or_else(hashed))
    }

    /// The digest, if it is one of this algorithm; as good as none otherwise.
    fn as_sha256(self) -> String {
        let hex = self.0.iter().map(|byte| format!("{byte:02x}"));
        format!("sha256:{}", hex.collect::<String>())
    }
}

impl From<&Digest> for Fixed {
    fn from(digest: &Digest) -> Self {
        Self::of(digest.as_str())
    }
}

impl Settled {
    /// All who follow the source have what it names.
    pub(super) fn current(digest: Fixed, member: Fixed) -> Self {
        Self {
            manifest: Some(Manifest { digest, member }),
            followers: Followers::Current,
            keeps_lists: false,
        }
    }

    /// The same with followers of which some record manifest lists as such, or none.
    pub(super) fn keeping_lists(self, keeps_lists: bool) -> Self {
        Self { keeps_lists, ..self }
    }

    /// Whether all images are stored that those who follow the source have recorded of this manifest, if it is the one that
    /// was last read.
    pub(super) fn is_stored(self, digest: &Digest, is_stored: impl Fn(&str) -> bool) -> bool {
        let Some(member) = self.member_of(digest) else {
            return false;
        };
        let is_list = member != digest.into();
        is_stored(&member.as_sha256()) && !(is_list && self.keeps_lists && !is_stored(digest.as_str()))
    }

    /// The same with streams that have to be looked at.
    pub(super) fn unknown(self) -> Self {
        Self {
            followers: Followers::Unknown,
            ..self
        }
    }

    /// The same with streams that say that it can't be read.
    pub(super) fn failed(self, kind: FailureKind) -> Self {
        Self {
            followers: Followers::Failed(kind),
            ..self
        }
    }

    /// Whether nothing is to be done if the source names this.
    pub(super) fn is_at(self, digest: &Digest) -> bool {
        self.followers == Followers::Current && self.member_of(digest).is_some()
    }

    /// The image that is recorded of this manifest by imports that choose a member for the server's own platform, if it
    /// is the one that was last read.
    pub(super) fn member_of(self, digest: &Digest) -> Option<Fixed> {
        let known = self.manifest?;
        (known.digest == Fixed::from(digest)).then_some(known.member)
    }

    /// Whether a tag with this image and failure is where the others are.
    pub(super) fn covers(self, image: &str, failure: Option<&str>) -> bool {
        match self.followers {
            Followers::Unknown => false,
            Followers::Current => {
                let image = Fixed::of(image);
                failure.is_none()
                    && self
                        .manifest
                        .is_some_and(|manifest| image == manifest.digest || image == manifest.member)
            }
            Followers::Failed(kind) => failure.is_some_and(|reason| kind.is_recorded_as(reason)),
        }
    }
}

impl FailureKind {
    /// Of what came of a check; none of a registry that only wants to be left alone.
    pub(super) fn of(error: &CheckError) -> Option<Self> {
        match error {
            CheckError::RateLimited => None,
            CheckError::Blocked => Some(Self::Blocked),
            CheckError::NotFound => Some(Self::NotFound),
            CheckError::Unauthorized(_) => Some(Self::Unauthorized),
            CheckError::Unreachable { .. } => Some(Self::Unreachable),
            CheckError::Failed(_) => Some(Self::Other),
        }
    }

    /// Whether an import that fails for this may have left this reason in the stream.
    pub(super) fn is_recorded_as(self, reason: &str) -> bool {
        match self {
            Self::Blocked => reason == "Forbidden",
            // A repository that does not exist is reported as an internal error, and so is what token services say.
            Self::NotFound => matches!(reason, "NotFound" | "InternalError"),
            Self::Unauthorized => matches!(reason, "Unauthorized" | "InternalError"),
            Self::Unreachable | Self::Other => reason == "InternalError",
        }
    }

    /// What the scheduler makes of it.
    pub(super) fn scheduled(self) -> Failure {
        match self {
            Self::NotFound => Failure::NotFound,
            Self::Unauthorized => Failure::Unauthorized,
            Self::Unreachable => Failure::Unreachable,
            Self::Blocked | Self::Other => Failure::Other,
        }
    }

    /// In a word, for those who count.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::Unreachable => "unreachable",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_told_apart_whatever_their_algorithm() {
        let texts = [
            format!("sha256:{}", "0".repeat(64)),
            format!("sha256:{}1", "0".repeat(63)),
            format!("sha512:{}", "0".repeat(128)),
            format!("sha512:{}1", "0".repeat(127)),
            "not a digest".to_owned(),
            String::new(),
        ];
        for (i, one) in texts.iter().enumerate() {
            for (j, other) in texts.iter().enumerate() {
                assert_eq!(Fixed::of(one) == Fixed::of(other), i == j, "{one} {other}");
            }
        }
    }

    #[test]
    fn a_tag_is_covered_if_it_is_where_the_others_are() {
        let (list, member, other) = ("sha256:l", "sha256:m", "sha256:o");
        let at = Settled::current(Fixed::of(list), Fixed::of(member));
        let failed = at.failed(FailureKind::NotFound);
        for (settled, image, failure, is_covered) in [
            (at, member, None, true),
            (at, list, None, true),
            (at, other, None, false),
            (at, "", None, false),
            (at, member, Some("NotFound"), false),
            (failed, "", Some("NotFound"), true),
            (failed, member, Some("Unauthorized"), false),
            (failed, member, None, false),
            (at.unknown(), member, None, false),
            (Settled::default(), member, None, false),
        ] {
            assert_eq!(
                settled.covers(image, failure),
                is_covered,
                "{settled:?} {image} {failure:?}"
            );
        }
    }

    #[test]
    fn what_was_recorded_is_stored_if_its_members_are_and_the_list_where_somebody_keeps_it() {
        let [list, member] = ["a", "b"].map(|digit| format!("sha256:{}", digit.repeat(64)));
        let digest = Digest::parse(&list).unwrap();
        let of_list = Settled::current(Fixed::of(&list), Fixed::of(&member));
        let of_image = Settled::current(Fixed::of(&list), Fixed::of(&list));
        for (settled, stored, is_stored) in [
            (of_list, &[&list, &member][..], true),
            (of_list, &[&member], true),
            (of_list, &[&list], false),
            (of_list.keeping_lists(true), &[&list, &member], true),
            (of_list.keeping_lists(true), &[&member], false),
            (of_image, &[&list], true),
            (of_image.keeping_lists(true), &[&list], true),
            (of_image, &[&member], false),
            (Settled::default(), &[&list, &member], false),
        ] {
            let found = settled.is_stored(&digest, |name| stored.iter().any(|stored| *stored == name));
            assert_eq!(found, is_stored, "{settled:?} {stored:?}");
        }
    }

    #[test]
    fn what_is_remembered_of_a_source_is_small() {
        assert!(size_of::<Settled>() <= 72, "{}", size_of::<Settled>());
    }
}
