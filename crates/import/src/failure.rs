//! Why an item was not imported, and the status that says so.

use imagestream_api::status;
use imagestream_api::types::Status;
use imagestream_registry::Error;

/// Why one item, or the listing of a repository, failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Failure {
    /// A failure with a status of its own.
    Status(Box<Status>),
    /// Any other, in words; reported as an internal error.
    Error(String),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl Failure {
    /// A manifest or configuration that could not be fetched. `reference` is the normalised reference of the image.
    pub(crate) fn of_image(reference: &str, error: &Error) -> Self {
        let text = error.to_string();
        let refused = || {
            status::unauthorized(format!(
                "you may not have access to the container image \"{reference}\""
            ))
        };
        if error.has_code("MANIFEST_UNKNOWN") {
            status::not_found("dockerimage", reference).into()
        } else if error.has_code("UNAUTHORIZED") || text.ends_with("no basic auth credentials") {
            refused().into()
        } else if text.ends_with("incorrect username or password") {
            status::unauthorized(format!(
                "incorrect username or password for image \"{reference}\""
            ))
            .into()
        } else {
            Self::Error(format!("{reference}: {text}"))
        }
    }

    /// Tags that could not be listed. `reference` is the repository's reference as it was written.
    pub(crate) fn of_listing(reference: &str, error: &Error) -> Self {
        if error.has_code("NAME_UNKNOWN") {
            status::not_found("dockerimage", reference).into()
        } else if error.has_code("UNAUTHORIZED") {
            status::unauthorized(format!(
                "you may not have access to the container image \"{reference}\""
            ))
            .into()
        } else {
            Self::Error(error.to_string())
        }
    }

    /// One failure for all the sources that were tried.
    pub(crate) fn of_sources(mut failures: Vec<Self>) -> Self {
        if failures.len() == 1
            && let Some(only) = failures.pop()
        {
            return only;
        }
        let mut texts: Vec<String> = Vec::new();
        for failure in &failures {
            let text = failure.text();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match &texts[..] {
            [only] => Self::Error(only.clone()),
            texts => Self::Error(format!("[{}]", texts.join(", "))),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Status(status) => status.message.clone().unwrap_or_default(),
            Self::Error(text) => text.clone(),
        }
    }

    /// The status of the item.
    pub(crate) fn into_status(self) -> Status {
        match self {
            Self::Status(status) => *status,
            Self::Error(text) => status::internal_error(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(failure: Failure) -> (i32, String, String) {
        let status = failure.into_status();
        (
            status.code.unwrap(),
            status.reason.unwrap(),
            status.message.unwrap(),
        )
    }

    #[test]
    fn what_a_registry_answers_decides_code_reason_and_text() {
        let network = |text: &str| Error::Network(text.to_owned());
        for (error, code, reason, message) in [
            (
                network("reset"),
                500,
                "InternalError",
                "Internal error occurred: r/a:b: reset",
            ),
            (
                Error::NoBasicCredentials,
                401,
                "Unauthorized",
                "you may not have access to the container image \"r/a:b\"",
            ),
            (
                network("Get \"http://x\": incorrect username or password"),
                401,
                "Unauthorized",
                "incorrect username or password for image \"r/a:b\"",
            ),
            (
                network("incorrect username or password, try again"),
                500,
                "InternalError",
                "Internal error occurred: r/a:b: incorrect username or password, try again",
            ),
        ] {
            let expected = (code, reason.to_owned(), message.to_owned());
            assert_eq!(summary(Failure::of_image("r/a:b", &error)), expected);
        }
    }

    #[test]
    fn a_listing_that_failed_has_no_prefix() {
        assert_eq!(
            summary(Failure::of_listing("r/a", &Error::Network("reset".into()))),
            (
                500,
                "InternalError".into(),
                "Internal error occurred: reset".into()
            )
        );
    }

    #[test]
    fn one_source_keeps_its_status_and_several_are_summed_up() {
        let not_found = || Failure::from(status::not_found("dockerimage", "a"));
        let down = || Failure::Error("b: down".into());
        assert_eq!(Failure::of_sources(vec![not_found()]), not_found());
        assert_eq!(
            summary(Failure::of_sources(vec![down(), not_found()])),
            (
                500,
                "InternalError".into(),
                "Internal error occurred: [b: down, dockerimage.image.openshift.io \"a\" not found]".into()
            )
        );
        assert_eq!(
            summary(Failure::of_sources(vec![not_found(), not_found()])).2,
            "Internal error occurred: dockerimage.image.openshift.io \"a\" not found"
        );
    }
}
