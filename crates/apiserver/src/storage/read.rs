//! What is asked before one object is read: whether there can be one of that name, and whether the store has come as far
//! as the reader wants.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::Objects;
use crate::errors;
use crate::options::version_to_read;

impl Objects {
    /// Refuses to read one object for a request with this query: under a name that there can't be, or as of a revision
    /// that has not happened.
    ///
    /// # Errors
    /// 400 for the name, 500 for a `resourceVersion` that is no number, 504 for one that has not happened; those of the
    /// store.
    pub async fn check_read(&self, name: &str, query: &str) -> Result<(), Box<Status>> {
        check_name(name)?;
        let asked = version_to_read(query)?;
        if asked > 0 {
            self.check_reached(asked).await?;
        }
        Ok(())
    }
}

/// Refuses a name that no object has: it would not fit into a path. Asking for one is an error, and not the same as asking
/// for what does not exist.
///
/// # Errors
/// 400
pub fn check_name(name: &str) -> Result<(), Box<Status>> {
    if name.is_empty() {
        return Err(errors::bad_request("Name parameter required.").into());
    }
    let mistakes = segment_mistakes(name);
    if mistakes.is_empty() {
        return Ok(());
    }
    let name = imagestream_api::field::quoted(name);
    let mistakes = mistakes.join(";");
    Err(errors::bad_request(format!("Name parameter invalid: {name}: {mistakes}")).into())
}

/// What is wrong with a name that becomes a segment of a path of the API.
pub(crate) fn segment_mistakes(name: &str) -> Vec<&'static str> {
    match name {
        "." => vec!["may not be '.'"],
        ".." => vec!["may not be '..'"],
        _ => [('/', "may not contain '/'"), ('%', "may not contain '%'")]
            .into_iter()
            .filter(|(character, _)| name.contains(*character))
            .map(|(_, mistake)| mistake)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_object_has_is_a_bad_request() {
        for (name, expected) in [
            ("", Some("Name parameter required.")),
            (".", Some(r#"Name parameter invalid: ".": may not be '.'"#)),
            ("..", Some(r#"Name parameter invalid: "..": may not be '..'"#)),
            (
                "a/b",
                Some(r#"Name parameter invalid: "a/b": may not contain '/'"#),
            ),
            (
                "a%/b",
                Some(r#"Name parameter invalid: "a%/b": may not contain '/';may not contain '%'"#),
            ),
            ("...", None),
            ("sha256:a", None),
            ("system:node", None),
        ] {
            let refused = check_name(name).err();
            let text = refused.as_ref().map(|status| status.message.as_deref().unwrap());
            assert_eq!(text, expected);
            assert!(refused.is_none_or(|status| status.code == Some(400)), "{name}");
        }
    }
}
