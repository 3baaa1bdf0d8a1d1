//! One entry of a file of registry credentials, as `docker login` and `podman login`
//! [write it](https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md).

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::auth_field::{self, AuthError};
use crate::json::null_is_default;

/// What is filed under one key. Not `Debug`: it is secret.
#[derive(Clone, Default, Deserialize)]
pub(crate) struct Entry {
    #[serde(default, deserialize_with = "null_is_default")]
    username: String,
    #[serde(default, deserialize_with = "null_is_default")]
    password: String,
    #[serde(default, deserialize_with = "null_is_default")]
    auth: String,
    #[serde(default, rename = "identitytoken", deserialize_with = "null_is_default")]
    pub(crate) identity_token: String,
}

impl Entry {
    /// User name and password, unless both are empty. `auth` wins over the fields beside it.
    pub(crate) fn user_and_password(&self) -> Result<Option<(String, String)>, AuthError> {
        let (username, password) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            auth_field::decode(&self.auth)?
        };
        Ok(Some((username, password))
            .filter(|(username, password)| !(username.is_empty() && password.is_empty())))
    }
}

/// Keys and their entries in the order of the document. Of a repeated key the last entry counts, at the first place.
#[derive(Default)]
pub(crate) struct Entries(pub(crate) Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("registry credentials by host")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut entries: Vec<(String, Entry)> = Vec::new();
        while let Some((key, entry)) = map.next_entry::<String, Option<Entry>>()? {
            let entry = entry.unwrap_or_default();
            match places.get(&key) {
                Some(place) => entries[*place].1 = entry,
                None => {
                    places.insert(key.clone(), entries.len());
                    entries.push((key, entry));
                }
            }
        }
        Ok(Entries(entries))
    }
}
