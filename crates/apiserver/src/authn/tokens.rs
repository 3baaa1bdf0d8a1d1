//! Users from a file of bearer tokens: see "[Static token file](https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file)".

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use ring::{digest, hmac, rand};

use super::user::UserInfo;

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 4 << 20;
/// The longest token, in bytes: it has to fit into a request's headers.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;

/// Why a token file is refused. No message holds a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFileError {
    /// The file is larger than [`MAX_FILE_BYTES`].
    #[error("it is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// The system gives no random numbers.
    #[error("no random numbers to protect the tokens with")]
    NoRandomness,
    /// A line isn't `token,user,uid` or `token,user,uid,"group1,group2"`.
    #[error("line {line}: {problem}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// The users of a token file by the digests of their tokens. The tokens themselves are forgotten.
pub struct TokenFile {
    key: hmac::Key,
    users: HashMap<[u8; DIGEST_BYTES], UserInfo>,
}

/// The users with tokens, who may be others at any time. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Arc<RwLock<Option<TokenFile>>>);

impl Tokens {
    /// The users of a file.
    #[must_use]
    pub fn new(file: TokenFile) -> Self {
        Self(Arc::new(RwLock::new(Some(file))))
    }

    /// From now on these are the users.
    pub fn replace(&self, file: TokenFile) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(file);
    }

    /// Whose token this is; nobody's if it is in no line.
    #[must_use]
    pub fn authenticate(&self, token: &str) -> Option<UserInfo> {
        let file = self.0.read().unwrap_or_else(PoisonError::into_inner);
        file.as_ref()?.authenticate(token).cloned()
    }
}

const DIGEST_BYTES: usize = digest::SHA256_OUTPUT_LEN;

impl TokenFile {
    /// Reads the lines of a file.
    ///
    /// # Errors
    /// The first mistake found, with its line; two lines with one token are a mistake, too.
    pub fn parse(csv: &str) -> Result<Self, TokenFileError> {
        if csv.len() > MAX_FILE_BYTES {
            return Err(TokenFileError::TooLarge);
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())
            .map_err(|_| TokenFileError::NoRandomness)?;
        let mut file = Self {
            key,
            users: HashMap::new(),
        };
        let mut lines_of_digests = HashMap::new();
        for (index, text) in csv.lines().enumerate() {
            let line = index + 1;
            if text.trim().is_empty() {
                continue;
            }
            let refuse = |problem: String| TokenFileError::Line { line, problem };
            let (token, user) = read_line(text).map_err(refuse)?;
            let digest = file.digest(&token);
            if let Some(first) = lines_of_digests.insert(digest, line) {
                return Err(refuse(format!("the token is already used on line {first}")));
            }
            file.users.insert(digest, user);
        }
        Ok(file)
    }

    /// The user whose token it is.
    ///
    /// What is compared are SHA-256 digests under a key that this process made up: the time that a
    /// comparison takes says nothing about any token, because nobody can tell which digest theirs has.
    #[must_use]
    pub fn authenticate(&self, token: &str) -> Option<&UserInfo> {
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        self.users.get(&self.digest(token))
    }

    /// How many users' tokens there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    fn digest(&self, token: &str) -> [u8; DIGEST_BYTES] {
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(hmac::sign(&self.key, token.as_bytes()).as_ref());
        digest
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile")
            .field("tokens", &self.users.len())
            .finish_non_exhaustive()
    }
}

fn read_line(text: &str) -> Result<(String, UserInfo), String> {
    let fields = split(text)?;
    let (token, name, uid, groups) = match fields.as_slice() {
        [token, name, uid] => (token, name, uid, ""),
        [token, name, uid, groups] => (token, name, uid, groups.as_str()),
        other => {
            return Err(format!(
                "expected token,user,uid or token,user,uid,\"group1,group2\", not {} columns",
                other.len()
            ));
        }
    };
    if token.is_empty() {
        return Err("the token is empty".into());
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(format!("the token is longer than {MAX_TOKEN_BYTES} bytes"));
    }
    // Anything else could never arrive in an Authorization header.
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the token has spaces or characters outside ASCII".into());
    }
    if name.is_empty() {
        return Err("the user name is empty".into());
    }
    let groups: Vec<String> = match groups {
        "" => Vec::new(),
        groups => groups.split(',').map(|group| group.trim().to_owned()).collect(),
    };
    if groups.iter().any(String::is_empty) {
        return Err("a group name is empty".into());
    }
    let user = UserInfo {
        name: name.clone(),
        uid: uid.clone(),
        groups,
        ..UserInfo::default()
    };
    Ok((token.clone(), user.authenticated()))
}

/// Splits a line of [RFC 4180](https://www.rfc-editor.org/rfc/rfc4180) CSV. Quoted fields end on their line.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => split_quoted(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                if field.contains('"') {
                    return Err("a quotation mark inside a field that isn't quoted".into());
                }
                (field.trim_start().to_owned(), after)
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            // A space after the comma is no part of the field.
            Some(next) => rest = next.trim_start(),
            None if after.is_empty() => return Ok(fields),
            None => return Err("text after the quotation mark that ends a field".into()),
        }
    }
}

/// Reads a quoted field from behind its first quotation mark: its text, and what follows on the line.
fn split_quoted(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some((part, after)) = rest.split_once('"') else {
            return Err("a quoted field doesn't end".into());
        };
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_finds_its_user_and_no_other_text_finds_one() {
        let file = TokenFile::parse(concat!(
            "admin-token,admin,admin-uid,\"system:masters\"\n",
            "dev-token,dev,dev-uid,\r\n",
            "\n",
            "t3, carl,, \"a, b\"\n",
            "\"t,4\",\"d \"\"x\"\"\",uid\n",
        ))
        .unwrap();
        assert_eq!(file.len(), 4);
        for (token, name, uid, groups) in [
            (
                "admin-token",
                "admin",
                "admin-uid",
                &["system:masters", "system:authenticated"][..],
            ),
            ("dev-token", "dev", "dev-uid", &["system:authenticated"]),
            ("t3", "carl", "", &["a", "b", "system:authenticated"]),
            ("t,4", "d \"x\"", "uid", &["system:authenticated"]),
        ] {
            let user = file.authenticate(token).unwrap();
            assert_eq!((user.name.as_str(), user.uid.as_str()), (name, uid));
            assert_eq!(user.groups, groups);
        }
        for token in [
            "",
            "dev",
            "dev-token ",
            "DEV-TOKEN",
            "dev-tokenx",
            "admin",
            &"x".repeat(MAX_TOKEN_BYTES + 1),
        ] {
            assert_eq!(file.authenticate(token), None, "{token}");
        }
        assert!(TokenFile::parse("").unwrap().is_empty());
    }

    #[test]
    fn mistakes_name_their_line_and_never_the_token() {
        let long = format!("{}secret,u,1", "x".repeat(MAX_TOKEN_BYTES));
        for (line, problem) in [
            (
                "secret,u",
                "expected token,user,uid or token,user,uid,\"group1,group2\", not 2 columns",
            ),
            (
                "secret,u,1,a,b",
                "expected token,user,uid or token,user,uid,\"group1,group2\", not 5 columns",
            ),
            (",u,1", "the token is empty"),
            ("secret,,1", "the user name is empty"),
            ("secret,u,1,\"a,,b\"", "a group name is empty"),
            ("se cret,u,1", "the token has spaces or characters outside ASCII"),
            ("secrét,u,1", "the token has spaces or characters outside ASCII"),
            (
                "secret,u\"v,1",
                "a quotation mark inside a field that isn't quoted",
            ),
            ("secret,u,1,\"a,b", "a quoted field doesn't end"),
            (
                "secret,u,1,\"a\"b",
                "text after the quotation mark that ends a field",
            ),
            ("first,u,1", "the token is already used on line 1"),
            (&long, "the token is longer than 8192 bytes"),
        ] {
            let error = TokenFile::parse(&format!("first,f,1\n{line}\n")).unwrap_err();
            assert_eq!(error.to_string(), format!("line 2: {problem}"));
            assert!(!error.to_string().contains("secret"));
        }
        assert_eq!(
            TokenFile::parse(&"x".repeat(MAX_FILE_BYTES + 1)).unwrap_err(),
            TokenFileError::TooLarge
        );
    }

    #[test]
    fn the_debug_form_shows_no_token() {
        let shown = format!("{:?}", TokenFile::parse("secret,u,1").unwrap());
        assert_eq!(shown, "TokenFile { tokens: 1, .. }");
    }
}
